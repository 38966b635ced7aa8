"""How does a shared tower recover? It is trained to the relations and the output of the original, on images alone."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import MultiplexError
from .checkpoint import load_checkpoint, save_checkpoint
from .feed import broadcast, processes, reduce_all, repeat, share_of
from .losses import hidden_relation_loss, output_loss, qkv_relation_loss
from .policy import orthogonal_mixing, parameter_groups, set_trainable
from .tower import Batch, Tower


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Settings of a distillation; numbers that decide quality have no default, a recipe gives them.

    Args:
        steps, learning_rate, warmup_steps, weight_decay, max_grad_norm: AdamW with linear warm-up and cosine decay;
            weight decay acts on the matrices of blocks, q/k/v and projector only.
        generator_learning_rate: that of weight generators, without decay; None: `learning_rate`.
        qkv_weight, hidden_weight, output_weight: weights of the three losses; 0 leaves one out.
        train: parameter groups that train, see `policy.GROUPS`.
        relation_heads: heads of the q/k/v relations (1 in MiniViT); divides both widths.
        bf16: autocast the forward passes; masters stay float32.
        gradient_checkpointing: recompute layers and relation losses in the backward pass.
        orthogonal: keep head mixing orthogonal while it trains.
        save_steps: steps between checkpoints, where a folder is given.
    """

    steps: int
    learning_rate: float
    qkv_weight: float
    hidden_weight: float
    output_weight: float
    train: tuple[str, ...]
    generator_learning_rate: float | None = None
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    relation_heads: int = 1
    bf16: bool = False
    gradient_checkpointing: bool = False
    orthogonal: bool = False
    save_steps: int = 100

    def rate(self, step: int) -> float:
        """Factor of the learning rate at `step` (0-based)."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)))


def distill(
    student: Any,
    teacher: Any,
    images: Iterable[Batch],
    config: DistillConfig,
    *,
    folder: str | Path | None = None,
    qkv_targets: Sequence[int] | None = None,
    hidden_targets: Sequence[int] | None = None,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    penalty: Callable[[], torch.Tensor] | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `student` in place to reproduce `teacher` (the original model; no labels are used).

    All tokens count alike, also those that pad images of mixed sizes (SigLIP2): both models see the same ones.

    Args:
        images: batches of pixel_values (or of named inputs); begun again when they end. Under `torchrun` a batch is
            the global one and every process takes its share (a remainder is left out), so the result does not depend
            on their number. A list, or anything else with lengths and indices, is not read again after a resume.
        folder: where to keep a checkpoint (all processes must see it); an interrupted run goes on from it with the
            batches that were left.
        qkv_targets, hidden_targets: the teacher's layer for each layer of the student, by default its own index.
        optimizer: makes the optimizer from the trained parameters, by default AdamW.
        penalty: a term that is added to the loss, such as a regularizer of generators.
        on_step: called with the number of finished steps and their losses.

    Returns the losses {loss, qkv, hidden, output} of every step, those before a resume included. Raises MultiplexError
    when nothing can train, the layers do not correspond, or a loss is not finite.
    """
    rank, world = processes()
    mine, theirs = Tower(student), Tower(teacher)
    targets = [_targets(mine, theirs, given) for given in (qkv_targets, hidden_targets)]
    if isinstance(images, Iterator) and folder is not None:
        raise MultiplexError(
            "images is an iterator, which cannot go on after an interruption. Remedy: pass a list, a "
            "data loader, or another object that starts anew with each iter()"
        )
    with ExitStack() as stack:
        stack.callback(_restorer(student, teacher))
        _to_float32(mine)
        teacher.eval()
        student.train()
        if config.orthogonal:
            stack.enter_context(orthogonal_mixing(mine.vision))
        if config.gradient_checkpointing:
            mine.vision.activation_checkpointing_enable({"use_reentrant": False})
            stack.callback(mine.vision.activation_checkpointing_disable)
        parameters = set_trainable(student, config.train)
        broadcast(parameters, world)
        chosen = _adamw(student, parameters, config) if optimizer is None else optimizer(parameters)
        bases = [group["lr"] for group in chosen.param_groups]
        mark = _fingerprint(config, parameters, targets, mine, theirs)
        done, losses = (0, []) if folder is None else load_checkpoint(Path(folder), mark, parameters, chosen)
        batches = itertools.islice(repeat(images, done), config.steps - done)
        for step, batch in enumerate(batches, start=done):
            for group, base in zip(chosen.param_groups, bases, strict=True):
                group["lr"] = base * config.rate(step)
            rows, part = share_of(batch, rank, world)
            found = _losses(mine, theirs, rows, config, targets)
            terms = {name: (weight, part * term) for name, (weight, term) in found.items()}
            if penalty is not None:
                terms["penalty"] = 1.0, penalty()
            total = torch.stack([weight * term for weight, term in terms.values()]).sum()
            chosen.zero_grad(set_to_none=True)
            total.backward()
            shown = {"loss": total} | {name: term for name, (_, term) in terms.items()}
            losses.append(reduce_all(parameters, shown, world))
            if not math.isfinite(losses[-1]["loss"]):
                raise MultiplexError(
                    f"the loss is {losses[-1]['loss']} at step {step + 1}. Remedy: lower learning_rate"
                )
            torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            chosen.step()
            last = step + 1 == config.steps
            if folder is not None and rank == 0 and (last or (step + 1) % config.save_steps == 0):
                save_checkpoint(Path(folder), mark, step + 1, losses, parameters, chosen)
            if on_step is not None:
                on_step(step + 1, losses[-1])
    return losses


