"""How is a figure opened safely? Every bad file is refused with one line before its pixels are decoded."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageOps, UnidentifiedImageError

from riverone_hf.errors import FigureError

FigureLike: TypeAlias = "str | PathLike[str] | bytes | Image.Image"

MAX_BYTES = 50 * 1024**2
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
MAX_ASPECT = 50
"""Longest side over shortest: beyond it nothing of a plot survives resizing."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError, struct.error)
"""What PIL raises for damaged files, depending on the format and the place of the damage."""

_VECTOR = {b"%PDF": "PDF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "EPS"}


def load_figure(figure: FigureLike) -> Image.Image:
    """Open a path, the bytes of an image file, or a PIL image as an upright RGB image (8 bit, at least 16 px a side).

    Transparent figures are composited on white, an animation gives its first frame, EXIF orientation is applied,
    16-bit grey is scaled to 8 bit.

    Raises:
        FigureError: missing, a folder, empty, corrupt, of an unsupported kind, larger than 50 MB or 40 megapixels
            (checked in the header, before decoding), smaller than 16 px a side, or not a figure at all.
    """
    if isinstance(figure, Image.Image):
        return _decode(figure, "the image")
    if isinstance(figure, bytes | bytearray | memoryview):
        return _open(bytes(figure), "the image bytes")
    if not isinstance(figure, str | PathLike):
        raise FigureError(f"a figure must be a path, bytes or a PIL image, got {type(figure).__name__}")
    path = Path(figure)
    return _open(_bytes_of(path), str(path))


def figures_in(folder: str | PathLike[str]) -> list[Path]:
    """The image files directly inside `folder`, sorted by name; hidden files are left out.

    Raises:
        FigureError: the folder cannot be listed or holds no image file.
    """
    root = Path(folder)
    try:
        found = sorted(
            p for p in root.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file() and not p.name.startswith(".")
        )
    except OSError as exc:
        raise FigureError(f"{root}: cannot list this folder ({exc.strerror or exc})") from None
    if not found:
        raise FigureError(f"{root}: no image file in this folder; expected one of {', '.join(EXTENSIONS)}")
    return found


def load_figures(figures: Iterable[FigureLike]) -> list[Image.Image]:
    """`load_figure` for each figure of one row, in order."""
    return [load_figure(figure) for figure in figures]


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise FigureError(f"{path}: is a folder, expected an image file")
        size = path.stat().st_size
        if not path.is_file():
            raise FigureError(f"{path}: is not a regular file, expected an image file")
        if size > MAX_BYTES:
            raise FigureError(
                f"{path}: {size / 1024**2:.0f} MB, expected at most {MAX_BYTES // 1024**2} MB; save it smaller"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise FigureError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the path
        raise FigureError(f"{path}: cannot be read ({getattr(exc, 'strerror', None) or exc})") from None


def _open(data: bytes, name: str) -> Image.Image:
    if not data:
        raise FigureError(f"{name}: the file is empty (0 bytes); export the figure again")
    if len(data) > MAX_BYTES:
        raise FigureError(f"{name}: {len(data) / 1024**2:.0f} MB, expected at most {MAX_BYTES // 1024**2} MB")
    vector = _vector_kind(data)
    if vector:
        raise FigureError(f"{name}: {vector} is a vector format and cannot be read; export the figure as PNG")
    with warnings.catch_warnings():
        # PIL warns about bombs and odd metadata; the checks here answer with our own error or not at all.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise FigureError(_too_many_pixels(name)) from None
        except UnidentifiedImageError:
            known = ", ".join(f.lower() for f in FORMATS)
            raise FigureError(
                f"{name}: not an image that can be read (expected {known}); export the figure as PNG"
            ) from None
        except DAMAGE as exc:
            raise FigureError(_damaged(name, exc)) from None
        return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise FigureError(_too_many_pixels(name, width, height))
    if min(width, height) < MIN_SIDE:
        raise FigureError(f"{name}: {width}x{height} px, expected at least {MIN_SIDE} px a side; export it larger")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise FigureError(f"{name}: {width}x{height} px is a strip, expected a plot; crop or export the figure again")
    try:
        if getattr(image, "is_animated", False):
            image.seek(0)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except DAMAGE as exc:
        raise FigureError(_damaged(name, exc)) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        low, high = image.convert("F").getextrema()  # 16-bit camera images use any part of their range
        scale = 255.0 / (high - low) if high > low else 0.0  # type: ignore[operator]
        grey = image.convert("F").point(lambda v: v * scale + (-low * scale))  # type: ignore[operator]
        return grey.convert("L").convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _vector_kind(data: bytes) -> str | None:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, kind in _VECTOR.items():
        if head.startswith(mark):
            return kind
    if head.startswith(b"<") and b"<svg" in data[:4096].lower():
        return "SVG"
    return None


def _too_many_pixels(name: str, width: int | None = None, height: int | None = None) -> str:
    size = f"{width}x{height} px" if width else "far too many pixels"
    return f"{name}: {size}, expected at most {MAX_PIXELS // 1_000_000} megapixels; export the figure smaller"


def _damaged(name: str, exc: BaseException) -> str:
    why = " ".join(str(exc).split())[:80] or type(exc).__name__
    return f"{name}: the image is corrupt or cut short ({why}); export the figure again"
