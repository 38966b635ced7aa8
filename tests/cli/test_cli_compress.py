from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from riverone_hf.additive.samples import load_calibration
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import coded_layers
from riverone_hf.reader.loading import load_model
from tiny import tiny_processor

WORDS = ("--scheme", "1x4g8", "--preset", "quick", "--length", "64")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("The decay is exponential; T1 is 21 us. " * 40)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three conversations with a figure, one of them too long, and one without."""
    Image.new("RGBA", (50, 40), (10, 200, 30, 255)).save(tmp_path / "plot.png")
    path = tmp_path / "rows.jsonl"
    image, lines = {"type": "image", "text": None}, []
    for question in ("what?", "where?", "long " * 100):
        content = [image, {"type": "text", "text": question}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": "peak"}]}
        lines.append({"images": ["plot.png"], "messages": [{"role": "user", "content": content}, answer]})
    lines.append({"messages": [{"role": "user", "content": "no figure here"}]})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def test_compress_a_saved_model_and_read_with_it(run, saved_model, rows, tmp_path: Path) -> None:
    out = tmp_path / "coded"
    result = run("compress", saved_model, "--calibration", rows, "--out", out, "--include", "vision, projector", *WORDS)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}\n"
    assert "before the start: " in result.stderr and "memory about" in result.stderr
    assert "layer 2/2 mlp.down_proj 1x4g8 rel.err" in result.stderr and "vision" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("coded*")) == ["coded"]
    model, _ = load_model(out)
    names = set(coded_layers(model))
    assert any("vision_tower" in name for name in names) and "model.multi_modal_projector.linear_1" in names
    assert (
        sum((out / name).stat().st_size for name in ("model.safetensors",))
        < 0.75 * (saved_model / "model.safetensors").stat().st_size
    )
    # The folder carries today's code, so it also loads where this package is not installed.
    assert {"quantization_riverone.py", "codes_riverone.py", "processor_config.json"} <= {p.name for p in out.iterdir()}
    again = run("compress", saved_model, "--calibration", rows, "--out", out, *WORDS)
    assert again.exit_code == 2 and "not empty" in again.stderr


def test_overrides_and_budget(run, saved_model, text, tmp_path: Path) -> None:
    words = ("compress", saved_model, "--calibration", text, "--out")
    result = run(*words, tmp_path / "a", "--override", "k_proj|v_proj: 1x3g4", "--override", "mlp:none", *WORDS)
    assert result.exit_code == 0, result.stderr
    modules = json.loads((tmp_path / "a" / "config.json").read_text())["quantization_config"]["modules"]
    assert {name.rpartition(".")[2]: scheme for name, scheme in modules.items()} == {
        "q_proj": "1x4g8",
        "k_proj": "1x3g4",
        "v_proj": "1x3g4",
        "o_proj": "1x4g8",
    }
    result = run(*words, tmp_path / "b", "--bits-budget", "0.6", *WORDS)
    # Seen before anything is measured.
    assert result.exit_code == 2 and "smallest schemes take" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheme", "2x8"), "2x8g8"),
        (("--override", "k_proj"), "pattern: scheme"),
        (("--override", "k_prj: 1x4g8"), "'k_prj'"),
        (("--include", "sound"), "vision and/or projector"),
        (("--calibration", "nowhere.txt"), "nowhere.txt"),
        (("--calibration", "nvidia/QCalEval"), "benchmark data"),
        (("--preset", "best"), "best"),
        (("--device", "cuda:99"), "--device cpu"),
    ],
)
def test_mistakes_are_one_line(run, saved_model, text, tmp_path: Path, words, said) -> None:
    result = run("compress", saved_model, "--calibration", text, "--out", tmp_path / "out", *WORDS, *words)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ") and said in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_model(run, text, tmp_path: Path) -> None:
    result = run("compress", tmp_path, "--calibration", text, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "no config.json" in result.stderr and result.stderr.count("\n") == 1


def test_calibration_rows(rows: Path, text: Path, tmp_path: Path) -> None:
    processor = tiny_processor()
    found = load_calibration(rows, processor, 10, 64)
    assert [set(batch) >= {"pixel_values"} for batch in found] == [True, True, False]  # the long one is left out
    text_of_first = processor.tokenizer.decode(found[0]["input_ids"][0])
    assert text_of_first.startswith("<|im_start|>user\n<img>") and text_of_first.count("<IMG_CONTEXT>") == 4
    assert all(int(batch["attention_mask"].min()) == 1 for batch in found)
    pieces = load_calibration(text, processor, 6, 100)
    assert [tuple(batch["input_ids"].shape) for batch in pieces] == [(4, 100), (2, 100)]
    whole = processor.tokenizer(text.read_text()).input_ids
    assert pieces[0]["input_ids"][0].tolist() == whole[:100]
    assert pieces[1]["input_ids"][1].tolist() == whole[len(whole) // 100 * 100 - 100 :][:100]
    rows.write_text(rows.read_text().splitlines()[0])
    with pytest.raises(CompressError, match="no usable row"):
        load_calibration(rows, processor, 10, 4)
    rows.write_text("{broken\n")
    with pytest.raises(CompressError, match=r"rows.jsonl:1 is not JSON"):
        load_calibration(rows, processor, 10, 64)


def test_calibration_from_a_data_set(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list([{"text": "one line of text"}, {"text": "another"}])
    (tmp_path / "set").mkdir()
    data.to_parquet(tmp_path / "set" / "train.parquet")
    found = load_calibration(tmp_path / "set", tiny_processor(), 1, 8)
    assert len(found) == 1 and found[0]["input_ids"].shape == (1, 8)
    (tmp_path / "only-test").mkdir()
    DatasetDict({"test": data})["test"].to_parquet(tmp_path / "only-test" / "test.parquet")
    with pytest.raises(CompressError, match="expected train or validation"):
        load_calibration(tmp_path / "only-test", tiny_processor(), 1, 8)
