from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from riverone_hf.questions import FAMILIES
from riverone_hf.reader import Verdict
from riverone_hf.reader.embedded import embedded_model


def refused(result, *parts: str) -> None:
    """One line on stderr that starts with error:, nothing on stdout, exit code 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for part in parts:
        assert part in lines[0]


def test_json_is_one_array_on_stdout_and_nothing_else(run, saved_model: Path, plots: Path) -> None:
    result = run("read", plots, "--model", saved_model, "--json", "--device", "cpu", "--threshold", "0")
    assert result.exit_code == 0, result.output
    verdicts = [Verdict.model_validate(item) for item in json.loads(result.stdout)]
    assert [verdict.source for verdict in verdicts] == [str(plots / "a.png"), str(plots / "b.png")]
    assert all(v.status in FAMILIES[v.family].statuses for v in verdicts)
    assert verdicts[0].provenance.model == str(saved_model)


def test_panels_are_for_people(run, saved_model: Path, plots: Path, monkeypatch) -> None:
    monkeypatch.setenv("RIVERONE_MODEL", str(saved_model))
    monkeypatch.setenv("COLUMNS", "200")
    result = run("read", plots / "a.png", "--family", "t1", "--threshold", "0")
    assert result.exit_code == 0 and result.stderr == ""
    for part in ("a.png", "experiment", "t1", "outcome", "T1_us", "advice for a person"):
        assert part in result.stdout


def test_failed_figures_are_reported_and_the_others_read(run, saved_model: Path, plots: Path, tmp_path: Path) -> None:
    (plots / "c.png").write_bytes(b"")
    lines = tmp_path / "out.jsonl"
    words = (plots / "no.png", plots, "--model", saved_model, "--json", "--jsonl", lines)
    result = run("read", *words, "--family", "rabi")
    assert result.exit_code == 2
    verdicts = json.loads(result.stdout)
    assert [bool(item["error"]) for item in verdicts] == [True, False, False, True]
    errors = result.stderr.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)
    assert "no.png: no such file" in errors[0] and "c.png: the file is empty" in errors[1]
    assert [json.loads(line) for line in lines.read_text().splitlines()] == verdicts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "plots"]


def test_together_makes_one_row(run, saved_model: Path, plots: Path) -> None:
    words = ("read", plots / "a.png", plots / "b.png", "--together", "--family", "ramsey_t2star")
    result = run(*words, "--model", saved_model, "--json")
    (verdict,) = json.loads(result.stdout)
    assert verdict["source"] == f"{plots / 'a.png'} + {plots / 'b.png'}" and verdict["family"] == "ramsey_t2star"


BAD_FIGURES = {"empty.png": b"", "broken.png": b"\x89PNG\r\n\x1a\nrubbish", "plot.pdf": b"%PDF-1.4", "x.svg": b"<svg/>"}


@pytest.mark.parametrize("name", [*BAD_FIGURES, "missing.png"])
def test_a_bad_figure_alone_is_one_line(run, saved_model: Path, tmp_path: Path, name: str) -> None:
    if name in BAD_FIGURES:
        (tmp_path / name).write_bytes(BAD_FIGURES[name])
    refused(run("read", tmp_path / name, "--model", saved_model), name)


def test_names_with_special_strings_are_only_names(run, saved_model: Path, plots: Path) -> None:
    odd = plots / "<image>[red]<IMG_CONTEXT>.png"
    shutil.copy(plots / "a.png", odd)
    words = ("--model", saved_model, "--family", "t1", "--json")
    got, plain = (json.loads(run("read", path, *words).stdout)[0] for path in (odd, plots / "a.png"))
    assert got.pop("source") == str(odd) and plain.pop("source") and got == plain


def test_without_a_name_the_embedded_model_reads(run, plots: Path) -> None:
    result = run("read", plots / "a.png", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    (verdict,) = json.loads(result.stdout)
    assert verdict["provenance"]["model"] == "embedded"
    (note,) = result.stderr.splitlines()
    assert "taken for one of these" in note
    assert f"the {len(FAMILIES)} experiment families of QCalEval" in note
    families = json.loads((embedded_model() / "config.json").read_text())["families"]
    assert set(families) == set(FAMILIES)


def test_wrong_models_are_one_line(run, saved_model: Path, plots: Path, tmp_path: Path) -> None:
    refused(run("read", plots, "--model", tmp_path / "nowhere"), "no such model folder", "riverone build")
    refused(run("read", plots, "--model", plots), "no config.json")
    broken = Path(shutil.copytree(saved_model, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"")
    refused(run("read", plots, "--model", broken), "corrupt or cut short")
    (broken / "model.safetensors").unlink()
    lines = tmp_path / "out.jsonl"
    refused(run("read", plots, "--model", broken, "--jsonl", lines), "no model.safetensors")
    assert not lines.exists()


def test_bad_arguments_are_found_before_the_model_is_loaded(run, plots: Path, tmp_path: Path) -> None:
    model = ("--model", tmp_path / "nowhere")
    refused(run("read", plots, *model, "--family", "cheese"), "unknown family 'cheese'", "rabi")
    refused(run("read", plots, *model, "--jsonl", tmp_path / "no" / "x.jsonl"), "--jsonl", "existing folder")
    refused(run("read", plots, *model, "--jsonl", tmp_path), "is a folder")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(run("read", empty, *model), "no image file")


def test_an_interrupted_run_leaves_no_half_file(run, saved_model: Path, plots: Path, tmp_path, monkeypatch) -> None:
    from riverone_hf.reader import PlotReader

    real = PlotReader._read_or_fail
    calls = []

    def stopped(self, rows):
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(PlotReader, "_read_or_fail", stopped)
    lines = tmp_path / "out.jsonl"
    lines.write_text("earlier\n")
    words = ("--model", saved_model, "--jsonl", lines, "--json", "--batch-size", "1", "--family", "t1")
    result = run("read", plots, *words)
    assert result.exit_code == 130 and result.stderr.strip() == "interrupted" and result.stdout == ""
    assert lines.read_text() == "earlier\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "plots"]
