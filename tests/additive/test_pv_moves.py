"""V-steps: searches that never lose, where codes go and when, also over a kill and in two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import run_pv
import torch
from pv_runs import Tokens, arguments, coded_lm
from tiny_lms import tiny_lm
from transformers import Trainer

from riverone_hf.additive.pv import PVConfig, PVTuning
from riverone_hf.additive.pv_distill import DistillTrainer, divergence
from riverone_hf.additive.pv_search import Collected, beam_search, v_step
from riverone_hf.additive.trainable import make_trainable


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


def test_two_processes_move_the_codes_of_one(tmp_path):
    """Gradients are added up over processes, also those that a checkpoint keeps."""
    script, out = Path(run_pv.__file__), tmp_path / "out.json"
    paths = [str(script.parent), str(script.parents[1]), str(script.parents[2] / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, str(script), str(tmp_path / "two"), str(out)]
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    straight, resumed = json.loads(out.read_text())
    one = run_pv.run(tmp_path / "one", None)
    assert straight == one["codes"] == resumed
    assert one["changed"] > 0
