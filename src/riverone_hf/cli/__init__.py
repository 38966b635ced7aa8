"""What does the user type? One file per verb, no logic; heavy packages are imported inside the verbs.

Every `RiverOneError` becomes one line on stderr and exit code 2 (RIVERONE_DEBUG=1 shows the traceback as well).
"""

from __future__ import annotations

import os
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from riverone_hf.cli import build, compress, data, demo, env, eval, push, read, recipes, serve, share, train
from riverone_hf.errors import RiverOneError


class _Verbs(TyperGroup):
    """Turns our errors into one line, also when the app is called from a test."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RiverOneError as exc:
            if os.environ.get("RIVERONE_DEBUG"):
                traceback.print_exc()
            typer.echo("error: " + " ".join(str(exc).split()), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        from riverone_hf import __version__

        typer.echo(f"riverone {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Verbs,
    name="riverone",
    help="Build, compress and run RiverONE, a compact model that reads quantum-calibration plots.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Build, compress and run RiverONE, a compact model that reads quantum-calibration plots."""


app.command("read")(read.read)
app.command("build")(build.build)
app.command("compress")(compress.compress)
app.command("share")(share.share)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("eval")(eval.evaluate)
app.command("serve")(serve.serve)
app.command("env")(env.env)
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipes")
app.add_typer(push.app, name="push")

__all__ = ["app"]
