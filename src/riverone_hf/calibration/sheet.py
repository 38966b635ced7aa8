"""How does one look at many plots at once? A contact sheet of captioned thumbnails for reviews."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont


def contact_sheet(
    images: Sequence[Image.Image], captions: Sequence[str], columns: int = 4, cell: tuple[int, int] = (360, 270)
) -> Image.Image:
    """`images` on white in rows of `columns`, each fitted into `cell` (width, height) pixels, its caption above.

    Raises ValueError when captions and images differ in number, when there is none, or when `columns` < 1.
    """
    if not images or len(images) != len(captions) or columns < 1:
        raise ValueError(
            f"got {len(images)} images, {len(captions)} captions and {columns} columns: "
            "expected one caption per image, at least one image and at least one column"
        )
    head, gap = 16, 6
    rows = -(-len(images) // columns)
    width, height = cell[0] + gap, cell[1] + head + gap
    sheet = Image.new("RGB", (columns * width + gap, rows * height + gap), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for i, (image, caption) in enumerate(zip(images, captions)):
        x, y = gap + (i % columns) * width, gap + (i // columns) * height
        draw.text((x, y), _fitted(caption, font, cell[0] - gap), fill=(0, 0, 0), font=font)
        scale = min(cell[0] / image.width, cell[1] / image.height)
        small = image.convert("RGB").resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        sheet.paste(small, (x, y + head))
        draw.rectangle((x - 1, y + head - 1, x + small.width, y + head + small.height), outline=(200, 200, 200))
    return sheet


def _fitted(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`caption`, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(caption) <= width:
        return caption
    while caption and font.getlength(caption + "…") > width:
        caption = caption[:-1]
    return caption.rstrip() + "…"
