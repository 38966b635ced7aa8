"""Which colour does a value get? Nine-point colour maps, interpolated to 256 entries; no matplotlib needed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ANCHORS: dict[str, str] = {
    "viridis": "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
    "plasma": "0d0887 4c02a1 7e03a8 aa2395 cc4778 e66c5c f89540 fdc527 f0f921",
    "inferno": "000004 210c4a 57106e 8a226a bc3754 e45a31 f98e09 f9cb35 fcffa4",
    "magma": "000004 1d1147 51127c 832681 b73779 e75263 fc8961 fec488 fcfdbf",
    "cividis": "00224e 1a386f 434e6c 61656f 7d7c78 9b9476 bcae6c dec958 fee838",
    "Greens": "f7fcf5 e5f5e0 c7e9c0 a0d99b 73c476 40aa5d 228a44 006c2c 00441b",
    "Greens_r": "00441b 006d2c 238b45 42ab5d 75c477 a2d99c c8e9c1 e5f5e1 f7fcf5",
    "Blues": "f7fbff deebf7 c6dbef 9dcae1 6aaed6 4191c6 2070b4 08509b 08306b",
    "Blues_r": "08306b 08519c 2171b5 4292c6 6caed6 9fcae1 c7dbef dfebf7 f7fbff",
    "RdBu": "67001f bb2a34 e58368 fbceb7 f6f7f7 c0dceb 68abd0 2870b1 053061",
    "RdBu_r": "053061 2a71b2 6bacd1 c2ddec f7f6f6 fbccb4 e48066 ba2832 67001f",
    "coolwarm": "3b4cc0 6282ea 8db0fe b9d0f9 dddcdc f5c4ac f4987a dd5f4b b40426",
    "gray": "000000 202020 404040 606060 808080 a0a0a0 c0c0c0 e0e0e0 ffffff",
    "jet": "000080 0000ff 0080ff 16ffe1 7dff7a e4ff13 ff9400 ff1e00 800000",
}
NAMES = tuple(_ANCHORS)


@lru_cache(maxsize=32)
def table(name: str) -> np.ndarray:
    """Colours (256, 3) uint8 of the map `name`; an unknown name falls back to viridis."""
    words = _ANCHORS.get(name, _ANCHORS["viridis"]).split()
    anchors = np.array([[int(w[i : i + 2], 16) for i in (0, 2, 4)] for w in words], dtype=float)
    position = np.linspace(0, 1, len(anchors))
    grid = np.linspace(0, 1, 256)
    columns = [np.interp(grid, position, anchors[:, i]) for i in range(3)]
    return np.stack(columns, axis=1).round().astype(np.uint8)


def levels(values: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """`values` (h, w) as entries of a colour table, uint8: `limits` (None: smallest and largest) become 0 and 255."""
    values = np.asarray(values)
    low, high = limits or (float(values.min()), float(values.max()))
    if not high > low:
        return np.full(values.shape, 128, dtype=np.uint8)
    scaled = (values - low) * (255 / (high - low)) + 0.5
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def paint(values: np.ndarray, name: str) -> np.ndarray:
    """`values` (h, w) scaled to their range and coloured: (h, w, 3) uint8."""
    return table(name)[levels(np.asarray(values, dtype=float))]
