from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riverone_hf.errors import FigureError
from riverone_hf.reader import figures
from riverone_hf.reader.figures import figures_in, load_figure


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = encoded(Image.new("RGB", (64, 48), "blue"))

BAD = {
    "empty.png": (b"", "empty"),
    "text.png": (b"not an image at all", "not an image"),
    "cut.png": (encoded(Image.effect_noise((64, 48), 90))[:700], "corrupt or cut short"),
    "cut.jpg": (encoded(Image.effect_noise((64, 48), 90).convert("RGB"), "JPEG")[:500], "corrupt or cut short"),
    "plot.svg": (b"<?xml version='1.0'?>\n<!-- made -->\n<svg xmlns='x'/>", "SVG is a vector format"),
    "plot.pdf": (b"%PDF-1.7\n", "export the figure as PNG"),
    "plot.eps": (b"%!PS-Adobe", "export the figure as PNG"),
    "pixel.png": (encoded(Image.new("RGB", (1, 1))), "at least 16 px"),
    "thin.png": (encoded(Image.new("RGB", (400, 15))), "at least 16 px"),
    "strip.png": (encoded(Image.new("RGB", (1700, 16))), "strip"),
    "huge.png": (png_header(8000, 5001), "at most 40 megapixels"),
    "bomb.png": (png_header(100_000, 100_000), "at most 40 megapixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_line_with_the_name(name: str, tmp_path: Path) -> None:
    data, part = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    for figure, mark in ((path, str(path)), (data, "bytes")):
        with pytest.raises(FigureError) as caught:
            load_figure(figure)
        message = str(caught.value)
        assert part in message and mark in message and "\n" not in message


def test_missing_folder_and_wrong_kind(tmp_path: Path) -> None:
    for figure, part in ((tmp_path / "no.png", "no such file"), (tmp_path, "is a folder"), ("a\0b", "cannot be read")):
        with pytest.raises(FigureError, match=part):
            load_figure(figure)
    with pytest.raises(FigureError, match="got int"):
        load_figure(3)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FigureError, match="not a regular file"):
        load_figure(tmp_path / "pipe.png")


def test_file_size_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as stream:
        stream.truncate(figures.MAX_BYTES + 1)  # sparse: costs no disk
    with pytest.raises(FigureError, match="at most 50 MB"):
        load_figure(path)


def test_pixels_are_not_decoded_before_the_size_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(FigureError, match="megapixels"):
        load_figure(BAD["huge.png"][0])


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    palette = Image.new("P", (20, 20), 0)
    for data in (encoded(clear), encoded(palette, transparency=0), encoded(Image.new("LA", (20, 20), (0, 0)))):
        assert load_figure(data).getpixel((5, 5)) == (255, 255, 255)
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert load_figure(half).getpixel((0, 0)) == pytest.approx((127,) * 3, abs=1)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "lime")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_figure(data).getpixel((3, 3)) == (255, 0, 0)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to be upright
    assert load_figure(encoded(image, "JPEG", exif=exif)).size == (20, 40)


def test_deep_grey_is_scaled_to_its_own_range() -> None:
    ramp = Image.fromarray(np.linspace(1000, 3000, 400).reshape(20, 20).astype(np.uint16))
    pixels = np.asarray(load_figure(encoded(ramp)))
    assert pixels.min() == 0 and pixels.max() >= 254 and pixels.shape == (20, 20, 3)
    flat = Image.fromarray(np.full((20, 20), 700, dtype=np.uint16))
    assert len(set(np.asarray(load_figure(flat)).ravel().tolist())) == 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB", "RGBA", "LA", "YCbCr", "I;16", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = load_figure(Image.new(mode, (30, 20)))
    assert (image.mode, image.size) == ("RGB", (30, 20))


def test_a_folder_lists_its_images_sorted(tmp_path: Path) -> None:
    with pytest.raises(FigureError, match="no image file"):
        figures_in(tmp_path)
    for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(GOOD)
    assert [path.name for path in figures_in(tmp_path)] == ["a.JPG", "b.png"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_bytes_either_decode_or_give_a_figure_error(kind: str) -> None:
    rng = np.random.default_rng(3)
    data = encoded(Image.effect_noise((40, 30), 90).convert("RGB"), kind)
    refused = 0
    for _ in range(40):
        broken = bytearray(data[: rng.integers(1, len(data) + 1)])
        for at in rng.integers(0, min(len(broken), 200), 4):
            broken[at] = rng.integers(0, 256)
        try:
            assert load_figure(bytes(broken)).mode == "RGB"
        except FigureError:
            refused += 1
    assert refused > 5
