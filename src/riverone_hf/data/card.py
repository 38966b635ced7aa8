"""What does the published data set say about itself? Its card with counts and licence, and a sheet per family."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..calibration import SUPPORTED_FAMILIES
from ..calibration.sheet import contact_sheet
from ..questions import ASSESSMENTS, OUTCOMES, QUESTIONS, get_family
from .calibration import SPLITS
from .plan import SINGLE_SHARE, Plan
from .schema import VIEWS
from .shard import FULL_SHARE, ICL_ONE_IN

SHEETS = "sheets"
SHEET_PLOTS = 12
TAGS = ("quantum", "calibration", "synthetic", "charts", "trl")
PAGE = """\
# Simulated quantum calibration plots

{plots:,} simulated calibration plots of {families} experiment families and {types} scenario types, with questions and
true answers in the answer formats of QCalEval. Everything is drawn by a simulator with known physics: no figure, text
or answer of the benchmark is contained, and the data may be used to train models that are then tested on it.

```python
from datasets import load_dataset

load_dataset(REPO_OR_FOLDER)  # the default config `qcaleval`: the test plots with six questions each
load_dataset(REPO_OR_FOLDER, "sft_zero_shot")  # images, messages: read by TRL's SFTTrainer as they are
load_dataset(REPO_OR_FOLDER, "preference")  # images, prompt, chosen, rejected: read by TRL's DPOTrainer as they are
```

## Configs

All configs are views of the same plots; the three splits never share a simulator draw.

| config | columns | rows (train / validation / test) |
|---|---|---|
| `qcaleval` | prompts and answers of q1..q6, key points, image ids | - / - / {qcaleval} |
| `qcaleval_fewshot` | in-context prompts of q3, q5, q6; their marks take `image_ids` in order | - / - / {fewshot} |
| `sft_zero_shot` | independent turns on the images of one plot | {sft_zero_shot} |
| `sft_icl` | one question after solved examples of the family, images interleaved | {sft_icl} |
| `preference` | a true answer and a hard negative in the same format | {preference} |

In {full:.0%} of the training rows the question is asked in the long, QCalEval-shaped form, one question per row; the
others use a short tag such as `[status] t1`. Turns of a `sft_zero_shot` row do not build on each other. One plot in
{icl_one_in} has an in-context row, if its file holds another plot of the family: q3 and q6 after one example per status
that the file holds, q5 after one example; {icl_images:.1f} images per row on average. In {single:.0%} of the plots of
two-image families one image is missing. Hard negatives name a wrong label with a reason written for a real plot of that
label, slip a unit, misread an axis, trust a bad fit, or invent a fit or value.

## Plots

{images:,} images, {image_kb:.0f} kB each on average; drawn by: {backends}.

| family | {splits} | statuses (all splits) |
|---|{dashes}---|
{family_rows}

| outcome | share | | fit | share |
|---|---|---|---|---|
{label_rows}

Length of the answers in words (median, longest): {words}.

`sheets/<family>.png` shows plots of every family.

## How it was made

`riverone data build calibration --rows {rows} --seed {seed} --backend {backend}{family_options}` with data version
{data_version} and prompt version {prompt_version}. The same command writes the same data again; `build.json` holds the
arguments.

## Limits

Simulated plots are cleaner and less varied than those of a laboratory. Labels follow stated rules at stated thresholds,
and draws keep a distance from them, so that borderline plots are rare. A score on these plots says little about genuine
figures. Suggested ranges and next steps are advice to a person: never let them drive hardware.

## Licence

