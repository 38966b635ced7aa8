"""Tuning codes: exact gradients, searches that never lose, phases, and a Trainer loop that can be resumed."""

from __future__ import annotations

import pytest
import torch
from tiny_lms import batches, simple_coder, tiny_lm
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from riverone_hf.additive.pv import PVConfig, PVTuning, with_labels
from riverone_hf.additive.pv_distill import DistillTrainer, divergence
from riverone_hf.additive.pv_search import Collected, beam_search, v_step
from riverone_hf.additive.quantize import quantize
from riverone_hf.additive.trainable import as_coded, make_trainable, trainable_layers
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import SHARED, AdditiveConfig, coded_layers, replace_linears


def coded_lm(scheme: str = "2x3g4"):
    model = tiny_lm()
    quantize(model, scheme, batches(2), say=lambda line: None, coder=simple_coder)
    return model


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


class Tokens(Dataset):
    """Rows of 10 tokens with labels; the answers are the tokens of a fixed pattern, so they can be learnt."""

    def __init__(self, count: int = 32):
        generator = torch.Generator().manual_seed(3)
        start = torch.randint(3, 20, (count, 1), generator=generator)
        self.ids = 3 + (start + 7 * torch.arange(10)) % 50

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index], "attention_mask": torch.ones(10).long()}


def arguments(folder, steps: int, **changes) -> TrainingArguments:
    options = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 8,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "lr_scheduler_type": "cosine",
        "dataloader_num_workers": 0,
        "seed": 0,
    }
    return TrainingArguments(**options | changes)


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


@pytest.mark.parametrize("books", [1, 2, 3])
def test_beam_search_on_small_books(books):
    """Never worse than the start; with a wide beam it finds the optimum of a full search."""
    codebooks, target = torch.randn(books, 4, 3), torch.randn(20, 3)
    start = torch.randint(4, (20, books), dtype=torch.int32)

    def loss(codes):
        return (target - sum(codebooks[k][codes[:, k].long()] for k in range(books))).square().sum(-1)

    every = torch.cartesian_prod(*[torch.arange(4)] * books).view(-1, books)
    values = sum(codebooks[k][every[:, k]] for k in range(books))
    best = torch.cdist(target, values).square().min(1).values
    wide = beam_search(target, codebooks, start, beam=64, rounds=3)
    assert wide.dtype == torch.int32 and torch.allclose(loss(wide), best, atol=1e-5)
    assert (loss(beam_search(target, codebooks, start, beam=1, rounds=1)) <= loss(start) + 1e-6).all()


def test_v_step_moves_few_groups_and_lowers_the_linear_model():
    layer = make_trainable(coded_lm("2x5g4"))["model.layers.0.mlp.up_proj"]
    gradient, before, codes = torch.randn(48, 32), layer.weight.detach(), layer.codes.clone()
    options = {"lr": 1.0, "beam": 4, "delta_decay": 0.5}
    changed, residual = v_step(layer, gradient, fraction=0.1, trust=None, **options)
    moved = (layer.codes != codes).any(-1)
    total = moved.numel()
    assert changed > 0 and 0 < int(moved.sum()) <= 0.1 * total and len(residual.index) == int(0.1 * total)
    assert ((layer.weight - before) * gradient).sum() < 0  # downhill to first order
    # The wish that is left is kept for the searched groups, halved by the decay.
    wish = (-before.square().mean().sqrt() * gradient / gradient.square().mean().sqrt()).view(48, 8, 4)
    left = (wish - (layer.weight - before).view(48, 8, 4)).view(-1, 4)[residual.index]
    assert torch.allclose(residual.delta, 0.5 * left, atol=1e-5)

    layer.codes.copy_(codes)
    free = (layer.weight - before).norm()
    v_step(layer, gradient, fraction=0.5, trust=0.2, **options)
    assert free == 0 < (layer.weight - before).norm() <= 0.2001 * before.norm()
    assert v_step(layer, torch.zeros(48, 32), fraction=0.5, trust=None, **options)[0] == 0


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


def test_v_phase_moves_codes_only(tmp_path):
    model = coded_lm()
    pv = PVTuning(model, PVConfig(p_steps=3, v_steps=1, layers_per_step=14, fraction=0.1, v_lr=1.0))
    books = {}

    class Look(type(pv).__mro__[1]):  # a TrainerCallback
        def on_step_begin(self, args, state, control, **kwargs):
            books[state.global_step] = [layer.codebooks.detach().clone() for layer in pv.layers.values()]

        def on_step_end(self, args, state, control, **kwargs):
            books[state.global_step] = [layer.codebooks.detach().clone() for layer in pv.layers.values()]
            changes.append(pv.changed)

    changes: list[int] = []
    Trainer(
        model=model,
        args=arguments(tmp_path, 4),
        train_dataset=Tokens(),
        callbacks=[pv, Look()],
        optimizers=(pv.adamw(), None),
    ).train()
    assert changes[:3] == [0, 0, 0] and changes[3] > 0
    assert not torch.equal(books[0][0], books[1][0])
    assert all(torch.equal(a, b) for a, b in zip(books[3], books[4]))


