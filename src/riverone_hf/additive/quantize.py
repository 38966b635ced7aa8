"""How do I compress a model? `quantize` for a model in memory, `compress_folder` for one on disk."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import CompressError
from ..model.codes_riverone import AdditiveScheme
from .capture import Batch
from .export import code_in_place, copy_others, export_aqlm, fresh_folder, write_folder
from .preflight import check_disk, estimate
from .samples import load_calibration
from .shared import learn_shared_books
from .solve import code_linear
from .source import FolderModel, LoadedModel, model_class
from .survey import beside, plan_for_budget
from .targets import Plan, make_plan, not_linear
from .team import Team
from .walker import Coder, Say, Walker, fingerprint
from .workfolder import WorkFolder

SMALLEST = AdditiveScheme(1, 1, 1)
"""Fits every matrix; stands for the scheme while a budget has not been shared out yet."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def quantize(
    model: Any,
    scheme: AdditiveScheme | str,
    calibration: Sequence[Batch],
    *,
    bits_budget: float | None = None,
    overrides: Mapping[str, AdditiveScheme | str] | None = None,
    include: Iterable[str] = (),
    exclude: str | None = None,
    share: str | Mapping[str, str] | None = None,
    embeddings: str = "dense",
    preset: str = "default",
    tune_steps: int = 0,
    work: str | Path | None = None,
    held_out: int = 8,
    seed: int = 0,
    say: Say = _to_stderr,
    coder: Coder | None = None,
) -> list[dict[str, Any]]:
    """Code the Linears of a causal language model or vision-language model in place; `save_pretrained` then writes it.

    Args:
        scheme: of every Linear in the language model's blocks, e.g. "2x8g8".
        calibration: model inputs (see `load_calibration`), as dicts of tensors.
        bits_budget: mean bits per weight; replaces `scheme` by the best one for each Linear, measured first.
        overrides: regular expression over module names -> another scheme, or "none"; the first match wins.
        include: "vision", "projector": code these too.
        exclude: regular expression of names to leave as they are.
        share: regular expression: like-named Linears of all layers that match it have one set of codebooks. Or a name
            per set -> regular expression: all Linears that match have that one set.
        embeddings: "int8" stores word embeddings and head in 8 bits, a float16 scale per token; "dense" as they are.
        preset: "quick", "default" or "high".
        tune_steps: steps that tune codebooks and scales of each finished block on its output; 0 leaves it out.
        work: folder that keeps finished Linears; the same call goes on from there. Several processes need one that all
            of them see. Default: a temporary one, on the first process's machine.
        held_out: every so-many-th batch only measures the held-out error; 0 uses all for coding.
        say: is given one line of text per step.
        coder: codes one Linear; default `code_linear` with `preset`.

    Returns:
        One dict per coded Linear: name, scheme, size, error and held_out_error (relative, on the output), weight_error.

    Raises:
        CompressError: nothing to code, a scheme that does not fit, or a work folder of something else.
    """
    check_embeddings(model, embeddings)
    start = SMALLEST if bits_budget else scheme
    plan = make_plan(model, start, overrides=overrides, include=include, exclude=exclude)
    source = LoadedModel(model)
    team = Team()
    with tempfile.TemporaryDirectory(prefix="riverone-") as temporary:
        folder = Path(work) if work is not None else Path(team.agreed(temporary)) / "work"
        if bits_budget:
            plan = plan_for_budget(
                source, plan, calibration, beside(folder), bits_budget, seed=seed, say=say, team=team
            )
        plan = plan.sharing(share)
        joint = beside(folder, "shared")
        books = learn_shared_books(source, plan, calibration, joint, preset=preset, seed=seed, say=say, team=team)
        marks = fingerprint(source, plan, calibration, preset, held_out, seed, tune_steps)
        store = team.led(lambda: WorkFolder(folder, marks))
        engine = _coder(coder, preset)
        rows = _walk(source, plan, calibration, store, engine, held_out, seed, say, True, books, team, tune_steps)
        code_in_place(model, plan, store, embeddings)
        team.meet()  # all have read before anything is deleted
        for extra in (beside(folder), joint) if team.leads else ():
            shutil.rmtree(extra, ignore_errors=True)
    return rows


