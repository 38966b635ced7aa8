"""Are the answers too easy to see, or the plots too alike? A linear probe on tiny images, and perceptual hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

PROBE_SIZE = 28
RIDGE = 30.0
HASH_SIZE = 16
NEAR_BITS = 2
"""Images whose 256-bit hashes differ in at most so many bits are called near duplicates."""


def tiny_pixels(image: Image.Image) -> np.ndarray:
    """(784,) float32 in 0..1: the image in gray at 28 x 28 pixels."""
    small = image.convert("L").resize((PROBE_SIZE, PROBE_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1) / 255


def difference_hash(image: Image.Image) -> np.ndarray:
    """(4,) uint64: which of 16 x 17 gray cells are brighter than their left neighbour.

    Difference hash as described by N. Krawetz ("Kind of Like That", hackerfactor.com, 2013), with 256 bits.
    """
    small = image.convert("L").resize((HASH_SIZE + 1, HASH_SIZE), Image.Resampling.BOX)
    gray = np.asarray(small, dtype=np.int16)
    return np.packbits(gray[:, 1:] > gray[:, :-1]).view(np.uint64)


def pixel_digest(image: Image.Image) -> str:
    """Equal for images of equal size and pixels only."""
    return hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()).hexdigest()


def linear_probe(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str]
) -> float | None:
    """Accuracy in 0..1 on the test rows of a ridge classifier on features (n, d); None when a part is empty.

    Closed form on standardised features with one-hot targets; a label that training never showed counts as wrong.
    """
    if not len(train) or not len(test):
        return None
    names = sorted(set(train_labels))
    targets = np.array([[label == name for name in names] for label in train_labels], dtype=np.float64)
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-3
    x = ((train - mean) / spread).astype(np.float64)
    offset = targets.mean(axis=0)
    gram = x.T @ x + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (targets - offset))
    best = (((test - mean) / spread) @ weights + offset).argmax(axis=1)
    return float(np.mean([names[index] == label for index, label in zip(best, test_labels, strict=True)]))


def duplicates(hashes: np.ndarray, digests: Sequence[str], splits: Sequence[str]) -> dict[str, Any]:
    """Counts of images (n) that have an identical or near twin, in all and in another split.

    `hashes` (n, 4) uint64 from `difference_hash`.
    """
    names = np.asarray(splits)
    near, near_across = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for start in range(0, len(names), 256):
        rows = slice(start, start + 256)
        bits = np.bitwise_count(hashes[rows, None, :] ^ hashes[None, :, :]).sum(axis=2, dtype=np.int64)
        close = bits <= NEAR_BITS
        close[np.arange(len(close)), np.arange(start, start + len(close))] = False
        near[rows] = close.any(axis=1)
        near_across[rows] = (close & (names[rows, None] != names[None, :])).any(axis=1)
    homes: dict[str, set[str]] = {}
    for digest, split in zip(digests, splits, strict=True):
        homes.setdefault(digest, set()).add(split)
    return {
        "images": len(digests),
        "identical": len(digests) - len(homes),
        "identical_across_splits": sum(len(home) > 1 for home in homes.values()),
        "near": int(near.sum()),
        "near_across_splits": int(near_across.sum()),
        "near_bits": NEAR_BITS,
    }