def distilled(folder, config: PVConfig) -> float:
    """Divergence from the teacher after 60 steps, as a share of that before."""
    teacher, model, ids = tiny_lm(), coded_lm(), Tokens().ids
    with torch.no_grad():
        before = divergence(model(ids).logits, teacher(ids).logits, None)
    pv = PVTuning(model, config)
    options = {"model": model, "args": arguments(folder, 60), "train_dataset": Tokens(), "callbacks": [pv]}
    DistillTrainer(**options, optimizers=(pv.adamw(3e-3), None), teacher=teacher).train()
    with torch.no_grad():
        return float(divergence(model(ids).logits, teacher(ids).logits, None) / before)


def test_moving_codes_brings_the_student_nearer_than_codebooks_alone(tmp_path, monkeypatch):
    """P steps alone must lose; so must codes that move to where the gradient points."""
    moves = PVConfig(p_steps=4, v_steps=1, layers_per_step=14, collect=5, v_lr=0.5, fraction=0.05)
    both, books_only = distilled(tmp_path, moves), distilled(tmp_path, PVConfig(v_steps=0))
    assert both < 0.85 * books_only
    direction = Collected.direction
    monkeypatch.setattr(Collected, "direction", lambda self: -direction(self))
    assert distilled(tmp_path, moves) > 1.3 * both


def test_codes_move_less_as_the_learning_rate_falls(tmp_path):
    def changed(schedule):
        torch.manual_seed(0)
        pv = PVTuning(coded_lm(), PVConfig(p_steps=1, v_steps=1, collect=2, layers_per_step=14, v_lr=0.5))
        args = arguments(tmp_path, 8, lr_scheduler_type=schedule)
        Trainer(
            model=pv.model,
            args=args,
            train_dataset=Tokens(),
            callbacks=[pv],
            optimizers=(pv.adamw(1e-4), None),
        ).train()
        return pv.changed

    assert 0 < changed("cosine") < 0.8 * changed("constant")


def test_an_element_counts_by_how_well_its_gradients_agree():
    gradients = [torch.tensor([[1.0, 100.0, 0.0]]), torch.tensor([[1.0, -100.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])]
    seen = Collected.first(gradients[0])
    assert torch.equal(seen.direction(), gradients[0])
    for gradient in gradients[1:]:
        seen.add(gradient)
    # The sum is 3 and 1; the second element's gradients contradict each other.
    found = seen.direction().flatten()
    assert found[0] > 1.5 and abs(found[1]) < 0.01 and found[2] == 0
    assert gradients[0].tolist() == [[1, 100, 0]]  # what was given is not written to


def test_collected_gradients_are_those_of_one_large_batch(tmp_path):
    """Four steps that move nothing, then a V-step: as one step of four times the batch."""

    def codes(config, **changes):
        torch.manual_seed(0)
        model = coded_lm()
        pv = PVTuning(model, config)
        stand_still = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
        args = arguments(tmp_path, **changes)
        Trainer(model=model, args=args, train_dataset=Tokens(), callbacks=[pv], optimizers=(stand_still, None)).train()
        assert not pv.gradients
        return [layer.codes for layer in pv.layers.values()]

    options = {"v_steps": 1, "layers_per_step": 14, "v_lr": 1.0, "fraction": 0.2, "trust": None}
    collected = codes(PVConfig(p_steps=3, collect=4, **options), steps=4)
    large = codes(PVConfig(p_steps=0, **options), steps=1, gradient_accumulation_steps=4)
    last = codes(PVConfig(p_steps=3, collect=1, **options), steps=4)
    same, other = (sum(int((a != b).sum()) for a, b in zip(collected, codes)) for codes in (large, last))
    assert same == 0 < other


@pytest.mark.parametrize("collect", [1, 3])
def test_resuming_gives_the_same_codes(tmp_path, collect):
    def trained(folder, resume):
        torch.manual_seed(0)
        model = coded_lm()
        config = PVConfig(p_steps=1, v_steps=1, v_lr=0.5, fraction=0.1, delta_decay=0.3, collect=collect)
        pv = PVTuning(model, config)
        args = arguments(folder, 6, save_strategy="steps", save_steps=4)
        optimizers = (pv.adamw(1e-3), None)
        trainer = Trainer(model=model, args=args, train_dataset=Tokens(), callbacks=[pv], optimizers=optimizers)
        trainer.train(resume_from_checkpoint=resume)
        return pv

    straight = trained(tmp_path, None)
    assert (tmp_path / "checkpoint-4" / "pv_state.safetensors").is_file()
    resumed = trained(tmp_path, str(tmp_path / "checkpoint-4"))
    for name, layer in straight.layers.items():
        assert torch.equal(layer.codes, resumed.layers[name].codes), name
        assert torch.equal(layer.codebooks, resumed.layers[name].codebooks), name


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
