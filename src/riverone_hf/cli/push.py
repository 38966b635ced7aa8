"""`riverone push`: publish what was built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Publish to the Hub.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def push() -> None:
    """Publish to the Hub."""


@app.command("model")
def model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Model folder, as `riverone build` leaves it.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="owner/name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; created when new.")] = None,
) -> None:
    """Push a model with its remote code and its card; the URL is printed."""
    from riverone_hf.hub import push_model

    pushed = push_model(folder, repo_id, private=private, revision=revision)
    typer.echo(pushed.url)
    typer.echo(f"{'pushed' if pushed.changed else 'unchanged'}; pin revision {pushed.revision}", err=True)


@app.command("dataset")
def dataset(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data set, as `riverone data build` leaves it.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="owner/name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; created when new.")] = None,
) -> None:
    """Push a data set with all its configs and its card; the URL is printed."""
    from riverone_hf.hub import push_dataset

    pushed = push_dataset(folder, repo_id, private=private, revision=revision)
    typer.echo(pushed.url)
    typer.echo(f"{'pushed' if pushed.changed else 'unchanged'}; pin revision {pushed.revision}", err=True)
