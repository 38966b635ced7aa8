"""Small stand-ins of the public sources, with the columns of their cards; a few rows are broken on purpose."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, Image, List, Value
from PIL import Image as Pillow

TEXT = Value("string")
CHARTQA = Features(
    {"image": Image(), "query": TEXT, "label": List(TEXT), "human_or_machine": ClassLabel(names=["human", "machine"])}
)
SCIENCEQA = Features(
    {"image": Image(), "question": TEXT, "choices": List(TEXT), "answer": Value("int8"), "hint": TEXT, "task": TEXT}
    | dict.fromkeys(("grade", "subject", "topic", "category", "skill", "lecture", "solution"), TEXT)
)
PLOTQA = Features(
    {"image": Image(), "image_index": Value("int64")}
    | {"questions": List({"question": TEXT, "answer": TEXT, "question_id": Value("int64")})}
)


def png(seed: int, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> bytes:
    """A noisy chart: bars on white, another for every seed."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    for k in range(4):
        top = int(rng.integers(2, size[1] - 4))
        left = k * size[0] // 4
        pixels[top:, left : left + size[0] // 6] = rng.integers(0, 200, 3)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def stored(data: bytes | None) -> dict[str, Any] | None:
    return None if data is None else {"bytes": data, "path": None}


def write_table(path: Path, rows: list[dict[str, Any]], features: Features) -> None:
    """A parquet file that `datasets` reads with these features, as `push_to_hub` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path, row_group_size=4)


def chartqa_rows(count: int) -> list[dict[str, Any]]:
    """Rows of ChartQA; row 2 has a broken image, row 3 no answer, row 5 repeats row 4, row 6 is a transparent PNG."""
    rows = [
        {"image": stored(png(k)), "query": f"How high is bar {k}?", "label": [str(k)], "human_or_machine": k % 2}
        for k in range(count)
    ]
    rows[2]["image"] = stored(b"\x89PNG broken")
    rows[3]["label"] = [" "]
    rows[5] = dict(rows[4])
    rows[6]["image"] = stored(png(6, mode="RGBA"))
    return rows


def scienceqa_rows() -> list[dict[str, Any]]:
    """Rows of ScienceQA: image-dependent, without image, not dependent, answer given away, broken answer."""
    base = {
        "image": stored(png(50)),
        "question": "Which of the bars shown is the highest?",
        "choices": ["left", "middle", "right"],
        "answer": 2,
        "hint": "",
        "task": "closed choice",
        "grade": "grade 5",
        "subject": "natural science",
        **dict.fromkeys(("topic", "category", "skill", "lecture", "solution"), "physics"),
    }
    return [
        base,
        base | {"image": None},
        base | {"image": stored(png(51)), "question": "Which animal is a mammal?", "answer": 0},
        base | {"image": stored(png(52)), "hint": "The picture has bars; the middle one is the highest."},
        base | {"image": stored(png(53)), "answer": 7},
        base | {"image": stored(png(54)), "choices": ["only"], "answer": 0},
        base | {"image": stored(png(55)), "subject": "social science", "question": "What does the map show?"},
        base | {"image": stored(png(56, size=(10, 10)))},
    ]


def plotqa_rows() -> list[dict[str, Any]]:
    """One row per plot with its questions; one answer is empty, one a long float."""
    asked = [("How many bars are there?", "4"), ("What is the mean?", "3.33333333333"), ("What is the title?", "")]
    many = [{"question": q, "answer": a, "question_id": k} for k, (q, a) in enumerate(asked)]
    return [{"image": stored(png(70 + k)), "image_index": k, "questions": many} for k in range(3)]


def write_plotqa_release(folder: Path) -> None:
    """`qa_pairs_V1.json` and `png/`, as the release on GitHub."""
    (folder / "png").mkdir(parents=True)
    for k in range(2):
        (folder / "png" / f"{k}.png").write_bytes(png(70 + k))
    pairs: list[dict[str, Any]] = [
        {"image_index": k, "qid": str(k), "question_string": "How many bars are there ?", "template": "structural"}
        | {"answer": 4, "answer_bbox": {}, "answer_id": k, "type": "vbar_categorical", "question_id": k}
        for k in (0, 1, 9)
    ]
    (folder / "qa_pairs_V1.json").write_text(json.dumps({"qa_pairs": pairs}))


def write_mmpr(folder: Path) -> None:
    """MMPR-v1.2 unpacked: `annotations/*.jsonl`, images and meta.json."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images" / "ScienceQA").mkdir(parents=True)
    for k in range(3):
        (folder / "images" / "ScienceQA" / f"{k}.png").write_bytes(png(80 + k))
    row = {"question": "<image>\nWhich bar is highest?", "chosen": "The third bar.", "rejected": "The first bar."}
    lines = [
        json.dumps(row | {"image": "ScienceQA/0.png"}),
        json.dumps(row | {"image": "ScienceQA/1.png", "rejected": "The third bar."}),
        '{"image": "ScienceQA/1.png", "question": ',
        json.dumps(row | {"image": ["ScienceQA/1.png", "ScienceQA/2.png"], "question": "<image> <image> Compare."}),
        json.dumps(row | {"image": "ScienceQA/2.png", "rejected": ""}),
        json.dumps(row | {"image": "../../secret.png"}),
    ]
    (folder / "annotations" / "scienceqa_train.jsonl").write_text("\n".join(lines) + "\n")
    other = json.dumps(row | {"image": "ScienceQA/0.png".replace("ScienceQA", "coco")})
    (folder / "annotations" / "vqav2_en.jsonl").write_text(other + "\n")
    (folder.parent / "secret.png").write_bytes(png(99))
    (folder / "meta.json").write_text(json.dumps({"scienceqa": {"root": "images", "annotation": "annotations"}}))


def write_mmpr_tiny(folder: Path) -> None:
    """mmpr_tiny.parquet and images, as in `OpenGVLab/MMPR-Tiny`."""
    (folder / "images").mkdir(parents=True)
    rows = []
    asked = [("<image>\nWhich is highest?\nA. left\nB. right", "B"), ("<image>\nHow many?", "12"), ("Why?", "Because.")]
    for k, (question, truth) in enumerate(asked):
        (folder / "images" / f"chartqa_{k}.png").write_bytes(png(90 + k))
        rows.append(
            {
                "data_source": "chartqa",
                "prompt": [{"role": "user", "content": question}],
                "images": [{"path": f"{folder.name}/images/chartqa_{k}.png"}],
                "ability": "math",
                "reward_model": {"ground_truth": truth, "style": "rule"},
                "extra_info": {"answer": truth, "index": k, "question": question, "split": "train"},
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "mmpr_tiny.parquet")