def _targets(mine: Tower, theirs: Tower, given: Sequence[int] | None) -> list[int]:
    """The teacher's layer for each layer of the student."""
    count, known = len(mine.layers), len(theirs.layers)
    if given is None and count == known:
        return list(range(count))
    if given is None or len(given) != count or not all(0 <= layer < known for layer in given):
        raise MultiplexError(
            f"the student has {count} layers, the teacher {known}, the targets are {given}. Remedy: give qkv_targets "
            "and hidden_targets with one layer of the teacher for each layer of the student"
        )
    return list(given)


def _losses(
    mine: Tower, theirs: Tower, batch: Batch, config: DistillConfig, targets: list[list[int]]
) -> dict[str, tuple[float, torch.Tensor]]:
    """name -> (weight, loss) of the three terms that have a weight."""
    states, qkv = config.hidden_weight > 0, config.qkv_weight > 0
    device = next(mine.vision.parameters()).device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=config.bf16):
        with torch.no_grad():
            wanted = theirs.run(batch, states, qkv)
        got = mine.run(batch, states, qkv)
    terms: dict[str, tuple[float, torch.Tensor]] = {}
    if config.qkv_weight > 0:
        terms["qkv"] = (
            config.qkv_weight,
            _mean_over_layers(
                qkv_relation_loss, got.qkv, [wanted.qkv[i] for i in targets[0]], config, config.relation_heads
            ),
        )
    if config.hidden_weight > 0:
        terms["hidden"] = (
            config.hidden_weight,
            _mean_over_layers(hidden_relation_loss, got.states, [wanted.states[i] for i in targets[1]], config),
        )
    if config.output_weight > 0:
        terms["output"] = config.output_weight, output_loss(got.output, wanted.output)
    if not terms:
        raise MultiplexError("all three loss weights are 0. Remedy: give qkv_weight, hidden_weight or output_weight")
    return terms


def _mean_over_layers(
    loss: Callable[..., torch.Tensor], mine: list[Any], theirs: list[Any], config: DistillConfig, *extra: Any
) -> torch.Tensor:
    values = []
    for a, b in zip(mine, theirs, strict=True):
        # Nine N x N relations per layer are the largest tensors of a step.
        recompute = config.gradient_checkpointing
        values.append(checkpoint(loss, a, b, *extra, use_reentrant=False) if recompute else loss(a, b, *extra))
    return torch.stack(values).mean()


def _adamw(student: Any, parameters: list[nn.Parameter], config: DistillConfig) -> torch.optim.AdamW:
    found = parameter_groups(student)
    generators = {id(parameter) for parameter in found["generators"]}
    # Decay would pull head mixing away from the identity, which is its neutral state.
    matrices = {id(p) for name in ("blocks", "qkv", "projector") for p in found[name] if p.ndim > 1}
    rate = config.learning_rate if config.generator_learning_rate is None else config.generator_learning_rate
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if id(p) not in matrices | generators], "weight_decay": 0.0},
        {"params": [p for p in parameters if id(p) in generators], "weight_decay": 0.0, "lr": rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate)


def _fingerprint(
    config: DistillConfig, parameters: list[nn.Parameter], targets: list[list[int]], mine: Tower, theirs: Tower
) -> str:
    # Settings that only decide speed or how often to save may change between a kill and the resume.
    settings = dataclasses.asdict(config)
    for name in ("gradient_checkpointing", "save_steps"):
        del settings[name]
    shapes = [list(parameter.shape) for parameter in parameters]
    # The student's own weights are left out: a least-squares start is not the same to the last bit twice.
    teacher = [parameter.flatten()[:2].tolist() for parameter in theirs.vision.parameters()]
    content = json.dumps([settings, shapes, targets, mine.layer_map, theirs.layer_map, teacher])
    return hashlib.sha256(content.encode()).hexdigest()


def _to_float32(tower: Tower) -> None:
    """Make the tower and what follows it float32: masters that small steps can move."""
    tower.vision.float()
    if tower.is_riverone and tower.core is not tower.vision:
        tower.core.multi_modal_projector.float()


def _restorer(student: Any, teacher: Any) -> Callable[[], None]:
    """Gives modes, types and gradient flags back; what training added (there is nothing left then) keeps its own."""
    modes = [(module, module.training) for model in (student, teacher) for module in model.modules()]
    # By name: a parametrization that came and went leaves another parameter object.
    kept = {name: (parameter.dtype, parameter.requires_grad) for name, parameter in student.named_parameters()}

    def restore() -> None:
        for module, training in modes:
            module.training = training
        for name, parameter in student.named_parameters():
            dtype, requires_grad = kept.get(name, (parameter.dtype, True))
            parameter.data = parameter.data.to(dtype)
            parameter.requires_grad_(requires_grad)
            parameter.grad = None

    return restore


__all__ = ["DistillConfig", "distill"]
