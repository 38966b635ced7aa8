"""Which model reads when none is named? The small one that ships inside the package, by the name `embedded`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from riverone_hf.errors import ModelFolderError

EMBEDDED = "embedded"


def embedded_model() -> Path:
    """Folder of the model that ships inside the installed package, or lies in the source checkout.

    Raises ModelFolderError when this copy of the package has none.
    """
    packaged = Path(str(resources.files("riverone_hf"))) / "_embedded"
    folder = packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / EMBEDDED
    if not (folder / "model.safetensors").is_file():
        raise ModelFolderError(
            "no model was named, and this copy of the package has none inside. Remedy: install it again, or "
            "`riverone build --recipe nano --out DIR` and name DIR"
        )
    return folder
