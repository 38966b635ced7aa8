from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from multiplex_models import LAYERS, noise, patches, siglip
from torch.nn.utils import parametrize

from riverone_hf.errors import MultiplexError
from riverone_hf.multiplex import (
    DistillConfig,
    control_targets,
    distill,
    drop_blocks,
    output_error,
    pairs,
    parameter_groups,
    set_trainable,
    share_blocks,
)
from riverone_hf.multiplex.losses import hidden_relation_loss, output_loss, qkv_relation_loss
from riverone_hf.multiplex.policy import GROUPS, is_orthogonal

SETTINGS = DistillConfig(
    steps=15,
    learning_rate=3e-3,
    qkv_weight=1.0,
    hidden_weight=0.1,
    output_weight=1.0,
    train=("norms", "blocks", "qkv"),
)


def change(**changes) -> DistillConfig:
    return dataclasses.replace(SETTINGS, **changes)


def test_relation_losses_by_hand():
    generator = torch.Generator().manual_seed(0)
    q, k, v, a, b, c = torch.randn(6, 2, 5, 8, generator=generator)
    expected = 0.0
    for i in range(3):
        for j in range(3):
            mine, theirs = (q, k, v), (a, b, c)
            for t in range(2):
                r = torch.softmax(theirs[i][t] @ theirs[j][t].t() / 8**0.5, -1)
                s = torch.softmax(mine[i][t] @ mine[j][t].t() / 8**0.5, -1)
                expected += float(-(r * s.log()).sum() + (r * r.log()).sum()) / (9 * 2 * 5)
    assert qkv_relation_loss((q, k, v), (a, b, c)).item() == pytest.approx(expected, rel=1e-4)
    assert qkv_relation_loss((q, k, v), (q, k, v)).item() == pytest.approx(0, abs=1e-6)
    assert qkv_relation_loss((q, k, v), (a, b, c), heads=2).item() != pytest.approx(expected, rel=1e-2)
    wide = tuple(torch.cat([x, x], -1) for x in (a, b, c))
    assert torch.isfinite(qkv_relation_loss((q, k, v), wide))
    gram = [x / x.norm(dim=-1, keepdim=True) for x in (q, a)]
    squares = (gram[0] @ gram[0].transpose(1, 2) - gram[1] @ gram[1].transpose(1, 2)).square()
    assert hidden_relation_loss(q, a).item() == pytest.approx(squares.mean().item() * 5, rel=1e-5)
    assert output_loss(2 * q, q).item() == pytest.approx(1.0)


def test_distillation_recovers_and_leaves_the_teacher(model):
    images, held_out = noise(8), noise(2, seed=9)
    student = share_blocks(model, "pairs")
    before, rest = copy.deepcopy(model.state_dict()), copy.deepcopy(student.model.multi_modal_projector.state_dict())
    start = output_error(student, model, held_out)
    losses = distill(student, model, images, change(steps=60))
    assert len(losses) == 60 and set(losses[0]) == {"loss", "qkv", "hidden", "output"}
    first, last = losses[0], losses[-1]
    assert first["loss"] == pytest.approx(first["qkv"] + 0.1 * first["hidden"] + first["output"], rel=1e-5)
    assert all(last[name] < 0.8 * first[name] for name in first)
    assert output_error(student, model, held_out) < 0.8 * start
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, value in student.model.multi_modal_projector.state_dict().items():
        assert torch.equal(value, rest[name])
    assert not student.training and all(p.requires_grad and p.grad is None for p in student.parameters())


def test_an_untied_student_has_no_loss(model):
    student = share_blocks(model, "identity", head_mixing=True)
    (loss,) = distill(student, model, noise(1), change(steps=1, train=("transforms",)))
    assert all(value == pytest.approx(0, abs=1e-5) for value in loss.values())


@pytest.mark.parametrize("train", [("transforms",), ("transforms", "norms"), ("qkv",), ("blocks",), ("projector",)])
def test_only_what_the_policy_names_moves(model, train):
    student = share_blocks(model, "pairs", head_mixing=True, local_conv=[2], local_conv_size=3)
    groups = parameter_groups(student)
    listed = [id(p) for tensors in groups.values() for p in tensors]
    assert len(listed) == len(set(listed))
    before = {name: [p.detach().clone() for p in groups[name]] for name in GROUPS}
    others = {n: p.detach().clone() for n, p in student.named_parameters() if id(p) not in set(listed)}
    distill(student, model, noise(2), change(steps=2, train=train))
    for name in GROUPS:
        moved = [not torch.equal(p, old) for p, old in zip(groups[name], before[name], strict=True)]
        assert all(moved) if name in train else not any(moved), name
    assert all(torch.equal(p, others[n]) for n, p in student.named_parameters() if n in others)


def test_policy_errors(model):
    with pytest.raises(MultiplexError, match="cannot train 'heads'"):
        set_trainable(model, ["heads"])
    with pytest.raises(MultiplexError, match="no transforms to train"):
        set_trainable(model, ["transforms"])


