"""Which files tell what was found? summary.json, report.md with its PNGs, and the Hub's `.eval_results` YAML."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .page import outcome_rows, page, verdict
from .pictures import draw_pictures
from .results_files import write_json
from .summary import by_family, summarise

if TYPE_CHECKING:
    from .evaluation import Options, Outcome


def write_report(outcome: Outcome, options: Options, out: Path) -> None:
    """Write all report files into `out`; each is either whole or not there."""
    rows = outcome_rows(outcome, options)
    scores = outcome.scores[options.scoring]
    flats = [score.flat for score in scores]
    summary = {
        "model": outcome.results["model"],
        "dataset": outcome.results["dataset"],
        "mode": outcome.results["mode"],
        "prompt_form": options.prompt,
        "scoring": options.scoring,
        "verdict": verdict(outcome, options).replace("*", ""),
        **outcome.facts,
        "rows": rows,
        "families": by_family([row.family for row in outcome.rows], flats),
    }
    write_json(out / "summary.json", summary)
    pictures = draw_pictures(rows, scores, out)
    _write(out / "report.md", page(outcome, options, pictures))
    folder = out / ".eval_results"
    folder.mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", options.dataset_id or outcome.results["dataset"]).strip("-").lower()
    _write(folder / f"{name}.yaml", eval_results_yaml(outcome, options))


def eval_results_yaml(outcome: Outcome, options: Options) -> str:
    """The scores in the Hub's `.eval_results/*.yaml` format, one entry per question that was scored.

    The benchmark's mean is an entry only if a judge scored everything that it needs.
    """
    import yaml

    found = summarise([score.flat for score in outcome.scores[options.scoring]])
    mode = "icl" if options.icl else "zeroshot"
    dataset = options.dataset_id or outcome.results["dataset"]
    date = datetime.strptime(outcome.results["timestamp"], "%Y%m%d_%H%M%S").date().isoformat()
    judge = outcome.facts["judge"] or "none"
    entries: list[dict[str, Any]] = []
    for name, value in found["scores"].items():
        if value is None or name in ("mean", "q5_values"):
            continue
        low, high = found["ci95"][name]
        notes = (
            f"prompt form {options.prompt}, {options.scoring} rules, judge {judge}, n {found['n']}, "
            f"95 % interval {low:.1f} to {high:.1f}"
        )
        entries.append(
            {
                "dataset": {"id": dataset, "task_id": f"{mode}_{name}"},
                "value": round(value, 2),
                "date": date,
                "notes": notes,
            }
        )
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
