"""Tuning codes: exact gradients, phases, and a Trainer loop that ends in the same checkpoint format."""

from __future__ import annotations

import pytest
import torch
from pv_runs import Tokens, arguments, coded_lm
from tiny_lms import tiny_lm
from transformers import Trainer

from riverone_hf.additive.pv import PVConfig, PVTuning, with_labels
from riverone_hf.additive.pv_distill import DistillTrainer, divergence
from riverone_hf.additive.trainable import as_coded, make_trainable, trainable_layers
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import SHARED, AdditiveConfig, coded_layers, replace_linears


def sharing_lm():
    """A model whose k_proj matrices share codebooks."""
    model = tiny_lm()
    names = [n for n, m in model.named_modules() if n.endswith(("k_proj", "up_proj"))]
    config = AdditiveConfig(dict.fromkeys(names, "2x3g4"), {n: "keys" for n in names if "k_proj" in n})
    replace_linears(model, config)
    for layer in coded_layers(model).values():
        books = 0.1 * torch.randn(layer.scheme.codebooks_shape)
        layer.set_code(torch.randint(8, layer.unpacked().shape), books, torch.rand(layer.scales.shape))
    model.config.quantization_config = config
    return model


def test_gradients_are_those_of_the_decoded_weight():
    model = coded_lm()
    name = "model.layers.0.mlp.up_proj"
    layer = make_trainable(model)[name]
    x = torch.randn(3, 5, 32, requires_grad=True)
    seen: list[torch.Tensor] = []
    layer.watch = seen.append
    wished = torch.randn(3, 5, 48)
    (layer(x) * wished).sum().backward()
    got = [x.grad.clone(), layer.codebooks.grad.clone(), layer.scales.grad.clone()]
    x.grad = layer.codebooks.grad = layer.scales.grad = None
    weight = layer.weight
    weight.retain_grad()
    (torch.nn.functional.linear(x, weight) * wished).sum().backward()
    expected = [x.grad, layer.codebooks.grad, layer.scales.grad]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(got, expected))
    assert torch.allclose(seen[0], weight.grad, atol=1e-4)
    assert all(p.requires_grad == p.dtype.is_floating_point for p in layer.parameters())
    assert not model.model.norm.weight.requires_grad


def test_phases_and_turns():
    model = coded_lm()
    pv = PVTuning(model, PVConfig(p_steps=2, v_steps=1, layers_per_step=5))
    assert [pv.phase(step) for step in range(4)] == [(True, False), (True, False), (False, True), (True, False)]
    turns = [pv.turn(step) for step in (2, 5, 8)]
    assert sorted({name for turn in turns for name in turn}) == pv.names  # 14 Linears in three turns of five
    together = PVTuning(coded_lm(), PVConfig(p_steps=0, v_steps=1, layers_per_step=14))
    assert together.phase(7) == (True, True)
    assert PVTuning(coded_lm(), PVConfig(p_steps=1, v_steps=0)).phase(3) == (True, False)
    collecting = PVTuning(coded_lm(), PVConfig(p_steps=2, v_steps=1, layers_per_step=5, collect=2))
    coming = [collecting.coming(step) for step in range(6)]
    assert coming[0] == coming[3] == set()
    assert coming[1] == coming[2] == set(collecting.turn(2)) != coming[4] == coming[5] == set(collecting.turn(5))
    with pytest.raises(CompressError, match="expected steps"):
        PVConfig(fraction=0)
    with pytest.raises(CompressError, match="no coded layer"):
        PVTuning(tiny_lm())


