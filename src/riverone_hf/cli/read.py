"""`riverone read`: figures in, verdicts out. Verdicts go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from riverone_hf.errors import FigureError
from riverone_hf.reader.embedded import EMBEDDED

if TYPE_CHECKING:
    from riverone_hf.reader.reader import Row
    from riverone_hf.reader.verdict import Verdict


def read(
    figures: Annotated[list[Path], typer.Argument(metavar="FIGURE...", help="Image files, or folders of them.")],
    model: Annotated[
        str, typer.Option(envvar="RIVERONE_MODEL", help="Model folder, Hub id, or the one inside the package.")
    ] = EMBEDDED,
    family: Annotated[
        str | None, typer.Option(help="Experiment family, e.g. rabi; without it the model finds out.")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="All FIGUREs belong to one row (two-image families).")
    ] = False,
    json_out: Annotated[bool, typer.Option("--json", help="Print one JSON array on stdout.")] = False,
    jsonl: Annotated[Path | None, typer.Option(help="Also write one JSON object per line to this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    prompt_form: Annotated[Literal["short", "full"], typer.Option(help="How the questions are worded.")] = "short",
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fields with less confidence are left empty; 0 keeps every guess.")
    ] = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Figures read at a time.")] = 4,
) -> None:
    """Read calibration figures and print a verdict for each: advice for a person, never sent to an instrument.

    Exit code 2 if any figure could not be read; the others are still read.
    """
    rows = _rows(figures, family, together)
    if jsonl is not None:
        _check_target(jsonl)
    from riverone_hf.hub.card import is_smoke
    from riverone_hf.questions import FAMILIES
    from riverone_hf.reader.jsonl import written_lines
    from riverone_hf.reader.reader import PlotReader

    reader = PlotReader.from_pretrained(
        model, revision=revision, device=device, prompt_form=prompt_form, threshold=threshold
    )
    if Path(model).is_dir() and is_smoke(model):
        typer.echo("note: this model was built by the smoke recipe. smoke: not for use.", err=True)
    if model == EMBEDDED:
        # Nobody chose this model, so nobody knows what it has never seen.
        known = set(reader.families)
        every = known == set(FAMILIES)
        names = f"the {len(known)} experiment families of QCalEval" if every else ", ".join(sorted(known))
        told = f"note: the model inside the package knows {names}. Any other experiment is taken for one of these."
        typer.echo(told, err=True)
    verdicts: list[Verdict] = []
    with written_lines(jsonl) as write:
        for verdict in _progress(reader.read_many(rows, batch_size=batch_size), len(rows)):
            write(verdict.model_dump_json())
            verdicts.append(verdict)
            if not json_out:
                _show(verdict)
    if json_out:
        typer.echo("[" + ",\n".join(verdict.model_dump_json() for verdict in verdicts) + "]")
    failed = [verdict for verdict in verdicts if verdict.error]
    for verdict in failed:
        typer.echo(f"error: {verdict.error}", err=True)
    if failed:
        raise typer.Exit(2)


def _rows(figures: list[Path], family: str | None, together: bool) -> list[Row]:
    from riverone_hf.questions import get_family
    from riverone_hf.reader.figures import figures_in
    from riverone_hf.reader.reader import Row

    if family is not None:
        get_family(family)
    paths = [path for figure in figures for path in (figures_in(figure) if figure.is_dir() else [figure])]
    return [Row(list(paths), family)] if together else [Row(path, family) for path in paths]


def _check_target(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise FigureError(f"--jsonl {path}: {what}; name a file in an existing folder")


def _progress(verdicts: Iterable[Verdict], total: int) -> Iterable[Verdict]:
    from rich.console import Console
    from rich.progress import track

    return track(
        verdicts,
        description="reading",
        total=total,
        console=Console(stderr=True),
        transient=True,
        disable=total < 2 or not sys.stderr.isatty(),
    )


def _show(verdict: Verdict) -> None:
    from rich.console import Console

    from riverone_hf.reader.verdict_text import verdict_panel

    if not verdict.error:
        Console(highlight=False).print(verdict_panel(verdict))
