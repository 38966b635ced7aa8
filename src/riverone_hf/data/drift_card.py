"""What does the drift data set say about itself? Its card with rules, counts and licence, and one sheet of figures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.sheet import contact_sheet
from .card import SHEETS, _size_category, described
from .drift_columns import SOURCE_ID, variables
from .drift_correlation import LEAST_PAIRS, LEVEL
from .drift_frame import DriftTable
from .drift_statistics import ABSENT, CLEAR, LEAST_CHANGE, STABLE, UNSTABLE
from .drift_windows import CURVE_DAYS, MAP_DAYS, DriftPlan, periods

STATISTICS = "statistics.json"
VIEW, TRUTH = "sft_zero_shot", "truth"
PAGE = """\
# Drift of superconducting processors

{rows:,} figures with {asked:,} questions about how calibrations of superconducting qubits drift: curves of
{curve_days} days (T1, T2, readout and gate errors) and maps of {map_days} days that show their correlations with the
environment. Every answer is computed from the rows behind the figure. {origin}

```python
from datasets import load_dataset

load_dataset(REPO_OR_FOLDER, "sft_zero_shot")  # images, messages: read by TRL's SFTTrainer as they are
load_dataset(REPO_OR_FOLDER, "truth")  # one row per question with the numbers behind its answer, as JSON
```

## Splits by time and device

No two splits share a device or a day; rows of the other devices at other times are not used.

| split | figures | devices | from | to (exclusive) |
|---|---|---|---|---|
{splits}

All devices stand at one site, so the environment is the same for all: that is why time is split, too. Windows of one
split may overlap.

## Figures and questions

| type | figures | | question | count |
|---|---|---|---|---|
{types}

Shares of the answers: {labels}. {question_tokens:,} tokens of questions and {answer_tokens:,} of answers (words and
marks), {image_kb:.0f} kB an image.

- *Trend*: Theil-Sen slope; Mann-Kendall test with the variance widened for lag-1 autocorrelation; a trend is named for
  p < {clear:g} and a change of at least {least:.0%} of the median, denied for p > {absent:g}, not asked between.
- *Stability*: standard deviation over mean, stable below {stable:.0%}, unstable above {unstable:.0%}; near a bound it
  is not asked.
- *Change point*: one step in the logarithm, by least squares, if its Bayesian information criterion beats constant and
  line by 10; when a step is found, no trend is asked.
- *Drivers*: Spearman's rho of daily means, environment 0 to 3 days earlier inside the window, at least {pairs} days in
  common; p from the effective number of days (autocorrelation of both sides); Holm's correction over all cells of a map
  at {level:g}. A correlation of one window is a candidate, never a proof.

Environment: {environment}. It is read where a calibration is seen first, at the hour of its
calibrated_time; hourly and daily columns alike are averaged to days, so half-hourly repeats count once. {sunspots}

## What was left out of the table

{read:,} rows were read. Repeated snapshots are rows with the key and calibrated_time of an earlier one; failure
ceilings are flagged rows and errors of 0.999 or more. Times are converted to us, errors to %.

| reason | rows |
|---|---|
{rejects}

## How it was made

`riverone data build drift` with these arguments (`build.json`); the same table and arguments give the same bytes:

```json
{arguments}
```

## Limits

Calibrations come about once or twice a day and at the provider's choice, so that n is small; {limits} Never let answers
drive hardware.

## Licence

