"""How is a coded model written? Our own checkpoint, block by block, or one that stock transformers + aqlm load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..errors import CompressError
from ..model.codes_riverone import AdditiveScheme, unpack_codes
from ..model.int8_riverone import Int8Embedding, int8_tables, replace_by_int8
from ..model.quantization_riverone import METHOD, SHARED, AdditiveConfig, linear_size, replace_linears, shared_key
from .source import FolderModel, model_class, skeleton, stored_tensors
from .targets import Plan
from .workfolder import WorkFolder

SHARD = 1_000_000_000
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf")

Tensors = Iterable[tuple[str, torch.Tensor]]


def coded_config(plan: Plan, embeddings: str = "dense") -> AdditiveConfig:
    """The quantization config of a plan; `embeddings` as there."""
    return AdditiveConfig(
        {target.name: str(target.scheme) for target in plan.targets},
        {target.name: target.shared for target in plan.targets if target.shared},
        embeddings,
    )


@torch.no_grad()
def code_in_place(model: Any, plan: Plan, work: WorkFolder, embeddings: str = "dense") -> None:
    """Replace the Linears of a model in memory by coded layers that hold the finished codes, and its embeddings."""
    config = coded_config(plan, embeddings)
    replace_linears(model, config)
    if embeddings == "int8":
        _int8_in_place(model)
    for target in plan.targets:
        layer: Any = model.get_submodule(target.name)
        (codes, codebooks, scales), _ = work.load_layer(target.name)
        layer.set_code(codes, codebooks, scales)
        layer.densify()
    model.config.quantization_config = config


def _int8_in_place(model: Any) -> None:
    """Round embeddings and head to 8 bits."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    replace_by_int8(model)
    model.get_input_embeddings().set_weight(embedding.weight)
    if head is not None and (new := model.get_output_embeddings()).source is not model.get_input_embeddings():
        new.source.set_weight(head.weight)
    for table in int8_tables(model).values():
        table.densify()


