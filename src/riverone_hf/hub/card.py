"""What does a model card say, and where does each of its numbers come from? From the folder's own files only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelFolderError
from ..evaluate import stale
from .folder import read_config, read_json, read_safetensors_header, weight_files

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

MARK = "<!-- rendered by riverone_hf.hub.card; edits are lost at the next push unless this line is removed -->"
SCORES = {
    "q1_enums": "Q1 plot facts",
    "q2": "Q2 outcome",
    "q4": "Q4 fit",
    "q5": "Q5 parameters",
    "q5_values": "Q5 values",
    "q6": "Q6 status",
    "mean": "mean",
}
"""Score key of a results row -> column heading, in the order of the table."""

BASELINES = ("majority class", "blank image", "shuffled images", "linear probe")
"""A row whose name has one of these phrases is a floor: shown in the table, never declared as the model's result."""

TAGS = ["riverone", "vision-language", "quantum", "calibration", "plot-reading", "custom_code"]
EXAMPLE_ID = "your-name/riverone"
EXAMPLE_QUESTION = "[outcome] rabi"

PAGE = """{mark}

# {title}

{smoke}A compact vision-language model that reads one or two calibration figures of a quantum device and answers
six questions about them: what is drawn, what the experiment's outcome is, what it means, whether the drawn fit can be
trusted, which parameters it gives, and what to do next. Weights and code of this repository need only
`transformers` and `torch`.

**Advisory only.** The answers are meant for a person or a program that checks them. Nothing here writes to hardware,
and no answer should be written to hardware unchecked.

## Use

```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

repo_id, revision = "{repo_id}", "{revision}"
model = AutoModelForImageTextToText.from_pretrained(repo_id, revision=revision, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(repo_id, revision=revision, trust_remote_code=True)

figure = Image.open("figure.png")
question = {{"type": "text", "text": "{question}"}}  # what is the outcome of this Rabi experiment?
messages = [{{"role": "user", "content": [{{"type": "image", "image": figure}}, question]}}]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**inputs, max_new_tokens=128, do_sample=False)
print(processor.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

`trust_remote_code=True` runs the Python files of this repository on your machine, and the pinned `revision` makes sure
that these are the files you looked at, not whatever is pushed later.
{pin_note}
For a complete verdict (JSON with units, confidence and abstentions) install `riverone-hf` and run
`riverone read FIGURE --model {repo_id} --json`.

## The model

{facts}

## Results

{results}

## Training data

Every training plot is drawn by a seeded simulator of calibration experiments; no figure measured in a laboratory was
used. Benchmark data, the QCalEval figures and answers among them, were not used for training, for tuning, or for
choosing between models.

## Limits

{limits}

## Licence

Apache-2.0, code and weights.
"""

LIMITS = """- Figures of experiments that the simulator does not draw are out of scope, and the model answers about them
  anyway.
- It was trained on simulated figures: looks that the simulator never produced (unusual colours, photographs of
  screens, hand-drawn annotations) lower its accuracy by an amount the table above does not show.
- Numbers read from axes are estimates limited by the image resolution; take fitted values from the fit itself."""

SMOKE_LIMIT = """- **smoke: not for use.** This model was built in a minute or two to show that the whole road
  works; its answers are close to guessing."""


def model_card(
    folder: str | Path,
    results: Mapping[str, Any] | None = None,
    *,
    repo_id: str = EXAMPLE_ID,
    revision: str | None = None,
) -> ModelCard:
    """The card of a model folder, with metadata and a table of results.

    `results` (default: the folder's metrics.json, "not measured" without one) has the shape of a results file:
    `command, date, machine, versions, rows`, each row with `name, scores` (percent, 0..100), `n` and `ci95`.
    `revision` is the commit that the usage snippet pins. Sizes are read from the headers of the weight files.
    Raises `ModelFolderError` when the folder or its metrics.json is malformed.
    """
    root = Path(folder)
    config = read_config(root)
    source = root / "metrics.json"
    if results is None and source.is_file():
        results = read_json(source)
    return _card(results, _facts(root, config), repo_id, revision, source)


def example_card(results: Mapping[str, Any] | None = None) -> ModelCard:
    """The card as it looks before there is a folder: the template that stands beside the README."""
    facts = "Recipe, stored parameters and bytes stand here, read from the folder that is pushed."
    return _card(results, facts, EXAMPLE_ID, None, Path("metrics.json"))


def is_smoke(folder: str | Path) -> bool:
    """Whether the folder's metrics.json says that a `smoke` recipe built it: such a model is not for use."""
    source = Path(folder) / "metrics.json"
    if not source.is_file():
        return False
    results = read_json(source)
    return _is_smoke(results, _checked_rows(results, source))


def is_rendered(text: str) -> bool:
    """Whether a README.md came from this module, so that a push may render it again."""
    return MARK in text


