from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from riverone_hf.model import RiverOneImageProcessor
from riverone_hf.model.image_processing_riverone import to_rgb
from tiny import tiny_processor

LOW = {"size": {"height": 32, "width": 32}, "patch_size": 8, "crop_to_patches": False}


def pixels(images, **options) -> torch.Tensor:
    return RiverOneImageProcessor(**{**LOW, **options})(images, return_tensors="pt")["pixel_values"]


def clear(mode: str) -> Image.Image:
    """Fully transparent figure whose hidden colour is black."""
    if mode == "P":
        image = Image.new("P", (20, 20), 0)
        image.info["transparency"] = 0
        image.putpalette([0, 0, 0] * 256)
        return image
    return Image.new(mode, (20, 20), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))


def test_values_lie_between_minus_one_and_one():
    both = pixels([Image.new("RGB", (50, 40), "white"), Image.new("L", (9, 9), 0)])
    assert both.shape == (2, 3, 32, 32) and both.dtype == torch.float32
    assert torch.allclose(both[0], torch.ones(3, 32, 32)) and torch.allclose(both[1], -torch.ones(3, 32, 32))


def test_a_figure_of_the_tile_s_size_is_not_resized(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    figure = Image.fromarray(noise)
    want = torch.from_numpy(noise).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert torch.allclose(pixels([figure]), want, atol=1e-6)
    with monkeypatch.context() as patch:
        patch.delattr(RiverOneImageProcessor, "resize")
        with_resize = pixels([figure])
    assert torch.equal(pixels([figure]), with_resize)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white_paper(mode, tmp_path):
    image = clear(mode)
    assert torch.allclose(pixels(image), torch.ones(1, 3, 32, 32))
    path = tmp_path / "figure.png"
    image.save(path)
    processor = RiverOneImageProcessor(**LOW)
    data = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    for source in (str(path), path, data):
        loaded = processor.fetch_images([source])[0]
        assert loaded.mode == "RGB" and loaded.getpixel((3, 3)) == (255, 255, 255)


def test_half_transparent_ink_is_mixed_with_white():
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 128))
    assert to_rgb(image).getpixel((5, 5)) == pytest.approx((255, 127, 127), abs=1)
    rgba_array = np.asarray(image)
    assert torch.allclose(pixels(rgba_array), pixels(image))


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, -1).repeat(8, 0)
    buffer = BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    grey = np.asarray(to_rgb(Image.open(buffer)))[0, :, 0].astype(int)
    assert grey[0] == 0 and grey[-1] == 255 and (np.diff(grey) >= 0).all() and len(set(grey.tolist())) > 200


def test_tile_counts_follow_the_grid_and_the_cap():
    image = Image.new("RGB", (640, 480), "white")
    options = {"crop_to_patches": True, "size": {"height": 448, "width": 448}, "patch_size": 16}
    for cap, expected in ((1, 1), (2, 1), (12, 13)):
        processor = RiverOneImageProcessor(**{**options, "max_patches": cap})
        out = processor([image, Image.new("RGB", (100, 100))], return_tensors="pt")
        counts = out["num_patches"].tolist()
        assert counts[0] == expected == processor.get_number_of_image_patches(480, 640)
        assert out["pixel_values"].shape == (sum(counts), 3, 448, 448)
        assert counts[1] == processor.get_number_of_image_patches(100, 100)
    assert RiverOneImageProcessor(**{**options, "crop_to_patches": False}).get_number_of_image_patches(480, 640) == 1
    assert processor.tokens_per_tile() == 196


def test_tiles_are_the_parts_of_the_figure_in_reading_order_and_a_thumbnail():
    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (32, 0, 64, 32))
    out = pixels(image, crop_to_patches=True, max_patches=2, resample=Image.Resampling.NEAREST)
    assert out.shape[0] == 3
    assert (out[0] == -1).all() and (out[1] == 1).all()
    assert (out[2, :, :, :16] == -1).all() and (out[2, :, :, 16:] == 1).all()


def test_stretch_or_white_margins():
    image = Image.new("RGB", (40, 20), "black")
    assert (pixels(image) == -1).all()
    fitted = pixels(image, keep_aspect_ratio=True, resample=Image.Resampling.NEAREST)[0, 0]
    assert (fitted[:7] == 1).all() and (fitted[-7:] == 1).all() and (fitted[9:23] == -1).all()


def test_save_and_load(tmp_path):
    processor = RiverOneImageProcessor(**LOW, max_patches=5, keep_aspect_ratio=True)
    processor.save_pretrained(tmp_path)
    loaded = RiverOneImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    image = Image.effect_noise((50, 30), 60)
    assert torch.equal(loaded(image, return_tensors="pt")["pixel_values"], pixels(image, keep_aspect_ratio=True))


def test_tile_size_must_fit_the_tokens():
    with pytest.raises(ValueError, match="multiple of patch_size"):
        RiverOneImageProcessor(size={"height": 40, "width": 40}, patch_size=16).tokens_per_tile()
    with pytest.raises(ValueError, match="got 40x40"):
        tiny_processor()(
            images=[Image.new("RGB", (9, 9))],
            text=["<IMG_CONTEXT>"],
            images_kwargs={"size": {"height": 40, "width": 40}},
        )
