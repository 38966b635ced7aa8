"""`riverone serve`: an OpenAI-compatible endpoint for a model, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[str, typer.Argument(envvar="RIVERONE_MODEL", help="Model folder or Hub id.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback open it to the network.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="What requests call the model. Default: the folder's name or the Hub id.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=256, help="Requests answered together.")] = 8,
    max_images: Annotated[int, typer.Option(min=0, help="Images in one request.")] = 32,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Size of one request.")] = 64,
    max_answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer. Default: what the context leaves.")
    ] = None,
) -> None:
    """Serve a model at http://HOST:PORT/v1/chat/completions until Ctrl-C or SIGTERM.

    If RIVERONE_API_KEY is set, requests must carry it as a bearer token.
    """
    from riverone_hf.hub.card import is_smoke
    from riverone_hf.reader.serve import LOOPBACK, Limits
    from riverone_hf.reader.serve import serve as run

    key = os.environ.get("RIVERONE_API_KEY") or None
    if host not in LOOPBACK and key is None:
        typer.echo(
            f"warning: {host} is reachable from the network and no key is asked for. "
            "Remedy: set RIVERONE_API_KEY, or leave --host out",
            err=True,
        )
    if Path(model).is_dir() and is_smoke(model):
        typer.echo("note: this model was built by the smoke recipe. smoke: not for use.", err=True)
    limits = Limits(body_bytes=max_body_mb * 1024**2, images=max_images, answer_tokens=max_answer_tokens)
    run(
        model,
        host=host,
        port=port,
        name=name,
        revision=revision,
        device=device,
        batch_size=batch_size,
        limits=limits,
        key=key,
        ready=lambda url, served: typer.echo(f"serving {served} at {url}/chat/completions (Ctrl-C stops it)", err=True),
    )
