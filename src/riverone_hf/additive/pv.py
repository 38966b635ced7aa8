"""How are codes tuned to a task? PV-Tuning: codebooks and scales by AdamW (P), codes by search (V), in any Trainer.

    pv = PVTuning(model, PVConfig())                 # a coded model; its layers become trainable
    Trainer(model=model, callbacks=[pv], optimizers=(pv.adamw(3e-4), None), ...).train()
    pv.finish().save_pretrained("tuned")             # the same checkpoint format as before

Descent is proved for exact P- and V-steps only; with minibatches nothing is guaranteed, so measure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.utils import logging

from ..errors import CompressError
from .pv_search import Collected, Residual, v_step
from .trainable import make_coded, make_trainable

STATE = "pv_state.safetensors"
PARTS = ("index", "delta", "total", "squares", "count")
"""What a checkpoint may keep of a Linear: the wish that is left, and the gradients collected so far."""


@dataclass(frozen=True)
class PVConfig:
    """Settings of the V-steps; the P-steps are those of the optimizer.

    Args:
        p_steps, v_steps: cycle of steps that move codebooks and scales only, then codes only. `p_steps=0` does both in
            every step; `v_steps=0` moves no code.
        layers_per_step: Linears whose codes may change in one V-step, in turn: only these hold a dense gradient and its
            square.
        collect: steps whose gradients a V-step adds up, its own and those before it: the gradient of one small batch
            is mostly noise. No extra pass, but more Linears hold a gradient when the windows of V-steps overlap.
        v_lr: size of a wished change relative to the weight's RMS at the optimizer's full learning rate; it falls as
            that does, so that the last codes change while the rest can still follow.
        fraction: most groups of a Linear searched in one V-step.
        beam: hypotheses of the search.
        trust: bound on the relative change of a Linear in one V-step; None for no bound.
        delta_decay: 1 forgets what the codes could not follow, less keeps that part for the next visit.
    """

    p_steps: int = 9
    v_steps: int = 1
    layers_per_step: int = 8
    collect: int = 10
    v_lr: float = 0.2
    fraction: float = 0.01
    beam: int = 5
    trust: float | None = None
    delta_decay: float = 1.0

    def __post_init__(self) -> None:
        good = self.p_steps >= 0 and self.v_steps >= 0 and self.p_steps + self.v_steps > 0
        good = (
            good
            and self.layers_per_step > 0
            and self.collect > 0
            and self.v_lr > 0
            and 0 < self.fraction <= 1
            and self.beam > 0
        )
        good = good and (self.trust is None or self.trust > 0) and 0 <= self.delta_decay <= 1
        if not good:
            raise CompressError(
                f"got {self}, expected steps >= 0 and not both 0, fraction and delta_decay within 0..1, all else > 0"
            )


class PVTuning(TrainerCallback):
    """Makes a coded model trainable and runs the V-steps inside a Trainer loop.

    Args:
        model: a coded model (from `quantize`, or loaded); changed in place.
        others: also train what is not coded (norms, embeddings).

    `changed` counts the codes that V-steps changed. Raises `CompressError` when nothing is coded.
    """

    def __init__(self, model: Any, config: PVConfig | None = None, others: bool = False):
        self.model, self.config = model, config or PVConfig()
        self.layers = make_trainable(model, others)
        self.names = sorted(self.layers)
        self.residuals: dict[str, Residual] = {}
        self.gradients: dict[str, Collected] = {}
        self.changed = 0

    def adamw(self, lr: float = 3e-4, betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
        """AdamW on what is trainable, without weight decay: a codebook near zero is not simpler."""
        wanted = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(wanted, lr=lr, betas=betas, weight_decay=0.0)

    def finish(self) -> Any:
        """The model with ordinary coded layers again, ready for `save_pretrained`."""
        self._watch([])
        return make_coded(self.model)

    def phase(self, step: int) -> tuple[bool, bool]:
        """(does step `step` move codebooks and scales?, does it move codes?)."""
        config = self.config
        if config.p_steps == 0 or config.v_steps == 0:
            return True, config.v_steps > 0
        codes = step % (config.p_steps + config.v_steps) >= config.p_steps
        return not codes, codes

    def turn(self, step: int) -> list[str]:
        """Linears whose codes may change in step `step`; depends on the step alone, so a resumed run goes on alike."""
        config = self.config
        cycle = config.p_steps + config.v_steps
        done = step if config.p_steps == 0 else step // cycle * config.v_steps + step % cycle - config.p_steps
        count = min(config.layers_per_step, len(self.names))
        return [self.names[(done * count + i) % len(self.names)] for i in range(count)]

    def coming(self, step: int) -> set[str]:
        """Linears whose gradient in step `step` a V-step will use: this step's or one of the next `collect - 1`."""
        window = range(step, step + self.config.collect)
        return {name for each in window if self.phase(each)[1] for name in self.turn(each)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the kept wishes and gradients when training is resumed."""
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
        if state.global_step and path.is_file():
            stored = load_file(path)
            # The file holds the sums of all processes: one of them takes them up.
            mine = int(state.is_world_process_zero)
            for name, layer in self.layers.items():
                parts = {p: stored[f"{name}|{p}"].to(layer.scales.device) for p in PARTS if f"{name}|{p}" in stored}
                if "index" in parts:
                    self.residuals[name] = Residual(parts["index"], parts["delta"])
                if "count" in parts:
                    total, squares = parts["total"] * mine, parts["squares"] * mine
                    self.gradients[name] = Collected(total, squares, int(parts["count"]))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch the gradients of the Linears that will have their turn."""
        self._watch(self.coming(state.global_step))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The V-step; in steps that move codes only, codebooks and scales get no gradient."""
        moves_books, moves_codes = self.phase(state.global_step)
        if moves_codes:
            groups = getattr(kwargs.get("optimizer"), "param_groups", None) or [{"lr": 1.0}]
            now, full = groups[0]["lr"], groups[0].get("initial_lr", groups[0]["lr"])
            self.v_step(self.turn(state.global_step), now / full if full else 1.0)
        if not moves_books:
            for layer in self.layers.values():
                layer.books().grad = layer.scales.grad = None

    def v_step(self, names: Sequence[str], share: float = 1.0) -> int:
        """Change codes of these Linears with their gradients added up so far; returns how many codes changed.

        `share` of `v_lr` is taken.
        """
        config, total = self.config, 0
        for name in sorted(self.gradients.keys() & set(names)):
            changed, residual = v_step(
                self.layers[name],
                _over_processes(self.gradients.pop(name)).direction(),
                lr=config.v_lr * share,
                fraction=config.fraction,
                beam=config.beam,
                trust=config.trust,
                delta_decay=config.delta_decay,
                residual=self.residuals.get(name),
            )
            total += changed
            if residual is not None:
                self.residuals[name] = residual
        self.changed += total
        return total

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the wishes and the gradients collected so far beside the Trainer's checkpoint."""
        tensors: dict[str, torch.Tensor] = {}
        for name in sorted(self.gradients):
            # All processes take part in the sum, and one keeps it.
            seen = _over_processes(self.gradients[name])
            tensors |= {f"{name}|total": seen.total.clone(), f"{name}|squares": seen.squares.clone()}
            tensors[f"{name}|count"] = torch.tensor(seen.count)
            if not state.is_world_process_zero:
                self.gradients[name] = Collected(seen.total * 0, seen.squares * 0, seen.count)
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for name, residual in self.residuals.items():
            tensors |= {f"{name}|index": residual.index, f"{name}|delta": residual.delta}
        if tensors and state.is_world_process_zero and folder.is_dir():
            save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, folder / STATE)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the count of changed codes to the log; stop at a loss that is not finite."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise CompressError(
                f"the loss is {loss} at step {state.global_step}. Remedy: rows with labels, or a smaller learning rate"
            )
        if logs is not None and loss is not None:
            logs["codes_changed"] = self.changed

    def _watch(self, names: Collection[str]) -> None:
        """Add up the gradients of these Linears from now on, and forget those of all others."""
        self.gradients = {name: gradient for name, gradient in self.gradients.items() if name in names}
        for name, layer in self.layers.items():
            layer.watch = self._adder(name) if name in names else None

    def _adder(self, name: str) -> Any:
        def add(gradient: torch.Tensor) -> None:
            if name in self.gradients:
                self.gradients[name].add(gradient)
            else:
                self.gradients[name] = Collected.first(gradient)

        return add


def _over_processes(seen: Collected) -> Collected:
    """The sums over all processes, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(seen.total)
        dist.all_reduce(seen.squares)
        seen.count *= dist.get_world_size()
    return seen


logger = logging.get_logger("transformers.riverone.pv")


def with_labels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have at least one label to learn (not -100), saying how many were left out.

    An answer that was cut off leaves none, and such a row would only give NaN. Raises `CompressError` when no row is
    left.
    """
    kept = [row for row in rows if bool((torch.as_tensor(row["labels"]) != -100).any())]
    if not kept:
        raise CompressError(f"none of {len(rows)} rows has a label to learn. Remedy: a larger length, or other rows")
    if len(kept) < len(rows):
        logger.warning(f"{len(rows) - len(kept)} of {len(rows)} rows have no label to learn and are left out")
    return kept
