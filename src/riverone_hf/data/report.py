"""What is in these data sets? Rows, tokens, images, licences and rejects of built folders, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import BuildError, MissingExtraError, SourceError
from .contamination import MARKER
from .source_card import STATISTICS
from .source_rows import count_tokens, row_texts

COLUMNS = ("data set", "config", "split", "rows", "images", "question tokens", "answer tokens", "licence", "rejects")


def data_report(folders: Sequence[Path], tokenizer: str | None = None) -> dict[str, Any]:
    """{data_sets: [{name, configs: [{config, split, rows, images, ...}], licences, rejects, flagged}], total}.

    Every parquet file below a folder is read but its images. `tokenizer` (folder or Hub id) counts tokens exactly;
    without one words and marks are counted. Raises SourceError for a folder without tables, or a broken one.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None
    count = count_tokens if tokenizer is None else _counter(tokenizer)
    sets = [_folder(folder, count) for folder in folders]
    total: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    rejects: Counter[str] = Counter()
    for found in sets:
        for config in found["configs"]:
            total.update({key: value for key, value in config.items() if isinstance(value, int)})
        licences.update(found["licences"])
        rejects.update(found["rejects"])
    counted = "words and marks" if tokenizer is None else tokenizer
    summed = {**total, "licences": dict(licences), "rejects": dict(rejects)}
    return {"tokens_are": counted, "data_sets": sets, "total": summed}


def report_table(report: dict[str, Any]) -> str:
    """The report as a Markdown table, one line per config and split."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for found in report["data_sets"]:
        for config in found["configs"]:
            numbers = [config[key] for key in ("rows", "images", "question_tokens", "answer_tokens")]
            cells = [found["name"], config["config"], config["split"], *(f"{number:,}" for number in numbers)]
            cells += [", ".join(sorted(found["licences"])) or "not stated", f"{sum(found['rejects'].values()):,}"]
            lines.append(f"| {' | '.join(cells)} |")
    total = report["total"]
    numbers = [total.get(key, 0) for key in ("rows", "images", "question_tokens", "answer_tokens")]
    last = [", ".join(sorted(total["licences"])), f"{sum(total['rejects'].values()):,}"]
    lines.append(f"| total | | | {' | '.join(f'{number:,}' for number in numbers)} | {' | '.join(last)} |")
    rejects = [(found["name"], *item) for found in report["data_sets"] for item in sorted(found["rejects"].items())]
    said = "; ".join(f"{name}: {reason} {n:,}" for name, reason, n in rejects) or "none stated"
    return "\n".join([*lines, "", f"Tokens: {report['tokens_are']}. Rejects: {said}."])


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON, whole or not at all. Raises BuildError."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        raise BuildError(f"could not write {path}: {exc.strerror or exc}. Remedy: choose another --out") from None


def _folder(folder: Path, count: Callable[[str], int]) -> dict[str, Any]:
    tables = [path for path in sorted(folder.rglob("*.parquet")) if path.parent != folder] if folder.is_dir() else []
    configs: dict[tuple[str, str], Counter[str]] = {}
    licences: Counter[str] = Counter()
    for path in tables:
        key = (path.parent.name, path.name.partition("-")[0])
        if counts := _table(path, count, licences):
            configs.setdefault(key, Counter()).update(counts)
    if not configs:
        raise SourceError(f"{folder}: no tables of configs. Expected the folder of a built data set")
    stated = _json(folder / STATISTICS)
    flagged = _json(folder / MARKER).get("flagged")
    if not licences and (licence := _card_licence(folder)):
        licences[licence] = sum(counts["rows"] for counts in configs.values())
    return {
        "name": folder.resolve().name,
        "source": stated.get("source"),
        "configs": [{"config": config, "split": split, **counts} for (config, split), counts in configs.items()],
        "licences": dict(licences),
        "rejects": stated.get("rejects", {}),
        "flagged": None if flagged is None else len(flagged),
    }


def _table(path: Path, count: Callable[[str], int], licences: Counter[str]) -> Counter[str] | None:
    """Counts of a file; None for one that nobody trains on, such as the numbers behind the answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: Counter[str] = Counter(rows=0, images=0, question_tokens=0, answer_tokens=0)
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if not names & {"messages", "prompt"}:
                return None
            wanted = [name for name in ("messages", "prompt", "chosen", "rejected", "licence") if name in names]
            paths = ["images.list.element.path"] if "images" in names else []
            for batch in file.iter_batches(256, columns=[*wanted, *paths]):
                for row in batch.to_pylist():
                    question, answer = row_texts(row)
                    found["rows"] += 1
                    found["images"] += len(row.get("images") or ())
                    found["question_tokens"] += count(question)
                    found["answer_tokens"] += count(answer)
                    if row.get("licence"):
                        licences[row["licence"]] += 1
    except (OSError, pa.ArrowException) as exc:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(exc).split())[:120]})") from None
    return found


def _counter(tokenizer: str) -> Callable[[str], int]:
    from transformers import AutoTokenizer

    try:
        made = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as exc:
        raise SourceError(f"{tokenizer}: no tokenizer ({' '.join(str(exc).split())[:120]})") from None
    return lambda text: len(made(text, add_special_tokens=False)["input_ids"])


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _card_licence(folder: Path) -> str | None:
    from huggingface_hub import DatasetCard

    try:
        said = DatasetCard.load(folder / "README.md").data.license
    except (OSError, ValueError):
        return None
    return str(said) if said else None
