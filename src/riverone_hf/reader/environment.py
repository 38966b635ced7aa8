"""What machine and which versions is this? Facts for bug reports; no tokens, no paths, no user names."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from riverone_hf import __version__

PACKAGES = (
    "torch",
    "transformers",
    "safetensors",
    "huggingface-hub",
    "tokenizers",
    "numpy",
    "pillow",
    "pydantic",
    "typer",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "matplotlib",
    "aqlm",
    "gradio",
)


def environment() -> dict[str, str]:
    """Ordered name -> value: our version, Python, platform, packages, cores, memory, device, Hub endpoint."""
    facts = {
        "riverone-hf": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    facts |= {name: _version(name) for name in PACKAGES}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["cores"] = str(cores)
    facts["memory"] = _memory()
    facts["device"] = _device()
    facts["HF_ENDPOINT"] = _endpoint(os.environ.get("HF_ENDPOINT"))
    facts["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE", "not set")
    return facts


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return "unknown"
    return f"{total / 1024**3:.1f} GB"


def _device() -> str:
    try:
        import torch
    except ImportError:
        return "unknown (torch is not installed)"
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.device_count()} x {torch.cuda.get_device_name(0)})"
    return "mps" if torch.backends.mps.is_available() else f"cpu ({torch.get_num_threads()} threads)"


def _endpoint(url: str | None) -> str:
    if not url:
        return "not set"
    parts = urlsplit(url)  # an endpoint may carry user:password@; only the host is told
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
