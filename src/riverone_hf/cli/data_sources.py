"""`riverone data build chartqa|plotqa|scienceqa|mmpr|preference` and `riverone data report`: data from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from riverone_hf.data.build_source import SourcePlan

Rows = Annotated[int, typer.Option(help="Most rows to write.")]
Out = Annotated[Path, typer.Option(help="New or empty folder, or one of an interrupted build.")]
Source = Annotated[str | None, typer.Option(help="Hub id or folder; by default the public data set on the Hub.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
Config = Annotated[str | None, typer.Option(help="Config of the Hub data set.")]
Revision = Annotated[str | None, typer.Option(help="Commit of the Hub data set; by default the newest.")]
Files = Annotated[list[str] | None, typer.Option(help="Only tables of a folder that match, e.g. '*_human.json'.")]
Share = Annotated[float, typer.Option(help="Look at this share of the source's rows, drawn by --seed.")]
Seed = Annotated[int, typer.Option(min=0, help="Other seeds draw other rows.")]
Against = Annotated[list[Path] | None, typer.Option(help="Folder of a benchmark to check against; may be repeated.")]


ENDPOINT_TOKENS = 2048
"""Room for a reasoning model to come to its one word."""


def add_to(build_app: typer.Typer, app: typer.Typer) -> None:
    """Give `riverone data build` and `riverone data` the verbs of this file."""
    for verb in (chartqa, plotqa, scienceqa, mmpr, preference):
        build_app.command()(verb)
    app.command()(report)


def chartqa(
    rows: Rows,
    out: Out,
    source: Source = None,
    split: Split = "train",
    config: Config = None,
    revision: Revision = None,
    files: Files = None,
    share: Share = 1.0,
    seed: Seed = 0,
    pairs: Annotated[bool, typer.Option("--pairs", help="Preference pairs on questions with numbers instead.")] = False,
    against: Against = None,
) -> None:
    """Questions about charts, from ChartQA. Run again to resume."""
    from riverone_hf.data.build_source import SourcePlan
    from riverone_hf.data.chartqa import CHARTQA, CHARTQA_PAIRS
    from riverone_hf.data.source import Origin

    origin = Origin(source or CHARTQA.hub_id or "", split, config, revision, tuple(files or ()))
    _build(SourcePlan(CHARTQA_PAIRS if pairs else CHARTQA, origin, rows, share, seed), out, against)


def plotqa(
    rows: Rows,
    out: Out,
    source: Annotated[str, typer.Option(help="Folder of the release (qa_pairs_V1.json, png/), or a Hub id.")],
    split: Split = "train",
    config: Config = None,
    revision: Revision = None,
    files: Files = None,
    share: Share = 1.0,
    seed: Seed = 0,
    against: Against = None,
) -> None:
    """Questions about scientific plots, from PlotQA. Run again to resume."""
    from riverone_hf.data.build_source import SourcePlan
    from riverone_hf.data.plotqa import PLOTQA
    from riverone_hf.data.source import Origin

    origin = Origin(source, split, config, revision, tuple(files or ()))
    _build(SourcePlan(PLOTQA, origin, rows, share, seed), out, against)


def scienceqa(
    rows: Rows,
    out: Out,
    source: Source = None,
    split: Split = "train",
    config: Config = None,
    revision: Revision = None,
    files: Files = None,
    share: Share = 1.0,
    seed: Seed = 0,
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject; may be repeated.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint that decides instead of a rule on words.")
    ] = None,
    model_id: Annotated[str | None, typer.Option(help="The endpoint's model; by default its first.")] = None,
    against: Against = None,
) -> None:
    """Science questions that need their image, from ScienceQA. Run again to resume."""
    from riverone_hf.data.build_source import SourcePlan
    from riverone_hf.data.scienceqa import Rule, endpoint_rule, plain_rule, scienceqa
    from riverone_hf.data.source import Origin

    options: dict[str, object] = {"subjects": sorted(subject or ()), "rule": "plain"}
    rule: Rule = plain_rule
    if endpoint:
        import os

        from riverone_hf.evaluate.chat import ChatClient

        client = ChatClient(endpoint, model_id, os.environ.get("OPENAI_API_KEY", "EMPTY"))
        options |= {"rule": client.model_id}
        rule = endpoint_rule(lambda prompt: client.ask(prompt, ENDPOINT_TOKENS))
    kind = scienceqa(rule, tuple(sorted(subject or ())))
    origin = Origin(source or kind.hub_id or "", split, config, revision, tuple(files or ()))
    _build(SourcePlan(kind, origin, rows, share, seed, options), out, against)


def mmpr(
    rows: Rows,
    out: Out,
    source: Annotated[str, typer.Option(help="Folder with the unpacked annotations and images, or a Hub id.")],
    split: Split = "train",
    config: Config = None,
    revision: Revision = None,
    files: Files = None,
    share: Share = 1.0,
    seed: Seed = 0,
    subset: Annotated[
        list[str] | None, typer.Option(help="Part of a subset's name; default: science. 'all' for all.")
    ] = None,
    against: Against = None,
) -> None:
    """Preference pairs about science figures, from MMPR-v1.2 or MMPR-Tiny. Run again to resume."""
    from riverone_hf.data.build_source import SourcePlan
    from riverone_hf.data.mmpr import SCIENCE, mmpr
    from riverone_hf.data.source import Origin

    subsets = () if subset == ["all"] else tuple(sorted(name.lower() for name in subset or SCIENCE))
    origin = Origin(source, split, config, revision, tuple(files or ()))
    _build(SourcePlan(mmpr(subsets), origin, rows, share, seed, {"subsets": list(subsets)}), out, against)


def preference(
    rows: Rows,
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="The simulator's seed; mistakes must be of the same.")] = 0,
    family: Annotated[list[str] | None, typer.Option(help="Only this family; may be repeated.")] = None,
    mistakes: Annotated[Path | None, typer.Option(help="mistakes.jsonl of a model: {index, question, text}.")] = None,
    mistake_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pairs that reject such a mistake.")
    ] = 0.5,
    against: Against = None,
) -> None:
    """Calibration preference pairs: hard negatives, and a model's own mistakes. Run again to resume."""
    from riverone_hf.calibration import SUPPORTED_FAMILIES
    from riverone_hf.data.build_source import SourcePlan
    from riverone_hf.data.preference_set import SimulatedPairs, preferences_kind

    families = tuple(family or SUPPORTED_FAMILIES)
    origin = SimulatedPairs(families, seed, mistakes, mistake_share)
    _build(SourcePlan(preferences_kind(), origin, rows), out, against)


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of built data sets.")],
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON too.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Count tokens with it (folder or Hub id) instead of words.")
    ] = None,
) -> None:
    """What data sets hold: rows, tokens, images, licences, rejects."""
    from riverone_hf.data.report import data_report, report_table, write_report

    found = data_report(folders, tokenizer)
    if out is not None:
        write_report(found, out)
    typer.echo(report_table(found))


def _build(plan: SourcePlan, out: Path, against: list[Path] | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from riverone_hf.data.build_source import build_source_data
    from riverone_hf.data.contamination_folder import decontaminate

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=plan.rows)
        found = build_source_data(plan, out, lambda done: progress.advance(task, done))
    left_out = ", ".join(f"{name} {count}" for name, count in sorted(found["rejects"].items())) or "nothing"
    typer.echo(f"{found['rows']} rows of {found['read']} looked at; left out: {left_out}", err=True)
    if against:
        flagged = len(decontaminate(out, against)["flagged"])
        typer.echo(f"{flagged} rows repeat the benchmark" + (": training refuses them" if flagged else ""), err=True)
    typer.echo(str(out))
