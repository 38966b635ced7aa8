"""`riverone eval`: how well does a model read a data set in QCalEval's layout?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from riverone_hf.errors import EvaluationError


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, Hub id, endpoint URL (http://.../v1), or embedded.")],
    dataset: Annotated[str, typer.Argument(help="Folder of `riverone data build`, or a Hub data set id.")],
    out: Annotated[Path, typer.Option(help="New or empty folder, or one of an interrupted evaluation.")],
    icl: Annotated[bool, typer.Option("--icl", help="Ask the in-context questions (Q3, Q5, Q6) instead.")] = False,
    prompt: Annotated[
        Literal["short", "full"] | None,
        typer.Option(help="short: our tags; full: the data set's own texts. Default: short here, full for an URL."),
    ] = None,
    scoring: Annotated[
        Literal["official", "strict"], typer.Option(help="official: the published rules with their quirks.")
    ] = "official",
    constrained: Annotated[
        bool, typer.Option("--constrained", help="Answer as `riverone read` does: legal labels, JSON by its schema.")
    ] = False,
    judge: Annotated[
        str, typer.Option(help="URL of a judge model for Q1 and Q3, or none: they stay unscored.")
    ] = "none",
    judge_model: Annotated[str | None, typer.Option(help="Model id at the judge's URL.", show_default=False)] = None,
    model_id: Annotated[
        str | None, typer.Option(help="Model id at the endpoint; default: the first one it names.", show_default=False)
    ] = None,
    key_env: Annotated[str, typer.Option(help="Variable that holds the key of the endpoint.")] = "RIVERONE_API_KEY",
    judge_key_env: Annotated[str, typer.Option(help="Variable that holds the judge's key.")] = "RIVERONE_JUDGE_KEY",
    no_think: Annotated[bool, typer.Option("--no-think", help="Ask the endpoint not to reason.")] = False,
    references: Annotated[
        bool, typer.Option("--references/--no-references", help="Blank and shuffled images, majority, linear heads.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.", show_default=False)] = None,
    filter_type: Annotated[
        str | None, typer.Option(help="Only experiment types that contain this.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Plots asked at a time.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    dataset_id: Annotated[
        str | None, typer.Option(help="Hub id of a local data set, for .eval_results.", show_default=False)
    ] = None,
) -> None:
    """Evaluate a model: results.json, judged.json, a report with references, all in --out. Run again to resume."""
    import os

    from riverone_hf.evaluate.backends import Backend, is_endpoint, load_backend
    from riverone_hf.evaluate.benchmark import load_benchmark
    from riverone_hf.evaluate.chat import ChatClient
    from riverone_hf.evaluate.endpoint import EndpointBackend
    from riverone_hf.evaluate.evaluation import Options, check_out, run_evaluation
    from riverone_hf.evaluate.judge import ATTEMPTS, TIMEOUT_S, ChatJudge
    from riverone_hf.evaluate.page import verdict

    if judge != "none" and not is_endpoint(judge):
        raise EvaluationError(f"--judge {judge}: expected an URL (http://.../v1) or none")
    remote = is_endpoint(model)
    if remote and constrained:
        raise EvaluationError(
            f"--constrained: {model} decodes by its own rules. Remedy: leave it out, or name a folder"
        )
    check_out(out)
    options = Options(
        icl=icl,
        prompt=prompt or ("full" if remote else "short"),
        scoring=scoring,
        batch_size=batch_size,
        limit=limit,
        filter_type=filter_type,
        references=references,
        dataset_id=dataset_id,
    )
    benchmark = load_benchmark(dataset)
    backend: Backend
    if remote:
        timeout = 180.0 if icl else 300.0
        client = ChatClient(model, model_id, os.environ.get(key_env, "EMPTY"), timeout)
        backend = EndpointBackend(client, no_think=no_think)
    else:
        backend = load_backend(model, revision, device, constrained)
    marker = None
    if judge != "none":
        key = os.environ.get(judge_key_env, "EMPTY")
        marker = ChatJudge(ChatClient(judge, judge_model, key, TIMEOUT_S, ATTEMPTS))
    with _Bars() as bars:
        outcome = run_evaluation(backend, benchmark, options, out, marker, bars)
    typer.echo(verdict(outcome, options).replace("*", ""))
    typer.echo(f"report: {out / 'report.md'}", err=True)


class _Bars:
    """One progress bar per stage, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        self._task = self._progress.add_task(name, total=total)

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)
