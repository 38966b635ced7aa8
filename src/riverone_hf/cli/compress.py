"""`riverone compress`: write a model's Linears in codebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riverone_hf.errors import CompressError


def compress(
    model: Annotated[str, typer.Argument(help="Folder or Hub id of a language or vision-language model.")],
    calibration: Annotated[str, typer.Option(help="FILE.txt, FILE.jsonl, or a data set: folder, Hub id, name:config.")],
    out: Annotated[Path, typer.Option(help="New folder; an unfinished run keeps its work in <out>.work.")],
    scheme: Annotated[str, typer.Option(help="Codebooks x bits g inputs per group, e.g. 2x8g8, 1x12g8.")] = "2x8g8",
    override: Annotated[
        list[str] | None,
        typer.Option(help="'pattern: scheme' for some modules, e.g. 'k_proj|v_proj: 1x12g8'; scheme may be none."),
    ] = None,
    include: Annotated[str, typer.Option(help="Also code: vision, projector (comma between).")] = "",
    exclude: Annotated[
        str | None, typer.Option(help="Regular expression of module names to leave as they are.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(help="Linears matching this pattern share codebooks over layers, e.g. k_proj|v_proj."),
    ] = None,
    bits_budget: Annotated[
        float | None, typer.Option(min=0.5, max=16, help="Mean bits per weight: picks the scheme of each module.")
    ] = None,
    embeddings: Annotated[
        str, typer.Option(help="Word embeddings and head: dense, or int8 (a float16 scale per token).")
    ] = "dense",
    preset: Annotated[str, typer.Option(help="quick, default or high.")] = "default",
    tune_steps: Annotated[
        int, typer.Option(min=0, help="Steps that tune each coded block on its output; costs time, 0 leaves it out.")
    ] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Calibration rows.")] = 128,
    length: Annotated[int, typer.Option(min=2, help="Most tokens per calibration row.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other starts.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    aqlm: Annotated[bool, typer.Option("--aqlm", help="Write the stock aqlm format (one scheme only).")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that lies in the model folder.")
    ] = False,
) -> None:
    """Compress a model to a few bits per weight. A stopped run, even by SIGKILL, goes on where it was.

    Memory, disk and time are estimated first; prints the folder of the coded model.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressError(f"{out} exists and is not empty. Remedy: name another --out, or remove it first")
    from riverone_hf.additive.quantize import compress_folder

    overrides = {}
    for rule in override or []:
        pattern, colon, chosen = rule.rpartition(":")
        if not colon or not pattern.strip():
            raise CompressError(f"--override {rule!r}: expected 'pattern: scheme', e.g. 'k_proj|v_proj: 1x12g8'")
        overrides[pattern.strip()] = chosen.strip()
    folder = compress_folder(
        model,
        out,
        scheme,
        calibration,
        overrides=overrides,
        include=[part.strip() for part in include.split(",") if part.strip()],
        exclude=exclude,
        share=share,
        bits_budget=bits_budget,
        embeddings=embeddings,
        preset=preset,
        tune_steps=tune_steps,
        samples=samples,
        length=length,
        seed=seed,
        device=device,
        aqlm=aqlm,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(str(folder))
