"""Is this figure one of the benchmark's? Found again after re-encoding, resizing, padding or cropping.

A difference hash (`audit_pixels`) is not enough here: cropping moves all its cells, and two plots of one script share
axes, labels and frame. So hashes of tiny images over a grid of crops only nominate candidates; each is then laid over
the figure (which crop of it?) and compared block by block. In the same figure even the worst blocks agree; in another
plot of the same kind the frame agrees and the data do not.

How `SAME` was chosen, on simulated plots of all 22 families. Of 40 figures scored 0.55 or more: JPEG of quality 40
98 %, half size 95 %, a third of the size 92 %, 3 % cut off each side 92 %, 2 to 7 % off each side (labels too) 88 %.
Of 900 plots against 365 images of other plots, 13 scored above 0.3 with a coarser version of this score; with this one
three of them score above 0.6 (0.90 and 0.83 of tweezer arrays, whose lattices are alike, 0.68 of a nearly blank camera
image). Plots of one fixed script with the same curve and new noise score 0.0 to 0.63.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from .audit_pixels import pixel_digest

SAME = 0.6
"""Score from which on two figures are called the same."""
SIDE, MIDDLE, COARSE, TINY = 256, 128, 64, 16
BLOCK = 32
WORST = 0.1
"""Share of the blocks, those that agree least, that decides: frame and labels agree in any plot of one script."""
FLAT_STD = 0.012
"""Blocks of less spread (of 1) in both figures say nothing; it is that of camera noise at `SIDE`."""
MIN_BLOCKS = 4
CROPS = (0.0, 0.06, 0.12)
"""Shares cut off a side, of which all combinations are hashed."""
MOST_CUT = 0.16
CANDIDATES = 3
NOMINATED, ALIGNED = 0.5, 0.7
"""Least correlation of the tiny images, and of the aligned coarse ones, for a closer look."""


@dataclass(frozen=True)
class Match:
    """The benchmark image `name` in a row's image `number`; `score` -1..1, 1 for identical pixels."""

    name: str
    number: int
    score: float


@dataclass(frozen=True)
class _Look:
    """One figure, softened (256, 256), (128, 128) and (64, 64) float32 in 0..1, and as a unit vector (256,)."""

    fine: np.ndarray
    middle: np.ndarray
    coarse: np.ndarray
    tiny: np.ndarray

    @classmethod
    def at(cls, image: Image.Image) -> _Look:
        fine = canonical(image)
        coarse = _means(fine, COARSE)
        return cls(_soft(fine), _means(fine, MIDDLE), coarse, _unit(_means(coarse, TINY).reshape(-1)))


class ImageIndex:
    """The images of a benchmark, (name, image) each, ready to be searched. Images without content are left out."""

    def __init__(self, images: Iterable[tuple[str, Image.Image]]):
        self.names: list[str] = []
        self._looks: list[_Look] = []
        self._known: dict[str, tuple[str, float] | None] = {}
        hashes = []
        for name, image in images:
            look = _Look.at(image)
            if _informative(look.fine).sum() < MIN_BLOCKS:
                continue
            self.names.append(name)
            self._looks.append(look)
            self._known.setdefault(pixel_digest(image), (name, 1.0))
            hashes.append(np.stack([_unit(crop.reshape(-1)) for crop in _tiny_crops(look.coarse)]))
        self._hashes = np.concatenate(hashes) if hashes else np.zeros((0, TINY * TINY), np.float32)
        self._per_image = len(hashes[0]) if hashes else 1

    def __len__(self) -> int:
        return len(self.names)

    def match(self, images: Sequence[Image.Image]) -> list[Match]:
        """The benchmark images among the images of one row, best first."""
        found = [(number, self._search(image)) for number, image in enumerate(images)]
        matches = [Match(best[0], number, best[1]) for number, best in found if best]
        return sorted(matches, key=lambda match: -match.score)

    def _search(self, image: Image.Image) -> tuple[str, float] | None:
        if not self.names:
            return None
        digest = pixel_digest(image)
        if digest not in self._known:  # a data set shows the same image in several tables
            self._known[digest] = self._best(_Look.at(image))
        return self._known[digest]

    def _best(self, look: _Look) -> tuple[str, float] | None:
        likeness = (self._hashes @ look.tiny).reshape(-1, self._per_image).max(axis=1)
        best: tuple[str, float] | None = None
        for at in np.argsort(-likeness)[:CANDIDATES]:
            if likeness[at] < NOMINATED:
                break
            score = same_figure(look, self._looks[at])
            if score >= SAME and (best is None or score > best[1]):
                best = self.names[at], round(score, 3)
        return best


