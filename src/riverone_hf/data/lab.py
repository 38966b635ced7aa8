"""How do a lab's own labelled plots become training rows? Corrected verdicts in `labels.jsonl`, figures beside it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QuestionError, TrainingDataError
from ..questions import ASSESSMENTS, FAMILIES, OUTCOMES, Family, get_family, short_prompt
from .in_context import lazy_dataset

if TYPE_CHECKING:
    from datasets import Dataset

    from .calibration import PlotSource

LABELS = "labels.jsonl"
MIXED_FIRST = 600_000_000
"""Simulated rows beside own ones begin here: no other stage sees them."""
USED = (
    *("source", "images", "family", "outcome", "outcome_reason", "fit_reliability", "fit_reason"),
    *("status", "suggested_range", "notes", "parameters", "significance"),
)
IGNORED = (
    *("schema_version", "next_action", "description", "evidence", "confidence", "abstained", "provenance", "error"),
)
"""Other keys of a verdict: a line that `riverone read` wrote can be corrected and used as it is."""


def lab_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows {id, family, experiment_type, images, messages} of `folder`/labels.jsonl; images are paths.

    A line is one plot: `source` (or `images`, a list) relative to `folder`, `family`, and any of the labels `outcome`,
    `fit_reliability`, `status`, `parameters` ({name: value} or a verdict's list), `significance`, with the optional
    texts `outcome_reason`, `fit_reason`, `suggested_range`, `notes`. Only questions whose label is there are trained.
    Raises TrainingDataError that names the line and what is wrong.
    """
    path = folder / LABELS
    if not path.is_file():
        raise TrainingDataError(
            f"{folder}: no {LABELS}. Remedy: one JSON object per plot, see docs/adapt_to_your_lab.md"
        )
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(json.loads(line), folder, number))
            except (ValueError, QuestionError, TrainingDataError) as error:
                raise TrainingDataError(f"{path}, line {number}: {error}") from None
    if not rows:
        raise TrainingDataError(f"{path} is empty. Expected one JSON object per plot")
    return rows


def lab_dataset(folder: Path) -> Dataset:
    """A `datasets.Dataset` of `lab_rows` that opens figures, composed on white, when a row is read."""
    from datasets import Dataset

    rows = lab_rows(folder)

    def make(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = [rows[index] | {"images": [_open(path) for path in rows[index]["images"]]} for index in batch["index"]]
        return {key: [row[key] for row in made] for key in made[0]}

    return Dataset.from_dict({"index": list(range(len(rows)))}).with_transform(make)


def mixed_dataset(own: Any, source: PlotSource, share: float, count: int) -> Dataset:
    """`count` rows, of which `share` come from `own` (each as often as the others) and the rest from the simulator.

    The simulator's plots keep a model from forgetting what its own rows do not show.
    """

    def row(index: int) -> dict[str, Any]:
        # Every own row once before any comes again, at evenly spread places.
        before, now = int(index * share), int((index + 1) * share)
        if now == before:
            return source.row(MIXED_FIRST + index)
        order = list(range(len(own)))
        random.Random(f"{source.seed} {before // len(own)} own rows").shuffle(order)
        return own[order[before % len(own)]]

    return lazy_dataset(row, range(count))


def _row(label: Any, folder: Path, number: int) -> dict[str, Any]:
    if not isinstance(label, dict):
        raise TrainingDataError(f"got {type(label).__name__}, expected a JSON object")
    unknown = sorted(set(label) - set(USED) - set(IGNORED))
    if unknown:
        raise TrainingDataError(f"unknown keys {', '.join(unknown)}. Expected some of: {', '.join(USED)}")
    if label.get("error"):
        raise TrainingDataError("this verdict is an error. Remedy: remove the line")
    # A verdict's source is the path as it was typed, with " + " between figures that belong together.
    names = label.get("images") or (str(label["source"]).split(" + ") if label.get("source") else [])
    images = [path if (path := folder / name).is_file() else folder / Path(name).name for name in names]
    missing = [str(path) for path in images if not path.is_file()]
    if not images or missing:
        raise TrainingDataError(f"no such figure: {', '.join(missing) or 'neither source nor images is given'}")
    for path in images:
        _open(path)
    if label.get("family") not in FAMILIES:
        raise TrainingDataError(f"family is {label.get('family')!r}; expected one of: {', '.join(FAMILIES)}")
    family = get_family(label["family"])
    answers = _answers(label, family)
    if len(answers) == 1:
        raise TrainingDataError("no label. Expected at least one of: outcome, fit_reliability, status, parameters")
    messages: list[dict[str, Any]] = []
    for question, answer in answers.items():
        text = {"type": "text", "text": short_prompt(None if question == "q0" else family.name, question)}
        content = [text] if messages else [{"type": "image", "text": None}] * len(images) + [text]
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return {
        "id": f"lab-{number}",
        "family": family.name,
        "experiment_type": family.name,
        "images": images,
        "messages": messages,
    }


def _answers(label: dict[str, Any], family: Family) -> dict[str, str]:
    answers = {"q0": f"Experiment: {family.name}"}
    if label.get("outcome") is not None:
        _one_of("outcome", label["outcome"], OUTCOMES)
        answers["q2"] = f"Classification: {label['outcome']}" + _line("Reason", label.get("outcome_reason"))
    if label.get("significance") is not None:
        answers["q3"] = str(label["significance"])
    if label.get("fit_reliability") is not None:
        _one_of("fit_reliability", label["fit_reliability"], ASSESSMENTS)
        answers["q4"] = f"Assessment: {label['fit_reliability']}" + _line("Reason", label.get("fit_reason"))
    if label.get("parameters"):
        answers["q5"] = json.dumps(_parameters(label["parameters"], family), ensure_ascii=False)
    if label.get("status") is not None:
        _one_of("status", label["status"], tuple(family.statuses))
        text = f"{family.status_label}: {label['status']}"
        if family.asks_range:
            text += f"\nSuggested range: {label.get('suggested_range') or 'N/A'}"
        answers["q6"] = text + _line("Notes", label.get("notes"))
    return answers


def _parameters(given: Any, family: Family) -> Any:
    if family.list_answer:
        if not isinstance(given, list) or not all(isinstance(site, dict) and "name" not in site for site in given):
            raise TrainingDataError("parameters of this family: expected a list with one {name: value} object per site")
        return [_values(site, family) for site in given]
    if isinstance(given, list):
        given = {item.get("name"): item.get("value") for item in given if isinstance(item, dict)}
    if not isinstance(given, dict):
        raise TrainingDataError(f"parameters is {type(given).__name__}; expected {{name: value}}")
    return _values(given, family)


def _values(given: dict[str, Any], family: Family) -> dict[str, Any]:
    names = [field.name for field in family.fields]
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        raise TrainingDataError(f"unknown parameters {', '.join(unknown)}. Expected some of: {', '.join(names)}")
    return {name: given.get(name) for name in names}


def _one_of(what: str, got: Any, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise TrainingDataError(f"{what} is {got!r}; expected one of: {', '.join(allowed)}")


def _line(name: str, text: Any) -> str:
    return f"\n{name}: {text}" if text else ""


def _open(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            rgba = image.convert("RGBA")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise TrainingDataError(f"{path} cannot be read as an image ({error})") from None
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")
