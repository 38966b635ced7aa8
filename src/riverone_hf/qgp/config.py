"""Settings of the generators; every field says when to change it. Unknown keys are errors."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .generator import WeightGenerator


class GeneratorConfig(BaseModel):
    """What all generators have in common: which weights they make, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modules: tuple[str, ...] = ("*qkv.*.[qkv]_proj",)
    """Shell patterns of the names of the Linears whose weight is generated; the default is RiverOne's vision q/k/v."""
    layers: tuple[int, ...] | None = None
    """Layers that get generated weights, None for all. In foreign models: the last number in a module's name."""
    row_slices: int | tuple[tuple[int, int], ...] | None = None
    """For fused q/k/v: number of equal row blocks, or (start, stop) pairs; each gets a generator, other rows stay."""
    train_shared: bool = False
    """Also train the stored weight; the reference circuit then runs in every step (one circuit more per weight)."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial draw; each weight mixes in its own name."""

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        """A generator that makes `slots` weights of `shape` (rows, columns) from one stored weight."""
        raise NotImplementedError

    def count(self, shape: tuple[int, int], slots: int) -> int:
        """Trained parameters of `build(shape, slots)`, without building it."""
        raise NotImplementedError


class QGPConfig(GeneratorConfig):
    """A simulated variational circuit makes the weight: amplitudes in, probabilities out, a readout turns them back."""

    method: Literal["qgp"] = "qgp"
    register_kind: Literal["full", "tiled"] = Field(default="full", alias="register")
    """`full`: all entries in one state (paper). `tiled`: tiles of 2^tile_wires entries share circuits; cheaper."""
    tile_wires: int = Field(default=12, ge=2, le=16)
    """Wires of a tile; 10 to 12 fit the processor's caches."""
    tile_circuits: int = Field(default=1, ge=1)
    """Angle sets that the tiles are divided over; raise it to match the parameter count of a larger method."""
    n_layers: int = Field(default=2, ge=1, le=64)
    """Rotation layers, each followed by the entangler; time and angles grow with it."""
    entangler: Literal["chain", "ring", "none"] = "chain"
    """CNOTs 0->1->2..., the ring also has last->0; `none` leaves every wire alone (a control)."""
    readout: Literal["ratio", "sign", "low_rank", "kronecker"] = "ratio"
    """How probabilities become a weight; see `readouts`."""
    readout_rank: int = Field(default=4, ge=1)
    """Rank of the `low_rank` readout."""
    row_col: bool = False
    """Also train one factor per row and column. Far more parameters than the angles, so a comparison of its own."""

    def build(self, shape: tuple[int, int], slots: int, seed: int) -> WeightGenerator:
        from .circuit_generator import CircuitGenerator

        return CircuitGenerator(self, shape, slots, seed)

    def count(self, shape: tuple[int, int], slots: int) -> int:
        from .circuit_generator import plan_register
        from .readouts import gate_count

        plan = plan_register(self, shape)
        per_slot = plan.circuits * self.n_layers * plan.wires * 3 + gate_count(self.readout, self.readout_rank)
        return slots * (per_slot + (sum(shape) if self.row_col else 0))
