"""ParamGen: a circuit's PauliZ means drive a small network whose heads write a low-rank weight U V^T / sqrt(r).

Angles to weights goes through n numbers, and the heads hold nearly all parameters: with dense heads at the original's
sizes 89.8 M parameters write 5.0 M weights. `parameter_count` says so for every configuration.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from ..circuits import Ansatz, expectations
from .circuit_generator import START_SCALE
from .config import GeneratorConfig
from .generator import WeightGenerator, draw
from .noise import DepolarizingNoise

Head = Literal["dense", "basis"]
CONTEXT_SCALE = 0.02


class FactorHead(nn.Module):
    """Latent (B, H) -> factor (B, size, rank). `dense` learns all of it; `basis` mixes fixed random rows."""

    basis: torch.Tensor | None

    def __init__(self, latent: int, size: int, rank: int, head: Head, basis_size: int, seed: int):
        super().__init__()
        self.size, self.rank = size, rank
        outputs = size if head == "dense" else basis_size
        self.linear = nn.Linear(latent, outputs * rank)
        # Made again from its seed at every construction, so it is not stored.
        basis = None if head == "dense" else draw((size, basis_size), seed, basis_size**-0.5)
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        factor = self.linear(latent).unflatten(-1, (-1, self.rank))
        return factor if self.basis is None else self.basis @ factor


class VQCWeightGenerator(nn.Module):
    """Features -> circuit -> PauliZ means -> network -> (M, D) weight.

    Args:
        shape: rows and columns of the weight.
        n_wires, n_layers, entangler: the circuit; the original's entangler is a ring.
        rank, latent: rank of the weight and width of the network.
        noise_prob: chance per layer and wire of a random Pauli gate, in training only.
        head: `dense` as in the original, or `basis`, `basis_size * rank * latent` instead of `size * rank * latent`.
    """

    def __init__(
        self,
        shape: tuple[int, int] = (4304, 1152),
        n_wires: int = 12,
        n_layers: int = 3,
        rank: int = 64,
        latent: int = 256,
        entangler: Literal["chain", "ring"] = "ring",
        noise_prob: float = 0.0,
        head: Head = "dense",
        basis_size: int = 16,
        seed: int = 0,
    ):
        super().__init__()
        self.shape, self.n_wires, self.rank, self.entangler = shape, n_wires, rank, entangler
        self.angles = nn.Parameter(draw(Ansatz(n_wires, n_layers, entangler).shape(), seed, START_SCALE))
        self.noise = DepolarizingNoise(noise_prob, seed)
        self.network = nn.Sequential(nn.Linear(n_wires, latent), nn.ReLU(), nn.Linear(latent, latent), nn.ReLU())
        self.head_u = FactorHead(latent, shape[0], rank, head, basis_size, seed + 1)
        self.head_v = FactorHead(latent, shape[1], rank, head, basis_size, seed + 2)

    def factors(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """U (B, M, r) and V (B, D, r) of features (B, F), F at most 2^n_wires; all-zero features raise ValueError."""
        missing = 2**self.n_wires - features.shape[-1]
        if missing < 0:
            raise ValueError(
                f"{features.shape[-1]} features do not fit {self.n_wires} wires (2^{self.n_wires} amplitudes). "
                "Remedy: raise n_wires"
            )
        norms = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
        if bool((norms == 0).any()):
            raise ValueError("All-zero features have no direction to load into a circuit: pass other features.")
        states = nn.functional.pad(features / norms, (0, missing))
        angles = self.noise(self.angles.expand(len(states), -1, -1, -1))
        latent = self.network(expectations(states, angles, entangler=self.entangler))
        return self.head_u(latent), self.head_v(latent)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The weight (M, D), the mean over the batch of U V^T / sqrt(r)."""
        u, v = self.factors(features)
        return torch.einsum("bmr,bdr->md", u, v) / (len(u) * math.sqrt(self.rank))

    def parameter_count(self) -> dict[str, float]:
        """Trained parameters `quantum`, `network`, `total`, the `weights` written, `expansion` = total / weights."""
        quantum, weights = self.angles.numel(), self.shape[0] * self.shape[1]
        total = sum(parameter.numel() for parameter in self.parameters())
        return {
            "quantum": quantum,
            "network": total - quantum,
            "total": total,
            "weights": weights,
            "expansion": total / weights,
        }