def test_orthogonal_mixing_while_training_plain_afterwards(model, tmp_path):
    student = share_blocks(model, "pairs", head_mixing=True)
    names = list(student.state_dict())
    saved = []

    def look(step: int, losses: dict[str, float]) -> None:
        mixing = student.model.vision_tower.layers[0].mixing
        assert parametrize.is_parametrized(mixing) and is_orthogonal(mixing.before)
        student.save_pretrained(tmp_path / str(step))
        saved.append(mixing.before.detach().clone())

    distill(student, model, noise(2), change(steps=3, train=("transforms",), orthogonal=True), on_step=look)
    assert list(student.state_dict()) == names
    mixing = student.model.vision_tower.layers[0].mixing
    assert is_orthogonal(mixing.before) and torch.equal(mixing.before, saved[-1])
    assert not torch.allclose(mixing.before, torch.eye(4), atol=1e-4)
    loaded = type(student).from_pretrained(tmp_path / "3")
    assert torch.equal(loaded.model.vision_tower.layers[0].mixing.before, saved[-1])
    free = share_blocks(model, "pairs", head_mixing=True)
    distill(free, model, noise(2), change(steps=3, train=("transforms",)))
    assert not is_orthogonal(free.model.vision_tower.layers[0].mixing.before)


def test_gradient_checkpointing_and_bf16(model):
    runs = {}
    for name, changes in {
        "plain": {},
        "checkpointed": {"gradient_checkpointing": True},
        "bf16": {"bf16": True},
    }.items():
        student = share_blocks(model, "pairs", head_mixing=[2], local_conv=[1], local_conv_size=3)
        train = ("transforms", "norms", "blocks", "qkv")
        runs[name] = distill(student, model, noise(2), change(steps=4, train=train, **changes))
        assert not any(getattr(module, "gradient_checkpointing", False) for module in student.modules())
    for plain, same, rough in zip(*runs.values(), strict=True):
        assert same["loss"] == pytest.approx(plain["loss"], rel=1e-4)
        assert rough["loss"] == pytest.approx(plain["loss"], rel=0.05)
        assert rough["loss"] != plain["loss"]


def test_bf16_models_have_float32_masters(model):
    teacher = model.to(torch.bfloat16)
    student = share_blocks(teacher, "pairs")
    seen = []
    distill(
        student,
        teacher,
        noise(2),
        change(steps=2, learning_rate=1e-5),
        on_step=lambda *_: seen.append({p.dtype for p in student.model.vision_tower.parameters()}),
    )
    assert seen == [{torch.float32}] * 2
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}


def test_controls_distil_with_equal_settings(model):
    dropped = drop_blocks(model, pairs(LAYERS))
    with pytest.raises(MultiplexError, match="the student has 3 layers, the teacher 6"):
        distill(dropped, model, noise(1), SETTINGS)
    losses = distill(dropped, model, noise(4), SETTINGS, **control_targets(pairs(LAYERS)))
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_siglip2_is_shared_and_distilled(tmp_path):
    teacher = siglip()
    student = share_blocks(teacher, "pairs", head_mixing=True, local_conv=[1], grid=(4, 4), local_conv_size=3)
    settings = change(steps=20, train=("transforms", "norms", "blocks", "qkv"), gradient_checkpointing=True)
    losses = distill(student, teacher, patches(4), settings)
    assert losses[-1]["loss"] < 0.7 * losses[0]["loss"]
    student.save_pretrained(tmp_path)
    loaded, info = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert output_error(loaded, student, patches(1)) == 0


def test_any_iterable_and_any_optimizer(model):
    class Loader:
        def __iter__(self):
            yield from noise(2)

    results = []
    for images in (noise(2), Loader(), (batch for batch in [*noise(2), *noise(2)])):
        student = share_blocks(model, "pairs")
        results.append(distill(student, model, images, change(steps=4)))
    assert results[0] == results[1] == results[2]
    with pytest.raises(MultiplexError, match="there are no images"):
        distill(student, model, [], SETTINGS)
    used = []
    losses = distill(
        student,
        model,
        noise(1),
        change(steps=2, train=("norms",)),
        optimizer=lambda parameters: used.append(len(parameters)) or torch.optim.SGD(parameters, lr=0.1),
    )
    assert used == [4 * LAYERS] and len(losses) == 2


def test_it_stops_when_the_loss_is_not_finite(model):
    student = share_blocks(model, "pairs")
    with pytest.raises(MultiplexError, match=r"the loss is (nan|inf) at step \d+. Remedy"):
        distill(student, model, noise(2), change(steps=30, learning_rate=1e30, max_grad_norm=1e30))
    with pytest.raises(MultiplexError, match="all three loss weights are 0"):
        distill(student, model, noise(1), change(qkv_weight=0, hidden_weight=0, output_weight=0))
