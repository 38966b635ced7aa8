"""The guard: transformed benchmark figures and copied answers are found, relatives of them are not."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image
from typer.testing import CliRunner

from riverone_hf.calibration import draw, render
from riverone_hf.cli import app
from riverone_hf.data import Plan
from riverone_hf.data.contamination import MARKER, Benchmark, check_rows, load_benchmark, refuse_flagged
from riverone_hf.data.contamination_folder import REPORT, decontaminate
from riverone_hf.data.contamination_image import ImageIndex
from riverone_hf.data.contamination_text import RUN, TEMPLATE_PLOTS
from riverone_hf.errors import ContaminationError

KINDS = (
    ("t1", "t1_success"),
    ("t1", "t1_failure_no_signal"),
    ("rabi", "rabi_success"),
    ("ramsey_t2star", "ramsey_success_t2star"),
    ("gmm", "gmm_success"),
    ("qubit_spectroscopy", "qubit_spectroscopy_success"),
    ("mot_loading", "mot_loading_good"),
    ("res_spec", "res_spec_success_zoomed_resonator"),
)


def picture(at: int, seed: int) -> Image.Image:
    return render(draw(KINDS[at][0], seed, KINDS[at][1]).figures[0])


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return [picture(at, 11) for at in range(len(KINDS))]


@pytest.fixture(scope="module")
def index(originals) -> ImageIndex:
    return ImageIndex((str(at), image) for at, image in enumerate(originals))


def jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 25, height // 40, width - width // 30, height - height // 25))


def padded(image: Image.Image) -> Image.Image:
    paper = Image.new("RGB", (image.width + 70, image.height + 40), "white")
    paper.paste(image, (50, 10))
    return paper


CHANGES = {
    "jpeg": jpeg,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "squeezed": lambda image: image.resize((image.width * 4 // 5, image.height), Image.Resampling.BICUBIC),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "padded": padded,
    "cropped": cropped,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_benchmark_figure_is_found(index, originals, change):
    for at, image in enumerate(originals):
        (match,) = index.match([CHANGES[change](image)])
        assert match.name == str(at), KINDS[at]


def test_other_plots_of_the_same_kind_are_not(index):
    for at in range(len(KINDS)):
        for seed in (12, 13, 14):
            assert index.match([picture(at, seed)]) == [], KINDS[at]


def test_figures_without_content_match_nothing():
    white = Image.new("RGB", (300, 200), "white")
    index = ImageIndex([("white", white)])
    assert len(index) == 0 and index.match([white, Image.new("RGB", (64, 64), "navy")]) == []


LEAKED = (
    "The oscillation completes four periods with a contrast near 0.82, the fitted curve follows every point within the "
    "noise, and the pi pulse lies at 0.137 V, so the amplitude is known well enough to calibrate the half-pi pulse next"
)


def test_copied_answers_are_found_and_shared_wordings_are_not():
    ask = "Look at the data and decide, by the rules of this laboratory, " * 5
    benchmark = Benchmark()
    benchmark.texts.add("bench_a", [LEAKED])
    benchmark.texts.add("bench_b", ["Something else, " * 30, ask])
    benchmark.texts.add("bench_c", [ask])  # two rows share it: template
    turn = {"role": "user", "content": [{"type": "text", "text": ask}]}

    def row(number: int, answer: str) -> dict:
        said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        return {"id": f"row_{number}", "images": [], "messages": [turn, said]}

    copy = "Note: " + LEAKED.upper().replace(", ", " - ")
    rows = [row(k, f"Plot {k} shows a decay of {k} us.") for k in range(10)] + [row(10, copy)]
    rows.append(row(11, " ".join(LEAKED.split()[: RUN - 8])))
    (flag,) = check_rows(rows, benchmark)
    assert (flag.row, flag.id) == (10, "row_10")
    assert [(reason.kind, reason.name) for reason in flag.reasons] == [("text", "bench_a")]
    assert flag.reasons[0].amount == len(LEAKED.replace("-", " ").split())
    assert str(flag.reasons[0]).endswith("words of bench_a")


def test_what_many_plots_say_is_their_writers_template():
    def flags(plots: int):
        benchmark = Benchmark()
        benchmark.texts.add("bench", [LEAKED])
        return check_rows([{"id": f"row_{k}", "text": LEAKED} for k in range(plots)], benchmark)

    assert len(flags(TEMPLATE_PLOTS)) == TEMPLATE_PLOTS and flags(TEMPLATE_PLOTS + 1) == []


@pytest.fixture
def data_set(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "set"))


@pytest.fixture
def bench(tmp_path: Path, plan: Plan) -> Path:
    """Images and json of two of the data set's plots, changed: training plot 3 and test plot 1."""
    folder = tmp_path / "bench"
    (folder / "pictures").mkdir(parents=True)
    for split, k in (("train", 3), ("test", 1)):
        jpeg(plan.row(split, k).images()[0]).save(folder / "pictures" / f"{split}.png")
    (folder / "answers.json").write_text(json.dumps([{"id": "x", "q1_prompt": LEAKED, "q1_answer": "Short."}]))
    return folder