CC BY 4.0.
"""


def merge_statistics(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of the statistics of several shards: numbers are added, dictionaries merged key by key."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, Mapping):
                total[key] = merge_statistics([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return total


def data_card(plan: Plan, statistics: Mapping[str, Mapping[str, Any]]) -> str:
    """README.md of the data set: YAML with the configs' files, then the page. `statistics` is given per split."""
    from huggingface_hub import DatasetCard, DatasetCardData

    data = DatasetCardData(
        language="en",
        license="cc-by-4.0",
        pretty_name="Simulated quantum calibration plots",
        size_categories=_size_category(plan.rows),
        task_categories=["image-text-to-text", "visual-question-answering"],
        tags=list(TAGS),
        configs=described(card_configs(statistics), plan.fingerprint()),
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{_page(plan, statistics)}"))


def described(configs: list[dict[str, Any]], build: Any) -> list[dict[str, Any]]:
    """`configs` with a digest of `build` (JSON values that decide the data) as their description.

    `datasets` caches a folder by its name and this entry: without it another build in a folder of the same name would
    give the rows of the first.
    """
    digest = hashlib.sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()[:16]
    return [config | {"description": digest} for config in configs]


def card_configs(statistics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `configs:` entry of the card: which files make up which config; what has no rows is left out."""
    alone = [("qcaleval", "test"), ("qcaleval_fewshot", "fewshot")]
    configs: list[dict[str, Any]] = [
        {"config_name": name, "data_files": [{"split": "test", "path": f"{stem}-*.parquet"}]} for name, stem in alone
    ]
    configs[0]["default"] = True
    for view in VIEWS[:3]:
        files = [
            {"split": split, "path": f"{view}/{split}-*.parquet"} for split in SPLITS if _rows(statistics, split, view)
        ]
        if files:
            configs.append({"config_name": view, "data_files": files})
    return configs


def _page(plan: Plan, statistics: Mapping[str, Mapping[str, Any]]) -> str:
    total = merge_statistics(statistics.values())
    labels = total["labels"]
    rows = {view: " / ".join(f"{_rows(statistics, split, view):,}" for split in SPLITS) for view in VIEWS[:3]}
    family_rows = []
    for family in plan.families:
        counts = [_count(statistics[split], family) for split in SPLITS]
        statuses = labels.get(f"status {family}", {})
        said = ", ".join(f"{status} {count:,}" for status, count in sorted(statuses.items()))
        cells = " | ".join(f"{count:,}" for count in counts)
        family_rows.append(f"| {get_family(family).name} | {cells} | {said} |")
    outcomes = [(name, _share(labels["outcome"], name)) for name in OUTCOMES]
    fits = [(name, _share(labels["reliability"], name)) for name in ASSESSMENTS] + [("", "")]
    fingerprint = plan.fingerprint()
    words = ", ".join(f"{question} {_words(total['words'][question])}" for question in QUESTIONS)
    chosen = "" if plan.families == SUPPORTED_FAMILIES else "".join(f" --family {name}" for name in plan.families)
    return PAGE.format(
        plots=plan.rows,
        rows=plan.rows,
        families=len(plan.families),
        types=len(plan.scenarios),
        qcaleval=f"{total['rows']['qcaleval']:,}",
        fewshot=f"{total['rows']['fewshot']:,}",
        **rows,
        full=FULL_SHARE,
        single=SINGLE_SHARE,
        icl_one_in=ICL_ONE_IN,
        icl_images=total["icl_images"] / max(1, total["rows"]["sft_icl"]),
        images=total["images"],
        image_kb=total["image_bytes"] / max(1, total["images"]) / 1000,
        backends=", ".join(f"{name} {count:,}" for name, count in sorted(labels["backend"].items())),
        splits=" | ".join(SPLITS),
        dashes="---|" * len(SPLITS),
        family_rows="\n".join(family_rows),
        label_rows="\n".join(f"| {a} | {b} | | {c} | {d} |" for (a, b), (c, d) in zip(outcomes, fits)),
        words=words,
        seed=plan.seed,
        backend=plan.backend,
        family_options=chosen,
        data_version=fingerprint["data_version"],
        prompt_version=fingerprint["prompt_version"],
    )


def _rows(statistics: Mapping[str, Mapping[str, Any]], split: str, view: str) -> int:
    return statistics[split].get("rows", {}).get(view, 0)


def _count(statistics: Mapping[str, Any], family: str) -> int:
    return sum(statistics.get("labels", {}).get(f"status {family}", {}).values())


def _share(counts: Mapping[str, int], name: str) -> str:
    return f"{100 * counts.get(name, 0) / max(1, sum(counts.values())):.1f} %"


def _words(counts: Mapping[str, int]) -> str:
    lengths = sorted(Counter({int(length): count for length, count in counts.items()}).elements())
    return f"({lengths[len(lengths) // 2]}, {lengths[-1]})"


def _size_category(rows: int) -> str:
    bounds = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")


def write_sheets(plan: Plan, out: Path) -> list[Path]:
    """`sheets/<family>.png`: the first figures of every family as they are stored in `out`, spread over its types."""
    written = []
    (out / SHEETS).mkdir(exist_ok=True)
    for family, figures in _first_figures(plan, out).items():
        figures.sort(key=lambda item: item[0])
        path = out / SHEETS / f"{family}.png"
        partial = path.with_name(f".{path.name}.tmp")
        contact_sheet([image for _, image in figures], [name for name, _ in figures]).save(partial, "PNG")
        partial.replace(path)
        written.append(path)
    return written


def _first_figures(plan: Plan, out: Path) -> dict[str, list[tuple[str, Any]]]:
    import pyarrow.parquet as pq
    from PIL import Image

    figures: dict[str, list[tuple[str, Any]]] = {}
    for split in ("train", "validation", "test"):
        for path in sorted((out / "sft_zero_shot").glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(64, columns=["family", "experiment_type", "images"]):
                    if all(len(figures.get(family, [])) >= SHEET_PLOTS for family in plan.families):
                        return figures
                    for row in batch.to_pylist():
                        shown = figures.setdefault(row["family"], [])
                        for image in row["images"]:
                            if len(shown) < SHEET_PLOTS:
                                picture = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
                                shown.append((row["experiment_type"], picture))
    return figures
