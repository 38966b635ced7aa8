"""Figures -> tiles: transparency on white, best-fitting tile grid with a cap, or one tile."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from transformers.image_utils import PILImageResampling
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorKwargs,
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)


class RiverOneImageProcessorKwargs(GotOcr2ImageProcessorKwargs, total=False):
    """`patch_size`, `downsample_factor`: as in the model's config, they say how many tokens a tile takes.

    `keep_aspect_ratio`: fit a single-tile figure on a white square instead of stretching it.
    """

    patch_size: int
    downsample_factor: int
    keep_aspect_ratio: bool


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode as RGB; transparent parts become white paper, 16-bit grey keeps its range."""
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


class RiverOneImageProcessor(GotOcr2ImageProcessorPil):
    r"""Turns figures into a flat stack of square tiles.

    Unlike the class it extends, it flattens transparency on white, also for images given as files, and knows the
    number of tokens of a tile. Low-tile mode: `crop_to_patches=False` or `max_patches=1`.

    Output of a call: `pixel_values` (sum of tiles, 3, S, S) in -1..1 and `num_patches` (tiles per image; with more
    than one tile the last one is a thumbnail of the whole figure).
    """

    valid_kwargs = RiverOneImageProcessorKwargs
    model_input_names = ["pixel_values"]
    resample = PILImageResampling.BICUBIC
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    size = {"height": 448, "width": 448}
    crop_to_patches = True
    min_patches = 1
    max_patches = 12
    patch_size = 16
    downsample_factor = 2
    keep_aspect_ratio = False

    def fetch_images(self, images):
        """Load paths and `data:` strings without losing transparency; other sources are left to transformers."""
        if isinstance(images, (list, tuple)):
            return [self.fetch_images(image) for image in images]
        content = _local_content(images)
        if content is None:
            return super().fetch_images(images)
        with Image.open(BytesIO(content)) as image:
            return to_rgb(ImageOps.exif_transpose(image))

    def process_image(self, image, **kwargs) -> np.ndarray:  # type: ignore[override]
        """One image of any accepted kind -> uint8 array (3, H, W)."""
        if isinstance(image, Image.Image):
            return np.moveaxis(np.asarray(to_rgb(image)), -1, 0)
        array = super().process_image(image, **{**kwargs, "do_convert_rgb": False})
        if array.dtype == np.uint8 and array.shape[0] != 3:
            pixels = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
            return np.moveaxis(np.asarray(to_rgb(Image.fromarray(pixels))), -1, 0)
        return array

    def resize(self, image, size, *args, **kwargs):
        """Resize one uint8 array (3, H, W); one that has the size already is returned as it is, to the bit."""
        if image.shape[-2:] == (size.height, size.width):
            return image
        return super().resize(image, size, *args, **kwargs)

    def _preprocess(  # type: ignore[override]
        self, images, *, crop_to_patches=True, max_patches=12, keep_aspect_ratio=False, **kwargs
    ):
        if keep_aspect_ratio and not (crop_to_patches and max_patches > 1):
            images = [_on_white_square(image) for image in images]
        return super()._preprocess(images, crop_to_patches=crop_to_patches, max_patches=max_patches, **kwargs)

    def get_number_of_image_patches(self, height: int, width: int, images_kwargs: dict | None = None) -> int:
        """Tiles (thumbnail included) that an image of this size in pixels gives."""
        options = images_kwargs or {}
        size = options.get("size", self.size)
        crop = options.get("crop_to_patches", self.crop_to_patches)
        low, high = options.get("min_patches", self.min_patches), options.get("max_patches", self.max_patches)
        if not crop or high <= 1:
            return 1
        columns, rows = get_optimal_tiled_canvas((height, width), (size["height"], size["width"]), low, high)
        return columns * rows + (columns * rows > 1)

    def tokens_per_tile(self, height: int | None = None, width: int | None = None) -> int:
        """Image tokens of one tile of this size in pixels (default: the configured one)."""
        pixels = self.patch_size * self.downsample_factor
        height, width = height or self.size["height"], width or self.size["width"]
        if height % pixels or width % pixels:
            raise ValueError(
                f"The tile size must be a multiple of patch_size * downsample_factor = {pixels}: got {height}x{width}."
            )
        return (height // pixels) * (width // pixels)


def _local_content(source) -> bytes | None:
    """Bytes of an image given as a file or a `data:` string, None for anything else."""
    if isinstance(source, str) and source.startswith("data:image/"):
        return base64.b64decode(source.partition(",")[2])
    if isinstance(source, (str, Path)) and len(str(source)) < 4096 and Path(source).is_file():
        return Path(source).read_bytes()
    return None


def _on_white_square(image: np.ndarray) -> np.ndarray:
    """Centre an array (3, H, W) on a white square."""
    _, height, width = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    white = 255 if image.dtype == np.uint8 else 1
    square = np.full((image.shape[0], side, side), white, dtype=image.dtype)
    square[:, top : top + height, left : left + width] = image
    return square


RiverOneImageProcessor.register_for_auto_class()

__all__ = ["RiverOneImageProcessor"]