def test_a_data_set_is_cleaned(data_set, bench, plan, tmp_path):
    leaked = {plan.row("train", 3).id, plan.row("test", 1).id}
    before = {path.relative_to(data_set): path.read_bytes() for path in data_set.rglob("*.parquet")}
    report = decontaminate(data_set, [bench], tmp_path / "clean")
    direct = {flag["id"] for flag in report["flagged"] if flag["file"].startswith(("sft_zero", "preference", "test"))}
    assert direct == leaked
    names = {reason["name"] for flag in report["flagged"] for reason in flag["reasons"] if reason["kind"] == "image"}
    assert names == {"pictures/train.png", "pictures/test.png"}
    assert {path.relative_to(data_set): path.read_bytes() for path in data_set.rglob("*.parquet")} == before
    clean = tmp_path / "clean"
    assert json.loads((clean / REPORT).read_text())["flagged"] == report["flagged"]
    assert not (clean / "build.json").exists() and "Decontaminated" in (clean / "README.md").read_text()
    for view in ("sft_zero_shot", "preference"):
        rows = load_dataset(str(clean), view, cache_dir=str(tmp_path / "cache"))
        ids = {name for split in rows.values() for name in split["id"]}
        assert not ids & leaked and len(ids) == plan.rows - 2
    assert decontaminate(clean, [bench])["flagged"] == []


def test_fewshot_rows_go_with_the_images_they_show(data_set, bench, plan):
    report = decontaminate(data_set, [bench])
    flagged = {flag["id"] for flag in report["flagged"] if flag["file"].startswith("fewshot")}
    images = set(plan.row("test", 1).image_ids)
    rows = pq.read_table(data_set / "fewshot-00000-of-00001.parquet").to_pylist()
    assert flagged == {row["source_id"] for row in rows if images & set(row["image_ids"])} and flagged


def test_a_benchmark_in_qcaleval_form(built, tmp_path, plan):
    """The data set's own test table as benchmark: its rows are found, those of the other splits are not."""
    folder = tmp_path / "bench"
    folder.mkdir()
    for name in ("test-00000-of-00001.parquet", "fewshot-00000-of-00001.parquet"):
        shutil.copy(built / name, folder / name)
    benchmark = load_benchmark([folder])
    assert benchmark.rows == plan.count("test") and len(benchmark.images) >= benchmark.rows
    train = pq.read_table(next((built / "sft_zero_shot").glob("train-00000-*"))).to_pylist()
    test = pq.read_table(built / "test-00000-of-00001.parquet").to_pylist()
    flags = check_rows([*train, *test], benchmark)
    assert [flag.row for flag in flags] == list(range(len(train), len(train) + len(test)))
    assert all(flag.reasons[0].amount == 1.0 for flag in flags)


def test_training_refuses_flagged_rows(data_set, bench, plan, tmp_path):
    refuse_flagged(data_set)  # never checked
    decontaminate(data_set, [bench], tmp_path / "clean")
    with pytest.raises(ContaminationError, match=r"rows repeat the benchmark bench .*--out DIR"):
        refuse_flagged(data_set)
    with pytest.raises(ContaminationError, match="1 rows"):
        refuse_flagged(data_set, ids=[plan.row("train", 3).id, plan.row("train", 4).id])
    refuse_flagged(data_set, ids=[plan.row("train", 4).id])
    refuse_flagged(data_set, allow=True)
    refuse_flagged(tmp_path / "clean")
    (data_set / MARKER).write_text("{}")
    with pytest.raises(ContaminationError, match="again"):
        refuse_flagged(data_set)


def test_command(data_set, bench, plan, tmp_path):
    clean = tmp_path / "clean"
    words = ["data", "decontaminate", str(data_set), "--against", str(bench), "--out", str(clean)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and (clean / REPORT).is_file(), result.stderr
    assert f"{plan.row('train', 3).id}: image pictures/train.png" in result.stdout
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2 and "not empty" in again.stderr


@pytest.mark.parametrize(
    ("folder", "against", "out", "words"),
    [
        ("nothing", "bench", None, "no parquet files"),
        ("set", "nothing", None, "no such folder"),
        ("set", "empty", None, "no parquet, image"),
        ("set", "bench", "set/inside", "lies in the data set"),
    ],
)
def test_refusals(data_set, bench, tmp_path, folder, against, out, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContaminationError, match=words):
        decontaminate(tmp_path / folder, [tmp_path / against], out and tmp_path / out)
    assert not (data_set / MARKER).exists() and not (data_set / "inside").exists()


def test_damaged_benchmark_files_are_named(tmp_path):
    (tmp_path / "a.json").write_text("{oops")
    with pytest.raises(ContaminationError, match=r"a\.json: cannot be read"):
        load_benchmark([tmp_path])
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ContaminationError, match=r"a\.png: cannot be read"):
        load_benchmark([tmp_path])
