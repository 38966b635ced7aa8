"""What does the one page say? Verdict, scores beside their references, families, and what was not scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .entry_scores import EntryScore, Scoring
from .summary import by_family, confusion, paired_difference, summarise

if TYPE_CHECKING:
    from .evaluation import Options, Outcome

TITLES = {
    "q1_enums": "Q1 plot kind",
    "q1": "Q1",
    "q2": "Q2 outcome",
    "q3": "Q3",
    "q4": "Q4 fit",
    "q5": "Q5 values",
    "q5_values": "Q5 not null",
    "q6": "Q6 status",
    "mean": "mean",
    "overall": "benchmark mean",
}
"""Score name -> column title; a column without any score is left out."""


def outcome_rows(outcome: Outcome, options: Options) -> list[dict[str, Any]]:
    """One row per table line: {name, n, scores, ci95}; the model by both rules, then its references."""
    other: Scoring = "strict" if options.scoring == "official" else "official"
    name = outcome.results["model"]
    rows = [
        {"name": f"{name}, {options.scoring} rules", **_summary(outcome.scores[options.scoring])},
        {"name": f"{name}, {other} rules", **_summary(outcome.scores[other])},
    ]
    return rows + [{"name": label, **_summary(scores)} for label, scores in outcome.references.items()]


def _summary(scores: Sequence[EntryScore | None]) -> dict[str, Any]:
    return summarise([score.flat for score in scores if score is not None])


def verdict(outcome: Outcome, options: Options) -> str:
    """The finding in one or two sentences: the mean, and the difference from the best reference on the same plots."""
    mine = [score.flat["mean"] or 0.0 for score in outcome.scores[options.scoring]]
    own = summarise([score.flat for score in outcome.scores[options.scoring]])
    asked = "Q5 and Q6" if options.icl else "Q1 plot kind, Q2, Q4, Q5 and Q6"
    text = (
        f"**{own['scores']['mean'] or 0.0:.1f} %** is the mean over {asked} "
        f"({_interval(own['ci95'].get('mean'))}, n = {own['n']} plots)."
    )
    best: tuple[float, str, list[float], list[float]] | None = None
    for name, scores in outcome.references.items():
        both = [
            (value, score.flat["mean"] or 0.0) for value, score in zip(mine, scores, strict=True) if score is not None
        ]
        if both and (best is None or sum(b for _, b in both) / len(both) > best[0]):
            best = (sum(b for _, b in both) / len(both), name, [a for a, _ in both], [b for _, b in both])
    if best is None:
        return text
    gap, low, high = paired_difference(best[2], best[3])
    size = "not distinguishable from"
    if low > 0 or high < 0:
        size = f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
    return (
        f"{text} That is {size} the best reference, *{best[1]}* (difference {gap:+.1f}, 95 % {low:+.1f} to "
        f"{high:+.1f})."
    )


def page(outcome: Outcome, options: Options, pictures: Sequence[tuple[str, str]]) -> str:
    """The report in Markdown. `pictures` are (title, file name) of the PNGs beside it."""
    rows = outcome_rows(outcome, options)
    names = [name for name in TITLES if any(row["scores"].get(name) is not None for row in rows)]
    results = outcome.results
    parts = [
        f"# {results['model']} on {results['dataset']}",
        verdict(outcome, options),
        "\n".join(f"- {line}" for line in _circumstances(outcome, options)),
        "## Scores and references",
        "Percent, with the 95 % interval.",
        _table(rows, names),
        *[f"![{title}]({file})" for title, file in pictures],
        "## Families",
        _family_table(outcome, options, names),
    ]
    if not pictures:
        parts += ["## Confusions", *_confusions(outcome.scores[options.scoring])]
    parts += ["## How to read this", _READING]
    return "\n\n".join(parts) + "\n"


def _circumstances(outcome: Outcome, options: Options) -> list[str]:
    facts, results = outcome.facts, outcome.results
    lines = [
        f"{'in-context' if options.icl else 'zero-shot'} questions, prompt form `{options.prompt}`, rules "
        f"`{options.scoring}`, {len(outcome.rows)} plots of {len({row.family for row in outcome.rows})} families, "
        f"asked {results['timestamp']} through {results['api_base']}"
    ]
    if facts["judge"] is None:
        what = "Q3" if options.icl else "Q3 and the key points of Q1"
        lines.append(f"not scored: {what} (no judge). There is therefore no benchmark mean; `mean` leaves them out")
    else:
        lines.append(f"key points marked by `{facts['judge']}`; scores under another judge are not comparable")
        if any(facts["unscored"].values()):
            failed = ", ".join(f"{name}: {count}" for name, count in facts["unscored"].items())
            lines.append(f"the judge failed on some answers ({failed}); columns that need them are left out")
    if facts["dropped"]:
        lines.append(f"{facts['dropped']} rows without any response are left out, as the official script does")
    if facts["failed_answers"]:
        lines.append(f"{facts['failed_answers']} questions got no answer and count 0")
    if facts["cut_answers"]:
        lines.append(f"{facts['cut_answers']} answers were stopped at their length limit")
    if facts["unknown_families"]:
        lines.append(f"families that the model was not trained on: {', '.join(facts['unknown_families'])}")
    if outcome.references and not facts["vision_references"]:
        lines.append("an endpoint does not show its vision tower, so there are no references on its features")
    return lines


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    head = ["", "n", *(TITLES[name] for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        cells = []
        for name in names:
            value, interval = row["scores"].get(name), row["ci95"].get(name)
            bounds = f" ({interval[0]:.0f}-{interval[1]:.0f})" if interval else ""
            cells.append("-" if value is None else f"{value:.1f}{bounds}")
        lines.append("| " + " | ".join([row["name"], str(row["n"]), *cells]) + " |")
    return "\n".join(lines)


def _family_table(outcome: Outcome, options: Options, names: Sequence[str]) -> str:
    families = [row.family for row in outcome.rows]
    found = by_family(families, [score.flat for score in outcome.scores[options.scoring]])
    lines = _table([{"name": family, **summary} for family, summary in found.items()], names).splitlines()
    if not outcome.references:
        return "\n".join(lines)
    best = [_best_reference(outcome, [at for at, name in enumerate(families) if name == family]) for family in found]
    extra = ["best reference: mean |", "---|", *[f" {cell} |" for cell in best]]
    return "\n".join(line + more for line, more in zip(lines, extra, strict=True))


def _best_reference(outcome: Outcome, places: Sequence[int]) -> str:
    means: dict[str, float] = {}
    for name, scores in outcome.references.items():
        known = [score.flat["mean"] or 0.0 for at in places if (score := scores[at]) is not None]
        if len(known) == len(places):
            means[name] = sum(known) / len(known)
    name = max(means, key=means.__getitem__, default="")
    return f"{means[name]:.1f} ({name})" if name else "-"


def _confusions(scores: Sequence[EntryScore]) -> list[str]:
    parts = []
    for question in ("q2", "q4", "q6"):
        rows, columns, counts = confusion(scores, question)
        if rows:
            lines = [f"| {TITLES[question]}: true \\ answered | " + " | ".join(columns) + " |"]
            lines.append("|---|" + "---:|" * len(columns))
            cells = [" | ".join(map(str, row)) for row in counts]
            lines += [f"| {label} | {cell} |" for label, cell in zip(rows, cells, strict=True)]
            parts.append("\n".join(lines))
    return [*parts, "No pictures: matplotlib is not installed (`pip install 'riverone-hf[train]'`)."]


def _interval(bounds: Sequence[float] | None) -> str:
    return "no interval" if bounds is None else f"95 % {bounds[0]:.1f} to {bounds[1]:.1f}"


_READING = """\
- *official* reads answers as the benchmark's own script does, quirks included; *strict* mends them (exact labels,
  missing answers count 0). The references are scored by the rules of the first line.
- *blank images*: the model asked the same about white pictures. *shuffled images*: each plot is given the model's
  answers to another plot of its family. What a model scores above both, it sees.
- *majority class*: the commonest answers of simulated training plots. *image-free rule*: expects every experiment to
  have worked. *linear heads* and *nearest neighbours* read the model's own vision tower without its language model.
- Intervals: Wilson for Q2, Q4 and Q6, bootstrap over plots for means (the answers of a plot are not independent).
- *Q5 not null* counts only fields whose true value is not null."""
