"""The study runner on a tiny model with two steps, its rivals, and how it counts bytes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from riverone_hf.additive.targets import make_plan
from riverone_hf.questions import OUTCOMES
from riverone_hf.questions.parse import parse_q2
from tiny import tiny_config, tiny_model, tiny_processor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("additive_study")


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("rivals")


@pytest.mark.parametrize("bits", [2, 4])
def test_whole_numbers(rivals, bits):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 256, generator=generator)
    mix = torch.randn(256, 256, generator=generator) * torch.linspace(0.1, 1, 256)[:, None]
    inputs = torch.randn(2000, 256, generator=generator) @ mix
    xtx = inputs.T @ inputs / 2000
    linear = nn.Linear(256, 8, bias=False)
    linear.weight.data.copy_(weight)
    layers = [rivals.ScalarLinear(linear, bits, rivals.grid(weight, bits))]
    layers.append(rivals.ScalarLinear(linear, bits, rivals.with_gptq(weight, bits, xtx)))
    lost = [float((((layer.weight - weight) @ xtx) * (layer.weight - weight)).sum().detach()) for layer in layers]
    # GPTQ knows the inputs; round-to-nearest is nearer to the weight itself.
    assert lost[1] < 0.8 * lost[0]
    nearest, gptq = ((layer.weight - weight).square().mean() for layer in layers)
    assert nearest < gptq
    for layer in layers:
        steps = (layer.weight.view(8, 2, 128) / layer.scales + layer.zeros).detach()
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert steps.min() > -0.01 and steps.max() < 2**bits - 0.99
        # A group of 128 has a scale and a zero point in 16 bits.
        assert layer.stored_bytes == 8 * 256 * bits / 8 + 8 * 2 * 4
    layers[0](inputs[:4]).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (layers[0].latent, layers[0].scales, layers[0].zeros))


def test_a_narrower_model_keeps_what_matters(rivals):
    """Heads and channels without any influence are the ones that go, and nothing else changes then."""
    model = tiny_model()
    ids = {"input_ids": torch.randint(10, 200, (2, 20))}
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            # The second group of heads and the odd channels give nothing.
            layer.self_attn.o_proj.weight[:, 16:] = 0
            layer.mlp.down_proj.weight[:, 1::2] = 0
        wished = model(**ids).logits
        linears = [m for n, m in model.model.language_model.named_modules() if isinstance(m, nn.Linear)]
        whole = sum(m.weight.numel() for m in linears)
        small = rivals.pruned(model, whole / 2, [ids])
        assert small.config.text_config.num_key_value_heads == 1 and small.config.text_config.intermediate_size == 32
        kept = [m.weight.numel() for m in small.model.language_model.modules() if isinstance(m, nn.Linear)]
        assert sum(kept) == whole / 2
        # The ridge of the refit bends the outputs a little.
        assert (small(**ids).logits - wished).abs().max() < 0.05 * wished.abs().max()


def test_every_row_is_listed(study):
    rows = study.rows()
    names = [row.name for row in rows]
    slugs = {importlib.import_module("study").slug(name) for name in names}
    assert len(slugs) == len(names) and {"reference", "rtn 2 bits", "hqq 3 bits, tuned", "gptq 4 bits"} <= set(names)
    # Every scheme comes with and without PV-Tuning.
    for row in rows:
        if row.name.endswith(", PV"):
            assert row.tuned and row.name.removesuffix(", PV") in names


def test_settings_are_changed_by_name(study, monkeypatch, capsys):
    tuning, pv = study.changed(["steps=7", "fraction=0.03", "trust=null", "text=1e-4"])
    assert (tuning.steps, tuning.text, pv.fraction, pv.trust) == (7, 1e-4, 0.03, None)
    assert study.changed([]) == (study.Tuning(), study.PV)
    with pytest.raises(SystemExit, match="got 'speed', expected one of steps, batch"):
        study.changed(["speed=1"])
    # What was chosen on validation plots never lands among the results.
    words = ["additive_study.py", "--base", "0=nowhere", "--split", "validation"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        study.main()
    assert "name another --out" in capsys.readouterr().err


def test_the_teacher_is_asked_once_per_batch(study, monkeypatch):
    model, asked = tiny_model(), []
    teacher, real = study.Recorded(model), model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda **inputs: asked.append(1) or real(**inputs))
    batches = [
        {"input_ids": torch.randint(10, 200, (2, 20), generator=torch.Generator().manual_seed(i))} for i in (0, 1)
    ]
    with torch.no_grad():
        first = [teacher(**batch).logits for batch in batches]
        assert len(asked) == 2 and not torch.equal(*first)
        assert all(torch.equal(teacher(**b).logits, one) for b, one in zip(batches, first, strict=True))
        assert len(asked) == 2
        assert torch.equal(first[0], model(**batches[0]).logits)


def test_linears_that_stay_dense_have_a_rate_of_their_own(study):
    model = tiny_model()
    of_base = object.__new__(study.Study)
    of_base.tuning = study.Tuning(dense=1.0, text=2.0)
    of_base.linears = {target.name for target in make_plan(model, "1x1g1").targets}
    rates = {id(p): group["lr"] for group in of_base._groups(model) for p in group["params"]}
    linears = {id(model.get_submodule(name).weight) for name in of_base.linears}
    assert {key for key, rate in rates.items() if rate == 1.0} == linears
    assert rates[id(model.get_input_embeddings().weight)] == 2.0 and set(rates.values()) == {1.0, 2.0}


def test_rates_are_chosen_one_after_another_by_perplexity(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rates = importlib.import_module("additive_rates")
    runs, chosen = rates.walk({})
    # Three rates of text on four rows; all that competes with them there stands where it starts.
    assert len(runs) == 12 and chosen == {}
    best = {"text": 0.001, "dense": 0.0003, "codebooks": 0.001, "latent": 0.01, "grid": 0.01}

    def done(name: str) -> float:
        row, _, said = name.partition("; ")
        values = {key: float(value) for key, value in (part.rsplit(" ", 1) for part in said.split(", "))}
        found = 1 + sum(abs(values[key] - value) for key, value in best.items() if key in values)
        # One row alone would choose another rate of text.
        found += 1.5 * abs(values["text"] - 0.003) if row == rates.PLAIN else 0
        return found - 0.001 * (values.get("v_lr") == 0.3)

    known: dict[str, float] = {}
    order = []
    while new := runs.keys() - known.keys():
        order.append({name.partition(";")[0] for name in new})
        known |= {name: done(name) for name in new}
        runs, chosen = rates.walk(known)
    assert chosen == best | {"v_steps": 1, "v_lr": 0.3}
    every = {rates.PLAIN, *rates.OURS, rates.WHOLE}
    assert order == [every, every, {*rates.OURS, rates.WHOLE}]
    # 12 of text; then two new ones of each rate on each row it is tried on, for the best so far was run already.
    assert len(runs) == 12 + 2 + 2 * 2 + 2 * 2 + 2 + 2


def test_the_study_takes_the_chosen_rates(study):
    chosen = json.loads((BENCHMARKS.parent / "results" / "additive_rates.json").read_text())["chosen"]
    tuning, pv = dataclasses.asdict(study.Tuning()), dataclasses.asdict(study.PV)
    assert {"text", "codebooks", "latent", "grid"} <= set(chosen) and tuning["scales"] == tuning["codebooks"]
    assert all((tuning | pv)[name] == value for name, value in chosen.items())


def test_rivals_meet_our_largest_row_that_is_no_larger(study):
    def row(name, bits, mean, whole=5000):
        plots = [mean + index % 5 for index in range(40)]
        return [
            {"name": name, "seed": seed, "bits_per_weight": bits, "bytes": whole, "per_plot": plots}
            for seed in range(3)
        ]

    table = row("b, 8-bit embeddings, PV", 2.2, 60, whole=4000)
    table += row("a, PV", 1.1, 60) + row("b, PV", 2.2, 80) + row("c, PV", 3.1, 85) + row("b", 2.2, 99)
    found = study.contested(table + row("rtn 2 bits, tuned", 2.25, 70) + row("dense, tuned", 1.0, 50))
    (one,) = found
    assert one["comparison"] == ["b, PV", "rtn 2 bits, tuned"] and one["bits"] == [2.2, 2.25]
    assert one["difference"] == pytest.approx(10) and one["p_holm"] == one["p"] == 0.25


def test_scored_answers_may_be_those_of_the_reader(study, monkeypatch):
    pieces = importlib.import_module("study")
    monkeypatch.setattr(pieces, "ASKED", ("q2",))
    config = tiny_config(families=["t1", "gmm"])
    model, processor = tiny_model(config), tiny_processor(config)
    read = [
        [parse_q2(answer["q2"]) for answer in study.Plots(("t1", "gmm"), 2, "test", 2, held).answers(model, processor)]
        for held in (False, True)
    ]
    assert read[0] == [None, None] and set(read[1]) <= set(OUTCOMES)


def test_free_answers_and_those_of_the_reader_do_not_mix(study, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["additive_study.py", "--constrained"])
    with pytest.raises(SystemExit):
        study.main()
    assert "name another --out" in capsys.readouterr().err


def test_rows_are_run_once_and_published(study, tmp_path, monkeypatch, capsys):
    config = tiny_config(families=["t1", "gmm"])
    tiny_model(config).save_pretrained(tmp_path / "base")
    tiny_processor(config).save_pretrained(tmp_path / "base")
    out = tmp_path / "results" / "additive.json"
    rows = "reference|2x4g4 per matrix|2x8g4 shared, PV|gptq 3 bits, tuned|rtn 2 bits$|hqq 2 bits$|dense.*3 bits"
    command = [
        "additive_study.py",
        "--base",
        f"0={tmp_path / 'base'}",
        "--out",
        str(out),
        "--plots",
        "2",
        "--set",
        "steps=2",
        "--rows",
        rows,
    ]
    pieces = importlib.import_module("study")
    # Answers of a random model are long; what they say does not matter here.
    monkeypatch.setattr(pieces, "ASKED", ("q2",))
    monkeypatch.setattr(pieces, "mean_score", lambda row: 0.5)
    monkeypatch.setattr(study, "Tuning", functools.partial(study.Tuning, batch=2, calibration=4, held_out=1))
    monkeypatch.setattr(study, "PRESET", "quick")
    for name in ("hqq", "hqq.core.quantize"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "argv", command)
    study.main()
    printed = capsys.readouterr()
    assert "hqq 2 bits: left out" in printed.err
    first = json.loads(out.read_text())
    by_name = {row["name"]: row for row in first["rows"]}
    assert len(by_name) == 8 and {"command", "date", "machine", "versions", "summary", "contested"} <= set(first)
    fields = {"name", "seed", "scores", "n", "ci95", "commit", "data_version", "steps", "trained_params", "bytes"}
    fields |= {"logical_params", "bits_per_weight", "seconds", "perplexity", "linear_bytes"}
    assert all(fields <= set(row) and set(row["scores"]) >= {"q1_enums", "q5_values", "mean"} for row in first["rows"])
    base, reference, plain, tuned = (by_name[n] for n in ("base", "reference", "2x4g4 per matrix", "2x8g4 shared, PV"))
    assert base["bits_per_weight"] == 16 == reference["bits_per_weight"] and base["bytes"] == reference["bytes"]
    assert base["perplexity"] != reference["perplexity"] and plain["steps"] == 0 == plain["trained_params"]
    assert tuned["steps"] == 2 and tuned["trained_params"] > 0 and len(tuned["losses"]) == 2
    assert plain["logical_params"] == tuned["logical_params"] == base["logical_params"]
    # Per layer: q and o of 32x32, k and v of 16x32, gate and up of 64x32, down of 32x64; K = 2 books of 16 x 4 values.
    weights, matrices, scales = 2 * (2 * 1024 + 2 * 512 + 3 * 2048), 14, 2 * (2 * 32 + 2 * 16 + 2 * 64 + 32)
    assert plain["linear_bytes"] == weights * 2 / 8 + 2 * (matrices * 2 * 16 * 4 + scales)
    assert tuned["linear_bytes"] == weights * 4 / 8 + 2 * (2 * 256 * 4 + scales)
    assert by_name["gptq 3 bits, tuned"]["bits_per_weight"] == by_name["rtn 2 bits"]["bits_per_weight"] + 1
    dense = by_name["dense, the bytes of 3 bits, tuned"]
    assert dense["bytes"] < base["bytes"] and dense["logical_params"] < base["logical_params"]
    assert {row["name"] for row in first["summary"]} == set(by_name)
    assert next(row for row in first["summary"] if row["name"] == "reference")["keeps"]["ratio"] == pytest.approx(1)
    plot = importlib.import_module("additive_plot")
    lines = plot.curves(first)
    assert set(lines) == {
        ("codebooks (ours)", False),
        ("codebooks (ours)", True),
        ("GPTQ", True),
        ("round to nearest", False),
        ("narrower dense model", True),
    }
    ((bits, mean, low, high),) = lines["GPTQ", True]
    gptq = by_name["gptq 3 bits, tuned"]
    assert (bits, mean, [low, high]) == (gptq["bits_per_weight"], gptq["scores"]["mean"], gptq["ci95"]["mean"])
    plot.draw(first, tmp_path / "img" / "additive.png")
    assert (tmp_path / "img" / "additive.png").stat().st_size > 10_000
    study.main()
    assert capsys.readouterr().out == ""
    assert json.loads(out.read_text())["rows"] == first["rows"]
