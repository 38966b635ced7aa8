"""The study runner on a tiny model with two steps, and its statistics."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny import tiny_config, tiny_model, tiny_processor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "multiplex", raising=False)
    return importlib.import_module("multiplex")


@pytest.fixture
def paired(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("paired")


def test_kept_share_is_paired(paired):
    rng = np.random.default_rng(0)
    base = rng.uniform(20, 100, (3, 400))
    kept = paired.kept_share(0.97 * base, base)
    # Plots differ a lot, but the row keeps the same share of each: the interval is narrow.
    assert kept["ratio"] == pytest.approx(0.97) and kept["upper95"] - kept["lower95"] < 1e-6
    noisy = paired.kept_share(0.97 * base + rng.normal(0, 20, base.shape), base)
    assert noisy["lower95"] < noisy["ratio"] < noisy["upper95"] and noisy["ratio"] - noisy["lower95"] > 0.005
    # Seeds that disagree widen it, however many plots there are.
    seeds = paired.kept_share(base * np.array([[0.9], [1.0], [1.1]]), base)
    assert seeds["upper95"] - seeds["lower95"] > 0.1
    assert paired.kept_share(base, 0 * base) == {}


def test_recovered_share(paired):
    rng = np.random.default_rng(0)
    nothing = rng.uniform(20, 60, (3, 300))
    half = paired.recovered_share(nothing + 5, nothing, nothing + 10)
    assert list(half.values()) == pytest.approx([0.5, 0.5, 0.5])
    # A ceiling that may lie below gives no bounds, one that does no number.
    unsure = paired.recovered_share(nothing + 5, nothing, nothing + rng.normal(0.1, 50, nothing.shape))
    assert unsure["lower95"] is None is unsure["upper95"]
    assert paired.recovered_share(nothing, nothing, nothing - 1)["share"] is None


def test_difference_and_holm(paired):
    rng = np.random.default_rng(1)
    first = rng.uniform(0, 100, (10, 200))
    same = paired.paired_difference(first, first + rng.normal(0, 1, first.shape))
    assert same["p"] > 0.05 and same["lower95"] < 0 < same["upper95"]
    better = paired.paired_difference(first + 1, first)
    assert better["difference"] == pytest.approx(1) and better["p"] == pytest.approx(2 / 1024)
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([]) == []


def test_rows_of_another_base_or_other_settings_are_run_again(study, tmp_path):
    pieces, made = importlib.import_module("study"), []
    arguments = argparse.Namespace(out=tmp_path / "results" / "some.json", minutes=1.0, seeds=None)

    def make(name: str, seed: int) -> dict:
        made.append((name, seed))
        return {"name": name, "seed": seed, "scores": {"mean": 50.0}}

    def run(settings: int, *weights: bytes) -> list[tuple[str, int]]:
        bases = {}
        for seed, weight in enumerate(weights):
            bases[seed] = str(tmp_path / str(seed))
            Path(bases[seed]).mkdir(exist_ok=True)
            (Path(bases[seed]) / "model.safetensors").write_bytes(weight)
        made.clear()
        jobs = [("a/b", seed) for seed in bases]
        marks = pieces.digests(bases)
        pieces.run_rows(jobs, make, (), arguments, settings, lambda: None, bases=marks)
        assert {row["seed"] for row in pieces.finished(arguments.out, settings, marks)} >= set(bases)
        return list(made)

    assert run(1, b"x", b"y") == [("a/b", 0), ("a/b", 1)]
    assert (tmp_path / "results" / "rows" / "some" / "a-b-0.json").is_file()
    assert run(1, b"x", b"y") == [] == run(1, b"x")
    assert run(1, b"x", b"z") == [("a/b", 1)]
    assert run(2, b"x") == [("a/b", 0)]


def test_processes_can_share_a_study_by_seeds(study, tmp_path):
    pieces, made = importlib.import_module("study"), []
    arguments = argparse.Namespace(out=tmp_path / "results" / "some.json", minutes=1.0, seeds=[1, 3])

    def make(name: str, seed: int) -> dict:
        made.append(seed)
        return {"name": name, "seed": seed, "scores": {"mean": 50.0}}

    pieces.run_rows([("a", seed) for seed in range(4)], make, (), arguments, 1, lambda: None)
    assert made == [1, 3]
    with pytest.raises(SystemExit, match=r"got \[3\], but .* the seeds \[0, 1\]"):
        pieces.run_rows([("a", 0), ("a", 1)], make, (), arguments, 1, lambda: None)


def test_a_pattern_that_fits_no_row_is_told(study):
    pieces = importlib.import_module("study")
    assert pieces.picked(["1/2 qgp", "1/3 qgp"], argparse.Namespace(rows="^1/3")) == ["1/3 qgp"]
    with pytest.raises(SystemExit, match="--list prints their names"):
        pieces.picked(["1/2 qgp", "1/3 qgp"], argparse.Namespace(rows="^1/4"))


def test_every_row_is_listed(study):
    names = [method.name for method in study.methods()]
    assert len(set(names)) == len(names) and set(study.CLASSICAL) <= set(names)
    for part in ("no recovery", "q/k/v unshared", "qgp, angles reset", "row_col", "control: blocks dropped"):
        assert part in names
    assert len({study.slug(f"{f} {name}") for f in study.FRACTIONS for name in names}) == 3 * len(names)


def test_the_contested_cell_takes_the_classical_method_that_validation_chose(study, paired):
    def rows(name: str, validation: float, mean: float, within: bool = True) -> list[dict]:
        plots = np.full(50, mean) + np.arange(50) % 7
        made = {"name": name, "validation_mean": validation, "matched": {"within_5_percent": within}}
        return [{**made, "seed": seed, "per_plot": (plots + seed).tolist()} for seed in range(10)]

    # The bit mask is best on test but not on validation; the MLP on both, but it is not of the circuit's size.
    table = rows("1/2 qgp", 70, 72) + rows("1/2 kronecker", 75, 71) + rows("1/2 bit mask", 60, 80)
    table += rows("1/2 elementwise MLP", 90, 90, within=False)
    for row in table[:10]:
        row["per_plot"] = [score + (-1) ** index for index, score in enumerate(row["per_plot"])]
    (found,) = study.contested(table)
    assert found["comparison"] == ["1/2 qgp", "1/2 kronecker"] and found["seeds"] == list(range(10))
    assert found["difference"] == pytest.approx(1) and found["p_holm"] == found["p"] < 0.05
    circuit, best = (np.array([row["per_plot"] for row in rows]) for rows in (table[:10], table[10:20]))
    alone = paired.paired_difference(circuit, best, comparisons=3)
    assert found["lower"] == alone["lower"] < alone["lower95"], "bounds hold for all fractions, though two are not run"
    assert study.contested(table[:1]) == []


def test_the_circuit_meets_only_methods_of_its_size_and_on_three_seeds(study):
    def rows(name: str, mean: float, within: bool | None = None) -> list[dict]:
        sized = {} if within is None else {"matched": {"within_5_percent": within}}
        plots = np.full(40, mean) + np.arange(40) % 5
        return [{"name": f"1/3 {name}", "seed": s, "per_plot": (plots + s).tolist(), **sized} for s in range(5)]

    table = (
        rows("qgp", 70) + rows("kronecker", 71, True) + rows("bit mask", 69, True) + rows("elementwise MLP", 60, False)
    )
    table += rows("shared weights, q/k/v frozen", 68) + rows("q/k/v unshared", 72)
    found = study.matched(table)
    assert [row["comparison"][1] for row in found] == ["1/3 kronecker", "1/3 bit mask"]
    assert all(row["seeds"] == [0, 1, 2] and row["lower"] <= row["lower95"] <= row["upper"] for row in found)
    assert [row["difference"] for row in found] == pytest.approx([-1, 1]) and found[0]["p_holm"] == 0.5
    table += rows("shared weights", 71) + rows("control: blocks dropped", 66)
    lost = {tuple(row["comparison"]): row["difference"] for row in study.controls(table)}
    assert lost == {
        ("1/3 shared weights", "1/3 control: blocks dropped"): pytest.approx(5),
        ("1/3 qgp", "1/3 shared weights, q/k/v frozen"): pytest.approx(2),
    }
    shares = {row["name"]: row["share"] for row in study.recovered(table)}
    assert shares == {
        "1/3 qgp": pytest.approx(0.5),
        "1/3 kronecker": 0.75,
        "1/3 bit mask": 0.25,
        "1/3 elementwise MLP": -2,
    }


def test_rates_are_chosen_on_validation_before_the_study(study, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "multiplex_rates", raising=False)
    rates, pieces = importlib.import_module("multiplex_rates"), importlib.import_module("study")
    names = {method.name for method in study.with_generators()}
    assert {"qgp", "row_col", "LoRA, rank 1", *study.CLASSICAL} <= names
    assert not names & {"qgp, angles frozen", "qgp, angles reset", "shared weights"}
    rows = [
        {"method": "qgp", "generator_learning_rate": rate, "scores": {"mean": mean}}
        for rate, mean in zip(rates.CANDIDATES, (60.0, 70.0, 65.0), strict=True)
    ]
    assert rates.chosen(rows) == {"qgp": 0.01} and rates.chosen(rows[:2]) == {}

    config = tiny_config(vision={"num_hidden_layers": 4}, vision_feature_layers=[1, 3], families=["t1", "gmm"])
    tiny_model(config).save_pretrained(tmp_path / "base")
    tiny_processor(config).save_pretrained(tmp_path / "base")
    out, work = tmp_path / "results" / "multiplex_rates.json", tmp_path / "work"
    monkeypatch.setattr(pieces, "ASKED", ("q2",))
    monkeypatch.setattr(pieces, "mean_score", lambda row: 0.5)
    splits, real = [], study.Plots.__init__
    monkeypatch.setattr(
        study.Plots, "__init__", lambda self, f, n, split: (splits.append(split), real(self, f, n, split))[1]
    )
    command = ["multiplex_rates.py", "--base", f"0={tmp_path / 'base'}", "--work", str(work), "--out", str(out)]
    command += ["--validation", "2", "--steps", "2", "--batch-size", "2", "--rows", "^row_col at"]
    monkeypatch.setattr(sys, "argv", command)
    rates.main()
    content = json.loads(out.read_text())
    assert splits == ["validation"] and list(content["chosen"]) == ["row_col"] and not list(work.iterdir())
    assert sorted(row["generator_learning_rate"] for row in content["rows"]) == sorted(rates.CANDIDATES)
    assert len({row["losses"]["last"]["loss"] for row in content["rows"]}) == 3

    words = ["multiplex.py", "--base", f"0={tmp_path / 'base'}", "--work", str(work), "--rates", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        study.main()
    assert "choose learning rates with benchmarks/multiplex_rates.py first" in capsys.readouterr().err


def test_rows_are_run_once_and_published(study, tmp_path, monkeypatch, capsys):
    config = tiny_config(vision={"num_hidden_layers": 4}, vision_feature_layers=[1, 3], families=["t1", "gmm"])
    tiny_model(config).save_pretrained(tmp_path / "base")
    tiny_processor(config).save_pretrained(tmp_path / "base")
    out = tmp_path / "results" / "multiplex.json"
    rows = (
        "1/2 (no recovery|shared weights|q/k/v unshared|qgp|qgp, angles reset|qgp, angles frozen|kronecker|control.*)$"
    )
    command = ["multiplex.py", "--base", f"0={tmp_path / 'base'}", "--work", str(tmp_path / "work"), "--out", str(out)]
    command += ["--plots", "2", "--validation", "2", "--steps", "2", "--batch-size", "2", "--rows", rows]
    rates = {method.name: 0.02 for method in study.with_generators()}
    (tmp_path / "rates.json").write_text(json.dumps({"chosen": rates}))
    command += ["--rates", str(tmp_path / "rates.json")]
    # Answers of a random model are long; what they say does not matter here.
    pieces = importlib.import_module("study")
    monkeypatch.setattr(pieces, "ASKED", ("q2",))
    monkeypatch.setattr(pieces, "mean_score", lambda row: 0.5)
    monkeypatch.setattr(sys, "argv", command)
    study.main()
    first = json.loads(out.read_text())
    by_name = {row["name"].removeprefix("1/2 "): row for row in first["rows"]}
    assert len(by_name) == 10 and {"command", "date", "machine", "versions", "summary"} <= set(first)
    fields = {"name", "seed", "scores", "n", "ci95", "commit", "data_version", "steps", "trained_params", "bytes"}
    fields |= {"logical_params", "bits_per_weight", "seconds"}
    assert all(fields <= set(row) and set(row["scores"]) >= {"q1_enums", "q5_values", "mean"} for row in first["rows"])
    base, shared, unshared, circuit = (by_name[n] for n in ("base", "shared weights", "q/k/v unshared", "qgp"))
    assert len(base["skip_cost"]) == 4 and base["bits_per_weight"] == 32
    assert shared["logical_params"] > base["logical_params"] and shared["bytes"] < unshared["bytes"] < base["bytes"]
    # Frozen circuits store as much as unshared q/k/v: that is the row to compare them with.
    assert circuit["bytes"] == unshared["bytes"] and circuit["generators"]["trained"] > 0
    assert circuit["generator_learning_rate"] == 0.02 and "generator_learning_rate" not in shared
    assert circuit["losses"] == by_name["qgp, angles reset"]["losses"] != by_name["qgp, angles frozen"]["losses"]
    assert circuit["output_error"] != by_name["qgp, angles reset"]["output_error"]
    assert set(by_name["kronecker"]["matched"]) == {"trained", "budget", "within_5_percent"}
    assert by_name["no recovery"]["trained_params"] == 0 == by_name["no recovery"]["steps"]
    dropped, scratch = by_name["control: blocks dropped"], by_name["control: small tower from scratch"]
    assert dropped["steps"] == 2 and dropped["bytes"] == scratch["bytes"] <= shared["bytes"]
    assert {row["name"] for row in first["summary"]} == {row["name"] for row in first["rows"]}
    assert next(row for row in first["summary"] if row["name"] == "base")["keeps"]["ratio"] == pytest.approx(1)
    capsys.readouterr()
    study.main()
    assert capsys.readouterr().out == ""
    assert json.loads(out.read_text())["rows"] == first["rows"]