{licence} `sheets/{view}.png` shows the first figures.
"""


def drift_card(plan: DriftPlan, table: DriftTable, statistics: Mapping[str, Any]) -> str:
    """README.md: YAML with the configs' files, then the page."""
    from huggingface_hub import DatasetCard, DatasetCardData

    splits = list(statistics["splits"])
    configs: list[dict[str, Any]] = [
        {
            "config_name": view,
            "data_files": [{"split": split, "path": f"{view}/{split}-*.parquet"} for split in splits],
        }
        for view in (VIEW, TRUTH)
    ]
    configs[0]["default"] = True
    licence = "cc-by-nc-4.0" if plan.sunspots else "cc-by-4.0"
    data = DatasetCardData(
        language="en",
        license=licence,
        pretty_name="Drift of superconducting processors",
        size_categories=_size_category(statistics["rows"]),
        task_categories=["image-text-to-text", "visual-question-answering"],
        tags=["quantum", "calibration", "drift", "charts", "trl"],
        configs=described(configs, plan.fingerprint()),
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{_page(plan, table, statistics)}"))


def _page(plan: DriftPlan, table: DriftTable, statistics: Mapping[str, Any]) -> str:
    real = plan.source != "synthetic"
    types, kinds = sorted(statistics["types"].items()), sorted(statistics["questions"].items())
    size = max(len(types), len(kinds))
    cells = zip(_padded(types, size), _padded(kinds, size), strict=True)
    periods_of = periods(table, plan.seed)
    lines = [
        f"| {split} | {count:,} | {', '.join(periods_of[split][0])} | "
        f"{_date(periods_of[split][1])} | {_date(periods_of[split][2])} |"
        for split, count in statistics["splits"].items()
    ]
    labels = "; ".join(
        f"{name}: " + ", ".join(f"{label} {_share(counts, label)}" for label in sorted(counts))
        for name, counts in sorted(statistics["labels"].items())
    )
    origin = f"The rows are those of `{plan.source}`." if real else (
        "The rows are synthetic, with planted drifts: a stand-in with the columns of the public table "
        f"`{SOURCE_ID}`, built when no source is named. No number in it was measured."
    )  # fmt: skip
    made = "CC BY-NC 4.0, because of the sunspot numbers." if plan.sunspots else "CC BY 4.0."
    credit = (
        f" The measurements are those of `{plan.source}` (CC BY 4.0), filtered, converted and drawn." if real else ""
    )
    return PAGE.format(
        rows=statistics["rows"],
        asked=sum(statistics["questions"].values()),
        curve_days=CURVE_DAYS,
        map_days=MAP_DAYS,
        origin=origin,
        splits="\n".join(lines),
        types="\n".join(f"| {a} | {b} | | {c} | {d} |" for (a, b), (c, d) in cells),
        labels=labels,
        question_tokens=statistics["question_tokens"],
        answer_tokens=statistics["answer_tokens"],
        image_kb=statistics["image_bytes"] / max(1, statistics["images"]) / 1000,
        clear=CLEAR,
        least=LEAST_CHANGE,
        absent=ABSENT,
        stable=STABLE,
        unstable=UNSTABLE,
        pairs=LEAST_PAIRS,
        level=LEVEL,
        environment=", ".join(f"`{item.column}`" for item in variables(plan.sunspots)),
        sunspots="Sunspot numbers (`SN`) are included." if plan.sunspots else "`SN` is left out: CC BY-NC, it is said.",
        read=statistics["read"],
        rejects="\n".join(f"| {name} | {count:,} |" for name, count in statistics["rejects"].items()),
        arguments=json.dumps(plan.fingerprint(), indent=1),
        limits="thresholds are conventions stated above."
        if real
        else "real devices drift in more ways than the planted ones.",
        licence=made + credit,
        view=VIEW,
    )


def _padded(items: list[tuple[str, int]], size: int) -> list[tuple[str, str]]:
    return [(name, f"{count:,}") for name, count in items] + [("", "")] * (size - len(items))


def _share(counts: Mapping[str, int], name: str) -> str:
    return f"{100 * counts[name] / max(1, sum(counts.values())):.0f} %"


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def write_drift_sheet(out: Path, most: int) -> Path:
    """`sheets/sft_zero_shot.png`: the first figures as they are stored, their ids above."""
    import pyarrow.parquet as pq
    from PIL import Image

    shown: list[tuple[str, Any]] = []
    for path in sorted((out / VIEW).glob("train-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(most, columns=["id", "images"]):
                for row in batch.to_pylist()[: most - len(shown)]:
                    picture = Image.open(io.BytesIO(row["images"][0]["bytes"])).convert("RGB")
                    shown.append((row["id"].removeprefix("drift_"), picture))
                if len(shown) >= most:
                    break
    (out / SHEETS).mkdir(exist_ok=True)
    path = out / SHEETS / f"{VIEW}.png"
    partial = path.with_name(f".{path.name}.tmp")
    contact_sheet([image for _, image in shown], [name for name, _ in shown]).save(partial, "PNG")
    partial.replace(path)
    return path