def canonical(image: Image.Image) -> np.ndarray:
    """(256, 256) float32: how far each pixel's brightness is from the background's, plain borders cut off."""
    gray = np.asarray(image.convert("L"), dtype=np.int16)
    for turned in (False, True, False, True):
        lines = gray.T if turned else gray
        low, high = np.quantile(lines, (0.01, 0.99), axis=1)
        kept = np.flatnonzero(high - low >= 24)  # a line of one colour, but for 2 % of its pixels, is border
        if len(kept) < 16:
            break
        lines = lines[kept[0] : kept[-1] + 1]
        gray = lines.T if turned else lines
    shades = np.bincount((gray // 8).ravel(), minlength=32)
    background = np.median(gray[gray // 8 == shades.argmax()])
    distance = np.abs(gray - background).astype(np.float32) / 255
    return np.asarray(Image.fromarray(distance).resize((SIDE, SIDE), Image.Resampling.BOX))


def same_figure(look: _Look, reference: _Look) -> float:
    """Mean correlation of the worst tenth of the informative blocks, with `reference` cropped like `look`."""
    edges = _aligned(look.coarse, reference.coarse, _start(look.coarse, reference.coarse), (2.0, 1.0, 0.5))
    if _likeness(look.coarse, _crop(reference.coarse, edges)) < ALIGNED:
        return -1.0
    edges = _aligned(look.middle, reference.middle, tuple(edge * MIDDLE / COARSE for edge in edges), (1.0, 0.5))
    a, b = look.fine, _crop(reference.fine, tuple(edge * SIDE / MIDDLE for edge in edges))
    telling = _informative(a) | _informative(b)
    if telling.sum() < MIN_BLOCKS:
        return -1.0
    x, y = _blocks(a)[telling], _blocks(b)[telling]
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    agreement = np.sort((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1) + 1e-12))
    return float(agreement[: max(1, int(len(agreement) * WORST))].mean())


Edges = tuple[float, ...]
"""What is cut off: left, right, top, bottom, in pixels of the image at hand; negative: it reaches further."""


def _start(image: np.ndarray, reference: np.ndarray) -> Edges:
    """The better of no crop and of that whose column and row sums agree best."""
    found: list[float] = []
    for axis in (0, 1):
        profiles = reference.mean(axis) @ _profile_crops()  # (crops, 64)
        found += _profile_edges()[int((_unit(profiles) @ _unit(image.mean(axis))).argmax())]
    guesses = (tuple(found), (0.0, 0.0, 0.0, 0.0))
    return max(guesses, key=lambda edges: _likeness(image, _crop(reference, edges)))


def _aligned(image: np.ndarray, reference: np.ndarray, edges: Edges, steps: Sequence[float]) -> Edges:
    """Edges moved one by one for as long as the likeness grows."""
    best = _likeness(image, _crop(reference, edges))
    for step in steps:
        for _ in range(3):
            before = best
            for at, move in itertools.product(range(4), (-step, step)):
                moved = tuple(edge + move * (at == k) for k, edge in enumerate(edges))
                if moved[at] < -0.02 * len(image):
                    continue
                value = _likeness(image, _crop(reference, moved))
                if value > best:
                    best, edges = value, moved
            if best == before:
                break
    return edges


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(_unit(a.reshape(-1)) @ _unit(b.reshape(-1)))


def _crop(image: np.ndarray, edges: Edges) -> np.ndarray:
    left, right, top, bottom = edges
    side = len(image)
    return _resampler(side, top, bottom) @ image @ _resampler(side, left, right).T


@cache
def _resampler(side: int, first: float, last: float) -> np.ndarray:
    """(side, side): linear interpolation of the samples between `first` and side - `last`."""
    at = np.clip(first + (side - first - last) * (np.arange(side) + 0.5) / side - 0.5, 0, side - 1)
    low = np.minimum(at.astype(int), side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), low] = 1 - (at - low)
    matrix[np.arange(side), low + 1] += at - low
    return matrix


@cache
def _profile_edges() -> list[tuple[float, float]]:
    cuts = [float(cut) for cut in range(int(MOST_CUT * COARSE) + 1)]
    return list(itertools.product(cuts, cuts))


@cache
def _profile_crops() -> np.ndarray:
    """(crops, 64, 64), transposed so that `profile @ _profile_crops()` gives (crops, 64)."""
    return np.stack([_resampler(COARSE, first, last).T for first, last in _profile_edges()])


def _tiny_crops(coarse: np.ndarray) -> Iterable[np.ndarray]:
    for shares in itertools.product(CROPS, repeat=4):
        yield _means(_crop(coarse, tuple(share * COARSE for share in shares)), TINY)


def _means(image: np.ndarray, side: int) -> np.ndarray:
    step = len(image) // side
    return image.reshape(side, step, side, step).mean(axis=(1, 3))


def _soft(image: np.ndarray) -> np.ndarray:
    """Blurred by about a pixel: what is left of a wrong alignment must not decide."""
    for _ in range(2):
        padded = np.pad(image, ((2, 2), (0, 0)), mode="edge")
        parts = [weight * padded[k : k + SIDE] for k, weight in enumerate((1, 3, 5, 3, 1))]
        image = np.sum(parts, axis=0).T / 13
    return image.astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=-1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-6)


def _blocks(image: np.ndarray) -> np.ndarray:
    count = SIDE // BLOCK
    return image.reshape(count, BLOCK, count, BLOCK).transpose(0, 2, 1, 3).reshape(count * count, BLOCK * BLOCK)


def _informative(image: np.ndarray) -> np.ndarray:
    return _blocks(image).std(axis=1) > FLAT_STD
