"""How does a label become pixels? Fonts, measures and cached coverage masks of the fast renderer."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FILES = {"sans": "DejaVuSans.ttf", "serif": "DejaVuSerif.ttf"}
# Pillow's built-in font has no such glyphs; without matplotlib's fonts they are written in plain letters.
_PLAIN = str.maketrans(
    {"⟨": "<", "⟩": ">", "−": "-", "μ": "u", "µ": "u", "±": "+/-", "π": "pi", "Ω": "Omega", "α": "alpha", "β": "beta"}
    | {"χ": "chi", "φ": "phi", "Δ": "d", "σ": "sigma", "₀": "0", "₁": "1", "₂": "2", "²": "2", "|": "|", "→": "->"}
)


@lru_cache(maxsize=1)
def _font_folder() -> Path | None:
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return folder if folder.is_dir() else None


@lru_cache(maxsize=512)
def _font(family: str, size: float) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, bool]:
    """(font, whether it has the special glyphs)."""
    folder = _font_folder()
    if folder is not None and family in _FILES and (folder / _FILES[family]).is_file():
        return ImageFont.truetype(str(folder / _FILES[family]), size), True
    return ImageFont.load_default(size), False


@lru_cache(maxsize=6000)
def _glyph(letter: str, size: float, family: str) -> tuple[np.ndarray, float]:
    """(coverage (h, w) float32 of one letter in a line of text, advance in pixels); one pixel of room on each side."""
    font, _ = _font(family, size)
    advance = float(font.getlength(letter))
    image = Image.new("L", (int(np.ceil(advance)) + 2, line_pitch(size)))
    # The baseline at 0.93 of the size: digits are then centred in the line, whatever the letters around them.
    ImageDraw.Draw(image).text((1, round(0.93 * size)), letter, fill=255, font=font, anchor="ls")
    return np.asarray(image, dtype=np.float32) / 255.0, advance


def line_pitch(size: float) -> int:
    """Height of a line of text in pixels."""
    return max(1, round(1.2 * size))


def _lines(text: str, size: float, family: str) -> tuple[list[str], float, str]:
    """Lines as they can be written, the size rounded to half pixels (so that caches are hit), the family used."""
    if family == "plain" and not text.isascii():
        family = "sans"
    size = max(2.0, round(2 * size) / 2)
    if not _font(family, size)[1] and not text.isascii():
        text = text.translate(_PLAIN)
    return text.split("\n"), size, family


def text_mask(text: str, size: float, family: str, rotated: bool = False, align: str = "center") -> np.ndarray:
    """Coverage (h, w) float32 in 0..1 of `text` (newlines allowed) at `size` pixels; rotated: read upwards.

    Put together from cached letters: titles are new in every figure, letters are not. Kerning is left out.
    """
    lines, size, family = _lines(text, size, family)
    pitch = line_pitch(size)
    width, height = text_size(text, size, family)
    mask = np.zeros((max(1, height), max(1, width) + 2), dtype=np.float32)
    for i, line in enumerate(lines):
        glyphs = [_glyph(letter, size, family) for letter in line]
        pen = 0.0 if align == "left" else (width - sum(advance for _, advance in glyphs)) / 2
        rows = mask[pitch * i : pitch * (i + 1)]
        for picture, advance in glyphs:
            left = max(0, round(pen))
            place = rows[:, left : left + picture.shape[1]]
            np.maximum(place, picture[: place.shape[0], : place.shape[1]], out=place)
            pen += advance
    mask = mask[:, 1:-1]
    return np.ascontiguousarray(np.rot90(mask)) if rotated else mask


@lru_cache(maxsize=8192)
def text_size(text: str, size: float, family: str) -> tuple[int, int]:
    """Width and height of `text` in pixels, (0, 0) for an empty one."""
    if not text.strip():
        return 0, 0
    lines, size, family = _lines(text, size, family)
    widths = [sum(_glyph(letter, size, family)[1] for letter in line) for line in lines]
    return int(np.ceil(max(widths))), line_pitch(size) * len(lines)