def _card(results: Mapping[str, Any] | None, facts: str, repo_id: str, revision: str | None, source: Path) -> ModelCard:
    from huggingface_hub import ModelCard, ModelCardData

    rows = _checked_rows(results, source)
    smoke = _is_smoke(results, rows)
    name = repo_id.split("/")[-1]
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=[*TAGS, "smoke-test"] if smoke else list(TAGS),
        model_name=name,
        eval_results=[] if smoke else list(_eval_results(rows)),
    )
    pin_note = "" if revision else "Take the hash of the commit from the repository's history.\n"
    body = PAGE.format(
        mark=MARK,
        title=name,
        smoke="**smoke: not for use.** " if smoke else "",
        repo_id=repo_id,
        revision=revision or "COMMIT-HASH",
        question=EXAMPLE_QUESTION,
        pin_note=pin_note,
        facts=facts,
        results=_results(results, rows),
        limits=f"{SMOKE_LIMIT}\n{LIMITS}" if smoke else LIMITS,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{body}")


def _checked_rows(results: Mapping[str, Any] | None, source: Path) -> list[Mapping[str, Any]]:
    """The rows of a results file; a row without name or scores, or a score outside 0..100, is refused."""
    rows = [] if results is None else results.get("rows")
    if not isinstance(rows, list):
        raise ModelFolderError(
            f"{source}: expected a list under `rows`, got {type(rows).__name__}. Remedy: evaluate again."
        )
    for row in rows:
        scores = row.get("scores") if isinstance(row, dict) else None
        if not isinstance(scores, dict) or not row.get("name"):
            raise ModelFolderError(f"{source}: a row lacks `name` or `scores`. Remedy: evaluate again.")
        for key, value in scores.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 <= value <= 100):
                raise ModelFolderError(
                    f"{source}: {row['name']!r} has {key} = {value!r}, expected a number of percent in 0..100 or null. "
                    "Remedy: evaluate again."
                )
    return rows


def _is_smoke(results: Mapping[str, Any] | None, rows: Iterable[Mapping[str, Any]]) -> bool:
    stated = results or {}
    declared = "not for use" in str(stated.get("use", "")) or "smoke" in str(stated.get("command", "")).split()
    return declared or any(row["name"] == "smoke" for row in rows)


def _eval_results(rows: Iterable[Mapping[str, Any]]) -> Iterable[EvalResult]:
    """The model's own rows as Hub evaluation results; baselines are not results of the model."""
    from huggingface_hub import EvalResult

    for row in rows:
        if any(phrase in row["name"] for phrase in BASELINES):
            continue
        for key, heading in SCORES.items():
            if row["scores"].get(key) is not None:
                yield EvalResult(
                    task_type="image-text-to-text",
                    dataset_type="simulated-calibration-plots",
                    dataset_name=f"held-out simulated calibration plots ({row['name']})",
                    metric_type="accuracy",
                    metric_name=heading,
                    metric_value=round(float(row["scores"][key]), 2),
                )


def _results(results: Mapping[str, Any] | None, rows: list[Mapping[str, Any]]) -> str:
    """The table with its command, date and machine; or the words "not measured"."""
    if results is None or not rows:
        return "Not measured: this folder holds no results file."
    columns = [key for key in SCORES if any(row["scores"].get(key) is not None for row in rows)]
    head = ["", *(SCORES[key] for key in columns), "95 % interval of the mean", "n"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        seed = f" (seed {row['seed']})" if row.get("seed") is not None else ""
        cells = [f"{row['name']}{seed}{stale(row)}", *(_percent(row["scores"].get(key)) for key in columns)]
        lines.append("| " + " | ".join([*cells, _interval(row.get("ci95")), str(row.get("n", "—"))]) + " |")
    stated = [
        (label, results.get(key)) for label, key in (("Command", "command"), ("Date", "date"), ("Machine", "machine"))
    ]
    origin = [f"- {label}: {_inline(value)}" for label, value in stated if value]
    versions = {str(row["data_version"]) for row in rows if row.get("data_version") is not None}
    origin += [f"- Data version: {', '.join(sorted(versions))}"] if versions else []
    intro = "Percent of answers that are right on held-out simulated plots; the floors are what a model must beat."
    return "\n".join([intro, "", *lines, "", *origin])


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"


def _interval(value: object) -> str:
    """`ci95` is a pair of bounds, a half width, or such a value per score (then the mean's is shown)."""
    if isinstance(value, Mapping):
        return _interval(value.get("mean"))
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{value[0]:.1f} to {value[1]:.1f}"
    return f"± {value:.1f}" if isinstance(value, int | float) else "—"


def _inline(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{' '.join(text.split()).replace('`', '')}`"


def _facts(folder: Path, config: Mapping[str, Any]) -> str:
    """Size and shape, read from config.json and the headers of the weight files."""
    names = [name for name in weight_files(folder) if name.endswith(".safetensors")]
    tensors = [tensor for name in names for tensor in read_safetensors_header(folder / name).values()]
    count = sum(prod(tensor["shape"]) for tensor in tensors)
    size = sum((folder / name).stat().st_size for name in names)
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    dtypes = ", ".join(sorted({tensor["dtype"] for tensor in tensors}))
    lines = [
        f"- Stored parameters: {count:,} in {len(tensors)} tensors ({dtypes})",
        f"- Weight files: {size:,} bytes",
    ]
    for label, part in (("Vision tower", vision), ("Language model", text)):
        if part.get("hidden_size") and part.get("num_hidden_layers"):
            lines.append(f"- {label}: {part['num_hidden_layers']} layers, width {part['hidden_size']}")
    return "\n".join(lines)