class VQCGeneratedLinear(nn.Module):
    """A Linear whose weight comes from a learned context through a `VQCWeightGenerator`; the bias starts at zero.

    `materialize()` runs the generator once and gives the ordinary `nn.Linear` that stays after training.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_wires: int = 10,
        n_layers: int = 2,
        rank: int = 32,
        latent: int = 128,
        bias: bool = True,
        seed: int = 0,
        **options,
    ):
        super().__init__()
        self.generator = VQCWeightGenerator(
            (out_features, in_features), n_wires, n_layers, rank, latent, seed=seed, **options
        )
        self.context = nn.Parameter(draw((1, 2**n_wires), seed + 3, CONTEXT_SCALE))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def weight(self) -> torch.Tensor:
        """The generated weight (out, in); noisy in training mode when noise is on."""
        return self.generator(self.context)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(inputs, self.weight, self.bias)

    @torch.no_grad()
    def materialize(self) -> nn.Linear:
        """A plain Linear with the noiseless weight of this moment; this module stays as it is."""
        training = self.training
        weight = self.eval().weight
        self.train(training)
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=self.bias is not None, device=weight.device)
        plain.weight.copy_(weight)
        if self.bias is not None:
            plain.bias.copy_(self.bias)
        return plain.train(training)

    def parameter_count(self) -> dict[str, float]:
        """As in `VQCWeightGenerator`, with the context counted as `context` and in the total; the bias is not."""
        counts = self.generator.parameter_count()
        total = counts["total"] + self.context.numel()
        return {**counts, "context": self.context.numel(), "total": total, "expansion": total / counts["weights"]}


class ParamGenConfig(GeneratorConfig):
    """W + g rms(W) U V^T / sqrt(r): ParamGen as the update of a stored weight, with a context per slot."""

    method: Literal["paramgen"] = "paramgen"
    n_wires: int = Field(default=8, ge=2, le=16)
    """Wires, and numbers that reach the network; a context has 2^n_wires entries per slot."""
    n_layers: int = Field(default=2, ge=1, le=64)
    """Rotation layers."""
    entangler: Literal["chain", "ring"] = "ring"
    """As in the original, a ring."""
    rank: int = Field(default=4, ge=1)
    """Rank of the update."""
    latent: int = Field(default=32, ge=1)
    """Width of the network; most parameters lie in the heads behind it."""
    head: Head = "basis"
    """`dense` heads learn every row of U and V; `basis` heads mix `basis_size` fixed random ones."""
    basis_size: int = Field(default=8, ge=1)
    """Fixed random rows of a `basis` head."""
    noise_prob: float = Field(default=0.0, ge=0, le=1)
    """Chance of a random Pauli gate per layer and wire, in training only."""

    def count(self, shape: tuple[int, int], slots: int) -> int:
        sizes = shape if self.head == "dense" else (self.basis_size, self.basis_size)
        network = (self.n_wires + 1) * self.latent + (self.latent + 1) * self.latent
        heads = sum((self.latent + 1) * size * self.rank for size in sizes)
        return 3 * self.n_layers * self.n_wires + network + heads + slots * (2**self.n_wires + 1)

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        return _ParamGen(self, shape, slots, seed)


class _ParamGen(WeightGenerator):
    start: torch.Tensor

    def __init__(self, config: ParamGenConfig, shape: tuple[int, int], slots: int, seed: int):
        super().__init__(shape, slots)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.source = VQCWeightGenerator(
                shape,
                config.n_wires,
                config.n_layers,
                config.rank,
                config.latent,
                config.entangler,
                config.noise_prob,
                config.head,
                config.basis_size,
                seed,
            )
        self.context = nn.Parameter(draw((slots, 1, 2**config.n_wires), seed + 3, CONTEXT_SCALE))
        self.gate = nn.Parameter(torch.zeros(slots, 1, 1))
        start = torch.cat([parameter.detach().flatten() for parameter in self._generating()])
        self.register_buffer("start", start.clone())

    def _generating(self) -> list[nn.Parameter]:
        return [*self.source.parameters(), self.context]

    def generate(self, weight: torch.Tensor, keep: nn.Parameter | None) -> torch.Tensor:
        u, v = self.source.factors(self.context.squeeze(1))
        update = torch.einsum("smr,sdr->smd", u, v) / math.sqrt(self.source.rank)
        return weight + self.gate * weight.square().mean().sqrt() * update

    def deviation(self) -> torch.Tensor:
        now = torch.cat([parameter.flatten() for parameter in self._generating()])
        return (now - self.start).square().sum() + self.gate.square().sum()

    def circuits(self) -> dict[str, int]:
        # n PauliZ means per slot are all that leaves the circuit.
        angles = self.source.angles.numel()
        return {"angles": angles, "effective": min(angles, self.slots * self.source.n_wires)}
