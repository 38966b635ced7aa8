"""`riverone train`: run one training stage of a recipe on a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Option(help="One stage file, e.g. recipes/nano/3_sft.yaml.")],
    out: Annotated[Path, typer.Option(help="New folder for the model, or for the adapter with --peft.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values of the stage to change, e.g. steps=100."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or Hub id to start from; not for 0_model.yaml.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Own plots (a folder with labels.jsonl) or a built data set; else the simulator."),
    ] = None,
    peft: Annotated[bool, typer.Option("--peft", help="Train a LoRA adapter of the language model only.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="With --peft: write the model with the adapter merged.")
    ] = False,
    allow_contaminated: Annotated[
        bool, typer.Option("--allow-contaminated", help="Train on rows that `data decontaminate` flagged as well.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with a stage that was killed.")] = False,
) -> None:
    """Train one stage; run it under torchrun to use several processes. Prints the folder that was written."""
    from riverone_hf.build.train_stage import train_stage

    written = train_stage(
        recipe,
        out,
        model,
        data,
        list(overrides or ()),
        peft,
        merge,
        resume=not fresh,
        allow_contaminated=allow_contaminated,
    )
    typer.echo(str(written))
