"""Is this image from elsewhere usable? Bytes of an RGB image of bounded size, or the reason why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import RiverOneError
from .plan import MAX_PIXELS
from .source import Origin

SMALLEST = 28
"""Pixels: a side below this shows nothing that can be asked about."""
LARGEST = 50_000_000
"""Pixels: what claims more is not decoded."""


class Reject(RiverOneError):
    """A row is left out; `reason` is the word under which it is counted."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def clean_image(value: Any, origin: Origin) -> dict[str, Any]:
    """{bytes, path} of an image column's value: {bytes, path}, bytes, or the name of a file of `origin`.

    An RGB PNG or JPEG of at most `plan.MAX_PIXELS` stays as it is; others are composed on white, drawn smaller and
    written as PNG. Raises Reject (no_image, broken_image, tiny_image, huge_image).
    """
    data = _bytes(value, origin)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > LARGEST:
                raise Reject("huge_image")
            image.load()
    except Image.DecompressionBombError:
        raise Reject("huge_image") from None
    except (OSError, SyntaxError, ValueError, EOFError):
        raise Reject("broken_image") from None
    if min(image.size) < SMALLEST:
        raise Reject("tiny_image")
    plain = image.format in ("PNG", "JPEG") and image.mode == "RGB" and not image.has_transparency_data
    if plain and image.width * image.height <= MAX_PIXELS and not image.getexif().get(0x0112):
        return {"bytes": data, "path": f"image.{'png' if image.format == 'PNG' else 'jpg'}"}
    scale = min(1.0, (MAX_PIXELS / (image.width * image.height)) ** 0.5)
    rgba = image.convert("RGBA")
    drawn = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if scale < 1:
        drawn = drawn.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    drawn.save(stream, "PNG", compress_level=6)
    return {"bytes": stream.getvalue(), "path": "image.png"}


def _bytes(value: Any, origin: Origin) -> bytes:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray) and value:
        return bytes(value)
    path: Path | None = origin.find_image(value) if isinstance(value, str) else None
    if path is None:
        raise Reject("no_image")
    return path.read_bytes()