def write_folder(
    source: FolderModel, plan: Plan, work: WorkFolder, out: Path, report: Any = None, embeddings: str = "dense"
) -> None:
    """Write the coded checkpoint of a model folder, one shard in memory at a time; `out` appears when it is complete.

    Files that are not weights (tokenizer, processor, licence, remote code) are copied.
    """
    fresh = fresh_folder(out)
    copy_others(source.folder, fresh)
    _write_config(source, coded_config(plan, embeddings), fresh)
    coded = {target.name: target for target in plan.targets}
    tables = _int8_names(source) if embeddings == "int8" else {}

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, path in source.files.items():
            module, _, leaf = name.rpartition(".")
            if leaf == "weight" and module in coded:
                continue
            if name in source.tied and source.tied[name] in source.files:
                continue  # the same numbers twice
            with safe_open(path, "pt") as file:
                tensor = file.get_tensor(name)
            if name in tables:
                rows, width = tensor.shape
                table = Int8Embedding(rows, width, dtype=tensor.dtype)
                table.set_weight(tensor)
                for leaf, part in table.state_dict().items():
                    yield f"{tables[name]}.{leaf}", part
            else:
                yield name, tensor
        shared: set[str] = set()
        for target in plan.targets:
            with safe_open(work.layer_path(target.name), "pt") as file:
                yield f"{target.name}.codes", file.get_tensor("codes")
                yield f"{target.name}.scales", file.get_tensor("scales")
                if target.shared is None:
                    yield f"{target.name}.codebooks", file.get_tensor("codebooks")
                elif target.shared not in shared:
                    shared.add(target.shared)
                    yield f"{SHARED}.{shared_key(target.shared)}", file.get_tensor("codebooks")

    write_shards(fresh, tensors())
    if report is not None:
        (fresh / "compression.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    fresh.replace(out)


def _int8_names(source: FolderModel) -> dict[str, str]:
    """Stored weight of the embeddings and of a head of its own -> the 8-bit module that takes it."""
    model = source.model
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {module: name for name, module in model.named_modules()}
    tied = head is not None and f"{names[head]}.weight" in source.tied
    found = {f"{names[embedding]}.weight": names[embedding]}
    if head is not None:
        # A tied weight may be stored under either name.
        found[f"{names[head]}.weight"] = names[embedding] if tied else f"{names[head]}.table"
    return found


def export_aqlm(folder: Path, out: Path) -> None:
    """Convert a coded checkpoint to the `aqlm` format, which transformers + aqlm load without our package.

    Raises:
        CompressError: the folder is not coded, mixes schemes, shares codebooks, or holds a model that only our package
            knows.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    coding = config.get("quantization_config") or {}
    if coding.get("quant_method") != METHOD:
        raise CompressError(f"{folder}: quant_method is {coding.get('quant_method')!r}, expected {METHOD!r}")
    if coding.get("embeddings", "dense") != "dense":
        raise CompressError(f"{folder} has 8-bit embeddings, which aqlm does not know. Remedy: code it without them")
    schemes = sorted(set(coding["modules"].values()))
    if len(schemes) != 1 or coding.get("shared"):
        what = "shares codebooks" if coding.get("shared") else f"mixes the schemes {', '.join(schemes)}"
        raise CompressError(f"{folder} {what}; an aqlm checkpoint has one scheme. Remedy: code it without overrides")
    scheme = AdditiveScheme.parse(schemes[0])
    auto, plain_config = model_class(folder, coded=True)
    if config.get("auto_map"):
        raise CompressError(
            f"{folder} needs its own code to load, so a stock checkpoint would not. Remedy: none needed"
        )
    model = skeleton(auto, plain_config, torch.float32)
    sizes = {name: size for name, module in model.named_modules() if (size := linear_size(module))}
    config["quantization_config"] = {
        "quant_method": "aqlm",
        "in_group_size": scheme.in_group_size,
        "out_group_size": scheme.out_group_size,
        "num_codebooks": scheme.num_codebooks,
        "nbits_per_codebook": scheme.nbits_per_codebook,
        # Module names from the root: other forms load random layers without a word.
        "linear_weights_not_to_quantize": [name for name in sizes if name not in coding["modules"]],
    }
    fresh = fresh_folder(out)
    copy_others(folder, fresh)
    (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for name, path in stored_tensors(folder).items():
            module, _, leaf = name.rpartition(".")
            with safe_open(path, "pt") as file:
                tensor = file.get_tensor(name)
            if module in coding["modules"] and leaf == "codes":
                shape = scheme.codes_shape(*sizes[module])
                tensor = signed_codes(unpack_codes(tensor, scheme.nbits_per_codebook, shape), scheme)
            yield name, tensor

    write_shards(fresh, tensors())
    fresh.replace(out)


def signed_codes(codes: torch.Tensor, scheme: AdditiveScheme) -> torch.Tensor:
    """Codes as aqlm stores them: int8 or int16, upper half wrapped to negative numbers."""
    size = 2**scheme.nbits_per_codebook
    wrapped = torch.where(codes >= size // 2, codes - size, codes)
    return wrapped.to(torch.int8 if scheme.nbits_per_codebook <= 8 else torch.int16)


def fresh_folder(out: Path) -> Path:
    """An empty folder beside `out`, to be renamed to it. Raises `CompressError` when `out` holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressError(f"{out} exists and is not empty. Remedy: name another folder, or remove it first")
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def copy_others(folder: Path, out: Path) -> None:
    """Copy tokenizer, processor, licence and remote code; no weights, and no card (its numbers are not ours)."""
    for path in sorted(folder.iterdir()):
        skip = path.suffix in _WEIGHTS or path.name in ("config.json", "model.safetensors.index.json", "README.md")
        if path.is_file() and not skip and not path.name.startswith("."):
            shutil.copyfile(path, out / path.name)


def write_shards(folder: Path, tensors: Tensors, limit: int = SHARD) -> None:
    """Write tensors as safetensors of about `limit` bytes with their index, holding one shard at a time."""
    files: list[Path] = []
    weight_map: dict[str, int] = {}
    shard: dict[str, torch.Tensor] = {}
    held = total = 0

    def flush() -> None:
        files.append(folder / f"shard-{len(files)}")
        save_file(shard, files[-1], {"format": "pt"})
        shard.clear()

    for name, tensor in tensors:
        if shard and held + tensor.nbytes > limit:
            flush()
            held = 0
        shard[name], weight_map[name] = tensor.contiguous(), len(files)
        held, total = held + tensor.nbytes, total + tensor.nbytes
    flush()
    if len(files) == 1:
        files[0].rename(folder / "model.safetensors")
        return
    names = [f"model-{i + 1:05d}-of-{len(files):05d}.safetensors" for i in range(len(files))]
    for path, name in zip(files, names):
        path.rename(folder / name)
    index = {"metadata": {"total_size": total}, "weight_map": {k: names[i] for k, i in weight_map.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _write_config(source: FolderModel, coding: AdditiveConfig, out: Path) -> None:
    """Write the source's config.json with the coding added; our own models get today's code files, which know it."""
    from transformers.dynamic_module_utils import custom_object_save

    if getattr(source.model, "_auto_class", None) is not None:
        custom_object_save(source.model, out)
    # Not from the config object: that one was loaded in the dtype of the computation.
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = coding.to_dict()
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