def test_a_trainer_learns_and_saves_the_same_format(tmp_path, capsys):
    model = coded_lm()
    pv = PVTuning(model, PVConfig(p_steps=2, v_steps=1, layers_per_step=14, v_lr=0.5, fraction=0.05))
    codes = {name: layer.codes.clone() for name, layer in pv.layers.items()}
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path, 12),
        train_dataset=Tokens(),
        callbacks=[pv],
        optimizers=(pv.adamw(1e-2), None),
    )
    trainer.train()
    assert "'codes_changed': 0" in capsys.readouterr().out
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert pv.changed > 0
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates[-1] < rates[0]  # the schedule is stepped
    assert any(not torch.equal(codes[name], layer.codes) for name, layer in pv.layers.items())
    ids = Tokens().ids[:2]
    with torch.no_grad():
        live = model(ids).logits
        with as_coded(model) as coded:
            half = coded(ids).logits
        assert torch.equal(model(ids).logits, live) and len(trainable_layers(model)) == 14
    assert torch.allclose(half, live, atol=0.05 * float(live.abs().max()))  # float16 books
    pv.finish().save_pretrained(tmp_path / "tuned")
    from transformers import AutoModelForCausalLM

    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", output_loading_info=True)
    assert not any(info.values()) and len(coded_layers(loaded)) == 14
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, half)


def test_distillation_brings_the_student_nearer(tmp_path):
    teacher, model = tiny_lm(), coded_lm()
    ids = Tokens().ids
    with torch.no_grad():
        before = divergence(model(ids).logits, teacher(ids).logits, None)
    pv = PVTuning(model, PVConfig(p_steps=2, v_steps=1, layers_per_step=14, v_lr=0.5))
    trainer = DistillTrainer(
        model=model,
        args=arguments(tmp_path, 10, gradient_accumulation_steps=2, per_device_train_batch_size=4),
        train_dataset=Tokens(),
        callbacks=[pv],
        optimizers=(pv.adamw(3e-3), None),
        teacher=teacher,
    )
    trainer.train()
    with torch.no_grad():
        after = divergence(model(ids).logits, teacher(ids).logits, None)
    assert after < 0.8 * before
    # Logged losses are means over the step, not sums over its micro batches.
    first = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    assert first == pytest.approx(float(before), rel=0.5)


def test_labels_are_checked(tmp_path):
    logits = torch.randn(2, 4, 8, requires_grad=True)
    nothing = torch.full((2, 4), -100)
    empty = divergence(logits, torch.randn(2, 4, 8), nothing)
    empty.backward()
    assert float(empty.detach()) == 0 and torch.equal(logits.grad, torch.zeros_like(logits))
    labels = nothing.clone()
    labels[0, 2] = 5
    one = divergence(logits, logits + 1, labels)
    assert float(one.detach()) == pytest.approx(0, abs=1e-6)  # a constant shift is the same distribution
    rows = [{"labels": [-100, 3]}, {"labels": [-100, -100]}]
    assert with_labels(rows) == rows[:1]
    with pytest.raises(CompressError, match="none of 1 rows"):
        with_labels(rows[1:])

    class Unlabelled(Tokens):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"labels": torch.full((10,), -100)}

    model = coded_lm()
    pv = PVTuning(model)
    with pytest.raises(CompressError, match="without any label"):
        DistillTrainer(
            model=model,
            args=arguments(tmp_path, 20),
            train_dataset=Unlabelled(128),
            callbacks=[pv],
            optimizers=(pv.adamw(), None),
            teacher=tiny_lm(),
        ).train()


def test_shared_codebooks_stay_shared(tmp_path):
    model = sharing_lm()
    ids = Tokens().ids[:2]
    with torch.no_grad():
        logits = model(ids).logits
    pv = PVTuning(model, PVConfig(p_steps=1, v_steps=0))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, logits, atol=1e-4)
    keys = [layer for name, layer in pv.layers.items() if "k_proj" in name]
    assert keys[0].books() is keys[1].books() and keys[0].codebooks is None
    before = keys[0].books().detach().clone()
    Trainer(
        model=model,
        args=arguments(tmp_path, 2, save_strategy="steps", save_steps=2),
        train_dataset=Tokens(),
        callbacks=[pv],
        optimizers=(pv.adamw(1e-2), None),
    ).train()
    assert not torch.equal(keys[0].books(), before)
    with as_coded(model) as coded:
        coded.save_pretrained(tmp_path / "mid")
    assert getattr(model, SHARED)["for_keys"].dtype == torch.float32
    pv.finish().save_pretrained(tmp_path / "tuned")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("mid", "tuned")]
    assert files[0] == files[1]