def compress_folder(
    model: str | Path,
    out: str | Path,
    scheme: AdditiveScheme | str,
    calibration: str | Path | Sequence[Batch],
    *,
    bits_budget: float | None = None,
    overrides: Mapping[str, AdditiveScheme | str] | None = None,
    include: Iterable[str] = (),
    exclude: str | None = None,
    share: str | Mapping[str, str] | None = None,
    embeddings: str = "dense",
    preset: str = "default",
    tune_steps: int = 0,
    samples: int = 128,
    length: int = 1024,
    held_out: int = 8,
    seed: int = 0,
    device: str = "auto",
    aqlm: bool = False,
    trust_remote_code: bool = False,
    say: Say = _to_stderr,
    coder: Coder | None = None,
) -> Path:
    """Code a saved model into the new folder `out`, with one block in memory at a time; returns `out`.

    Work in progress lies in `<out>.work`: run the same call again after a kill and it goes on, with the same result.

    Args:
        model: folder or Hub id of a causal language model or vision-language model in safetensors.
        calibration: see `load_calibration`, or ready batches.
        samples, length: rows and tokens per row of the calibration data.
        aqlm: write the stock `aqlm` format instead of ours.

    The others are those of `quantize`. Raises `CompressError` with the remedy.
    """
    folder, out = _local(str(model)), Path(out).absolute()
    where = _device(device)
    dtype = torch.float32 if where.type == "cpu" else torch.bfloat16
    team = Team()
    if team.leads:
        shutil.rmtree(fresh_folder(out))
    source: Any = FolderModel(folder, dtype, where, trust_remote_code)
    if isinstance(calibration, (str, Path)):
        calibration = load_calibration(calibration, _processor(folder, trust_remote_code), samples, length)
    if whole := not source.readable():
        say(f"{folder}: its tensors must be converted on loading, so the whole model is held in memory")
        auto, _ = model_class(folder, trust_remote_code)
        loaded = auto.from_pretrained(folder, dtype=dtype, trust_remote_code=trust_remote_code)
        source = LoadedModel(loaded.to(where))
    check_embeddings(source.model, embeddings)
    start = SMALLEST if bits_budget else scheme
    plan = make_plan(source.model, start, overrides=overrides, include=include, exclude=exclude)
    work = out.with_name(out.name + ".work")
    if aqlm and (bits_budget or share or embeddings != "dense" or len({t.scheme for t in plan.targets}) > 1):
        raise CompressError(
            "an aqlm checkpoint has one scheme and no shared codebooks, dense embeddings. Remedy: one --scheme alone"
        )
    if bits_budget:
        plan = plan_for_budget(source, plan, calibration, beside(work), bits_budget, seed=seed, say=say, team=team)
    plan, joint = plan.sharing(share), beside(work, "shared")
    books = learn_shared_books(source, plan, calibration, joint, preset=preset, seed=seed, say=say, team=team)
    marks = fingerprint(source, plan, calibration, preset, held_out, seed, tune_steps)
    store = team.led(lambda: WorkFolder(work, marks))
    rows = _walk(
        source, plan, calibration, store, _coder(coder, preset), held_out, seed, say, whole, books, team, tune_steps
    )
    if team.leads:
        report = {"scheme": str(scheme), "preset": preset, "embeddings": embeddings, "rows": rows}
        target = out if not aqlm else out.with_name(out.name + ".coded")
        shutil.rmtree(target, ignore_errors=True)
        if whole:
            code_in_place(source.model, plan, store, embeddings)
            _save_whole(source.model, folder, target, report)
        else:
            write_folder(source, plan, store, target, report, embeddings)
        if aqlm:
            export_aqlm(target, out)
            shutil.rmtree(target)
        for extra in (beside(work), joint):
            shutil.rmtree(extra, ignore_errors=True)
        shutil.rmtree(work)
    team.meet()
    return out


def _walk(
    source: Any,
    plan: Plan,
    batches: Sequence[Batch],
    store: WorkFolder,
    coder: Coder,
    held_out: int,
    seed: int,
    say: Say,
    whole: bool,
    books: Mapping[str, torch.Tensor],
    team: Team | None,
    tune_steps: int,
) -> list[dict[str, Any]]:
    if not batches:
        raise CompressError("got no calibration batch")
    todo = [target for target in plan.targets if not store.has_layer(target.name)]
    if todo:
        needs = estimate(source.model, plan, list(batches), coder, whole=whole)
        say(f"before the start: {needs}")
        if kept := not_linear(source.model, plan):
            say(f"no Linear, left as they are: {sum(kept.values()) / 1e6:.1f} M weights of {next(iter(kept))} and like")
        check_disk(store.path, needs.disk)
    if len(todo) < len(plan.targets):
        say(f"going on: {len(plan.targets) - len(todo)} of {len(plan.targets)} Linears are finished")
    walker = Walker(
        source,
        plan,
        batches,
        store,
        coder,
        held_out=held_out,
        seed=seed,
        say=say,
        team=team,
        books=books,
        tune_steps=tune_steps,
    )
    return walker.run()


def check_embeddings(model: Any, embeddings: str) -> None:
    """Raises `CompressError` for an unknown choice, or embeddings that cannot be stored in 8 bits."""
    if embeddings not in ("dense", "int8"):
        raise CompressError(f"got embeddings {embeddings!r}, expected dense or int8")
    table = model.get_input_embeddings()
    if embeddings == "int8" and type(table) is not torch.nn.Embedding:
        raise CompressError(
            f"8-bit embeddings need a plain Embedding, got a {type(table).__name__}. Remedy: --embeddings dense"
        )


def _coder(coder: Coder | None, preset: str) -> Coder:
    return coder or functools.partial(code_linear, preset=preset)


def _save_whole(model: Any, folder: Path, out: Path, report: Any) -> None:
    fresh = fresh_folder(out)
    copy_others(folder, fresh)
    model.save_pretrained(fresh)
    (fresh / "compression.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    fresh.replace(out)


def _local(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.py", "LICENSE*"]
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds; all mean that there is no such model to be had
        line = " ".join(str(error).split())[:160]
        raise CompressError(f"{model}: no such folder, and the Hub does not give it ({line})") from None


def _processor(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoProcessor, AutoTokenizer

    try:
        return AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        pass
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise CompressError(
            f"{folder}: no tokenizer ({' '.join(str(error).split())[:120]}). Remedy: save it beside the model"
        ) from None


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise CompressError(f"device {name!r} cannot be used. Remedy: --device cpu") from None
