"""Which optimizer? Muon for hidden matrices, AdamW for the rest, stepped as one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import distributed, nn
from torch.optim import AdamW, Muon, Optimizer

from .distributed import together
from .precision import Float32Instead, cpu_has_bf16


class MuonAdamW(Optimizer):
    """torch's Muon and AdamW behind one `Optimizer`, so that Trainer schedules, saves and resumes them together.

    torch.optim.Muon takes 2-D parameters only and leaves the combination to its user. `lr` is AdamW's; Muon's rate is
    `muon_lr` (scheduled by the same factor). Source: K. Jordan, Muon (2024), torch.optim.Muon.

    torch.optim.Muon makes matrices orthogonal in bfloat16; on a CPU without instructions for it, float32 is taken.

    Processes that train together share Muon's work out: each makes matrices orthogonal that are its own and hands
    them round. Every process keeps all momenta, so that the first one's state is the whole state.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        muon_lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.98),
    ):
        self.children: list[Optimizer] = []
        matrices, others = list(matrices), list(others)
        super().__init__([{"params": [*matrices, *others]}], {})
        if matrices:
            self.children.append(Muon(matrices, lr=muon_lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
        if others:
            self.children.append(AdamW(others, lr=lr, weight_decay=0.0, betas=betas))
        self._link()

    def _link(self) -> None:
        # The same dict objects: a scheduler that sets param_groups[i]["lr"] reaches the child.
        self.param_groups = [group for child in self.children for group in child.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step both optimizers; parameters without a gradient (frozen ones) are left alone."""
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure; call backward() before step()")
        for child in self.children:
            if not isinstance(child, Muon):
                child.step()
                continue
            with nullcontext() if cpu_has_bf16() or not _on_cpu(child) else Float32Instead():
                if together() and not _sharded(child):
                    _step_shared(child)
                else:
                    child.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both."""
        for child in self.children:
            child.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """{"children": [...]}: one state dict per child."""
        return {"children": [child.state_dict() for child in self.children]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both; raises ValueError when the state belongs to another split of parameters."""
        states = state_dict.get("children", [])
        if len(states) != len(self.children):
            raise ValueError(f"optimizer state has {len(states)} parts, expected {len(self.children)}: other recipe?")
        for child, state in zip(self.children, states, strict=True):
            child.load_state_dict(state)
        self._link()


def _step_shared(muon: Muon) -> None:
    """One step of `muon` in every process, each doing its share; gradients are alike everywhere before and after."""
    moved = [(group, p) for group in muon.param_groups for p in group["params"] if p.grad is not None]
    owners = _owners([p for _, p in moved], distributed.get_world_size())
    mine, held = distributed.get_rank(), []
    for (group, parameter), owner in zip(moved, owners, strict=True):
        if owner == mine:
            continue
        state, gradient = muon.state[parameter], parameter.grad
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        held.append((parameter, gradient))
        parameter.grad = None
    muon.step()
    for parameter, gradient in held:
        parameter.grad = gradient
    for rank in range(distributed.get_world_size()):
        theirs = [p for (_, p), owner in zip(moved, owners, strict=True) if owner == rank]
        if not theirs:
            continue
        flat = torch.cat([p.flatten() for p in theirs])
        distributed.broadcast(flat, src=rank)
        for parameter, values in zip(theirs, flat.split([p.numel() for p in theirs]), strict=True):
            parameter.copy_(values.view_as(parameter))


def _on_cpu(muon: Muon) -> bool:
    return all(p.device.type == "cpu" for group in muon.param_groups for p in group["params"])


def _sharded(muon: Muon) -> bool:
    """Whether processes hold parts of the matrices (FSDP), not copies of them."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for group in muon.param_groups for p in group["params"])


def _owners(matrices: list[nn.Parameter], processes: int) -> list[int]:
    """The process of each matrix: the dearest first, always to the process that has least to do."""
    cost = [min(p.shape) ** 2 * max(p.shape) for p in matrices]
    load, owners = [0] * processes, [0] * len(matrices)
    for index in sorted(range(len(matrices)), key=lambda i: (-cost[i], i)):
        owners[index] = load.index(min(load))
        load[owners[index]] += cost[index]
    return owners


def muon_adamw(model: nn.Module, lr: float, muon_lr: float, weight_decay: float) -> MuonAdamW:
    """MuonAdamW over `model`: Muon gets the 2-D weights of Linears except embeddings and the LM head."""
    embeddings = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and name.endswith("lm_head"))
    }
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        is_matrix = parameter.ndim == 2 and id(parameter) not in embeddings
        (matrices if is_matrix else others).append(parameter)
    return MuonAdamW(matrices, others, lr=lr, muon_lr=muon_lr, weight_decay=weight_decay)
