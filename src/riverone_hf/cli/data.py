"""`riverone data ...`: look at, build and audit the simulated plots that models are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .data_sources import add_to

app = typer.Typer(name="data", help="Simulated calibration plots.", no_args_is_help=True, rich_markup_mode=None)
build_app = typer.Typer(help="Build a data set.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(build_app, name="build")
add_to(build_app, app)

Families = Annotated[list[str] | None, typer.Option("--family", help="Only this family; may be repeated.")]
Backend = Annotated[str, typer.Option(help="fast, matplotlib or mixed.")]
Seed = Annotated[int, typer.Option(help="Other seeds give other plots.")]


@app.callback()
def main() -> None:
    """Simulated calibration plots."""


@build_app.callback()
def build_main() -> None:
    """Build a data set."""


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="Folder for the figures and truth.json.")],
    plots: Annotated[int, typer.Option(min=1, max=10_000, help="How many plots.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other plots.")] = 0,
    family: Annotated[str | None, typer.Option(help="Only this family; by default all families in turn.")] = None,
    backend: Annotated[str, typer.Option(help="fast or matplotlib.")] = "fast",
) -> None:
    """Draw plots of the test split, with their true answers in truth.json."""
    from riverone_hf.data.show import show_plots

    written = show_plots(out, plots, seed, family, backend)
    typer.echo(f"{len(written)} figures and truth.json in {out}", err=True)


@build_app.command()
def calibration(
    rows: Annotated[int, typer.Option(help="How many plots, over all splits.")],
    out: Annotated[Path, typer.Option(help="New or empty folder, or one of an interrupted build.")],
    seed: Seed = 0,
    processes: Annotated[int | None, typer.Option(help="Default: one per core. Does not change the data.")] = None,
    backend: Backend = "fast",
    family: Families = None,
) -> None:
    """Build the calibration data set: parquet files, card and contact sheets. Run again to resume."""
    import os

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from riverone_hf.calibration import SUPPORTED_FAMILIES
    from riverone_hf.data import Plan, build_calibration_data

    plan = Plan(rows, seed, backend, tuple(family or SUPPORTED_FAMILIES))
    columns = (TextColumn("plots"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("plots", total=rows)
        workers = processes if processes is not None else os.cpu_count() or 1
        build_calibration_data(plan, out, workers, lambda done: progress.advance(task, done))
    typer.echo(str(out))


@build_app.command()
def drift(
    rows: Annotated[int, typer.Option(help="How many figures, over all splits; each is asked several questions.")],
    out: Annotated[Path, typer.Option(help="New or empty folder, or one of an interrupted build.")],
    source: Annotated[
        str | None, typer.Option(help="Folder, Hub id, or 'hub' for the public table; by default a synthetic one.")
    ] = None,
    seed: Seed = 0,
    sunspots: Annotated[bool, typer.Option("--sunspots", help="Keep the column SN, said to be CC BY-NC.")] = False,
    revision: Annotated[str | None, typer.Option(help="Commit of the Hub data set; by default the newest.")] = None,
) -> None:
    """Build questions about hardware drift: 14-day curves and 30-day maps. Run again to resume."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from riverone_hf.data.drift_build import build_drift_data

    columns = (TextColumn("figures"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("figures", total=rows)
        found = build_drift_data(rows, out, source, seed, sunspots, revision, lambda done: progress.advance(task, done))
    left_out = ", ".join(f"{name} {count}" for name, count in sorted(found["rejects"].items())) or "nothing"
    asked = sum(found["questions"].values())
    typer.echo(f"{found['rows']} figures, {asked} questions; left out of {found['read']} rows: {left_out}", err=True)
    typer.echo(str(out))


@app.command()
def audit(
    folder: Annotated[Path | None, typer.Argument(help="A built data set; by default fresh plots are drawn.")] = None,
    rows: Annotated[int | None, typer.Option(help="Fresh plots to draw, or most rows per split of FOLDER.")] = None,
    out: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("audit.json"),
    seed: Seed = 0,
    backend: Backend = "fast",
    family: Families = None,
) -> None:
    """Check plots and answers: balance, blind baselines, pixel probe, recoverability, twins, lengths."""
    from riverone_hf.calibration import SUPPORTED_FAMILIES
    from riverone_hf.data import Plan, audit_folder, audit_plan, audit_table, write_audit

    if folder is not None:
        report = audit_folder(folder, rows)
    else:
        count = 1000 if rows is None else rows
        report = audit_plan(Plan(count, seed, backend, tuple(family or SUPPORTED_FAMILIES)))
    write_audit(report, out)
    typer.echo(audit_table(report))
    typer.echo(f"report: {out}", err=True)


@app.command()
def decontaminate(
    folder: Annotated[Path, typer.Argument(help="A data set: its parquet files are checked.")],
    against: Annotated[list[Path], typer.Option(help="Folder of a benchmark; may be repeated.")],
    out: Annotated[Path | None, typer.Option(help="New folder for a copy without the flagged rows.")] = None,
) -> None:
    """Find rows that repeat a benchmark, by figure and by text; training refuses them from then on."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from riverone_hf.data.contamination import MARKER
    from riverone_hf.data.contamination_folder import decontaminate as run

    columns = (TextColumn("rows"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=None)
        report = run(folder, against, out, lambda done: progress.advance(task, done))
    for flag in report["flagged"]:
        reasons = ", ".join(f"{reason['kind']} {reason['name']} {reason['amount']:g}" for reason in flag["reasons"])
        typer.echo(f"{flag['file']} {flag['row']} {flag['id']}: {reasons}")
    typer.echo(f"{len(report['flagged'])} of {sum(report['checked'].values())} rows flagged", err=True)
    typer.echo(f"report: {folder / MARKER}" + (f"; clean copy: {out}" if out else ""), err=True)
