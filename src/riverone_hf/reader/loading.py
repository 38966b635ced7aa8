"""Is this folder a whole RiverONE model? Checks first, then loading; each fault is one line with its remedy.

Our own classes are used for the `riverone` model type, so no code from the folder is ever executed, and only
safetensors weights are read.
"""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any

from riverone_hf.errors import ModelFolderError
from riverone_hf.reader.embedded import EMBEDDED, embedded_model

MODEL_TYPE = "riverone"
REMEDY = "Remedy: build a model with `riverone build --recipe nano --out DIR` and name DIR"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NEEDED_FOR_TEXT = ("tokenizer.json", "tokenizer_config.json")
_NEEDED_FOR_IMAGES = (("preprocessor_config.json", "processor_config.json"),)
_DOWNLOAD = ["*.json", "*.safetensors", "*.jinja", "*.txt"]


def resolve(model: str | PathLike[str], revision: str | None = None) -> tuple[Path, str | None]:
    """(local folder, commit) of a model folder, a Hub id or `embedded`; a Hub model is downloaded (never its code).

    Raises:
        ModelFolderError: there is no such folder, and the name is no Hub id or the Hub does not give it.
    """
    if str(model) == EMBEDDED:
        return embedded_model(), None
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, revision
    if folder.exists():
        raise ModelFolderError(f"{folder}: is a file, expected a model folder. {REMEDY}")
    if not _HUB_ID.fullmatch(str(model)) or str(model).startswith("."):
        raise ModelFolderError(f"{folder}: no such model folder. {REMEDY}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        local = snapshot_download(str(model), revision=revision, allow_patterns=_DOWNLOAD)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as exc:
        raise ModelFolderError(
            f"{model}: no such folder here, and the Hub does not give it ({_line(exc)}). Remedy: check the name, "
            "your connection and, for a private model, your token"
        ) from None
    return Path(local), Path(local).name


def check_folder(folder: Path) -> dict[str, Any]:
    """The parsed config.json of a model folder whose files are all there and whole.

    Raises:
        ModelFolderError: config, weights, tokenizer or processor missing, cut short, or of another model type.
    """
    config = _read_json(folder / "config.json", f"{folder}: no config.json, so this is not a model folder. {REMEDY}")
    got = config.get("model_type")
    if got != MODEL_TYPE:
        raise ModelFolderError(f"{folder}: model_type is {got!r}, expected {MODEL_TYPE!r}. {REMEDY}")
    for path in _weight_files(folder):
        _check_weights(path)
    missing = [name for name in _NEEDED_FOR_TEXT if not (folder / name).is_file()]
    missing += [" or ".join(names) for names in _NEEDED_FOR_IMAGES if not any((folder / n).is_file() for n in names)]
    if missing:
        raise ModelFolderError(
            f"{folder}: missing {', '.join(missing)}. Remedy: save the processor there too "
            "(processor.save_pretrained(DIR)), or build again"
        )
    return config


def load_model(
    model: str | PathLike[str],
    revision: str | None = None,
    device: str = "auto",
    dtype: Any = None,
) -> tuple[Any, Any]:
    """(model in eval mode on `device`, processor) of a model folder or a Hub id.

    Args:
        device: `auto` takes cuda, then mps, then cpu.
        dtype: a torch dtype; None takes bfloat16 on cuda and float32 elsewhere.

    Raises:
        ModelFolderError: see `resolve` and `check_folder`; also weights that do not match the config exactly, or a
            device that is not there.
    """
    import torch
    from transformers.utils import logging

    folder, _ = resolve(model, revision)
    check_folder(folder)
    where = pick_device(device)
    dtype = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    from riverone_hf.model import RiverOneForConditionalGeneration, RiverOneProcessor

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # the library's own load report is many lines; ours is one
    logging.disable_progress_bar()
    try:
        result: Any = RiverOneForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=dtype
        )
        loaded, info = result
        processor: Any = RiverOneProcessor.from_pretrained(folder)
    except ModelFolderError:
        raise
    except Exception as exc:  # transformers raises many kinds for a damaged folder; all mean the same to the user
        raise ModelFolderError(f"{folder}: cannot be loaded ({_line(exc)}). {REMEDY}") from exc
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    _check_keys(folder, info)
    _check_vocabulary(folder, loaded, processor)
    return loaded.to(where).eval(), processor


def pick_device(device: str) -> Any:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; raises ModelFolderError when it is not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(1, device=where)
    except (RuntimeError, AssertionError) as exc:
        raise ModelFolderError(f"device {device!r} cannot be used ({_line(exc)}). Remedy: --device cpu") from None
    return where


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = _read_json(index, "").get("weight_map")
        names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            lost = f"{len(missing)} of {len(names)} weight files are missing ({', '.join(missing[:2])})"
            raise ModelFolderError(f"{folder}: {lost}. Remedy: copy or download the folder again")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    pickled = next((p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern)), None)
    also = f" ({pickled} is a pickle and is never loaded)" if pickled else ""
    raise ModelFolderError(f"{folder}: no model.safetensors{also}. Remedy: copy the weights too, or build again")


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:  # reads the header and compares it with the file's size
            if not list(tensors.keys()):
                raise ModelFolderError(f"{path}: holds no weights. Remedy: copy the file again, or build again")
    except (SafetensorError, OSError) as exc:
        raise ModelFolderError(
            f"{path}: corrupt or cut short ({_line(exc)}). Remedy: copy or download the file again, or build again"
        ) from None


def _check_keys(folder: Path, info: dict[str, Any]) -> None:
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(map(str, info.get(kind) or ()))
        if keys:
            what = f"{len(keys)} {kind.removesuffix('_keys')} weight{'s' if len(keys) > 1 else ''}"
            raise ModelFolderError(
                f"{folder}: the weights do not match config.json: {what} (first: {keys[0]}). "
                "Remedy: use the config.json that was saved with these weights, or build again"
            )


def _check_vocabulary(folder: Path, model: Any, processor: Any) -> None:
    size, tokens = model.config.get_text_config().vocab_size, len(processor.tokenizer)
    image_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    if tokens > size or image_id != model.config.image_token_id:
        raise ModelFolderError(
            f"{folder}: the tokenizer ({tokens} tokens, image token {image_id}) does not belong to the model "
            f"({size} tokens, image token {model.config.image_token_id}). Remedy: save both from the same build"
        )


def _read_json(path: Path, missing: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(missing) from None
    except (OSError, ValueError) as exc:
        raise ModelFolderError(f"{path}: not readable JSON ({_line(exc)}). Remedy: copy the file again") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: expected a JSON object. Remedy: copy the file again")
    return value


def _line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return (text if len(text) <= 160 else f"{text[:157]}...") or type(exc).__name__
