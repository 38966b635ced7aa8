"""Draw a verdict beside its figure, as the README shows it.

python docs/render_verdict.py MODEL FIGURE [FIGURE] OUT.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from riverone_hf.reader import PlotReader
from riverone_hf.reader.verdict_text import verdict_panel

FONT = ImageFont.truetype(Path(__import__("matplotlib").get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf", 15)
COLUMNS = 86


def picture(model: str, figures: list[str], out: str) -> None:
    """Read `figures` with `model` and save one picture: the figures on the left, the verdict on the right."""
    verdict = PlotReader.from_pretrained(model).read(figures, source=" + ".join(Path(f).name for f in figures))
    console = Console(file=io.StringIO(), width=COLUMNS, force_terminal=False)
    console.print(verdict_panel(verdict))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    images = [Image.open(path).convert("RGB") for path in figures]
    width = 460
    images = [image.resize((width, round(image.height * width / image.width))) for image in images]
    text_width = int(FONT.getlength("x" * COLUMNS))
    height = max(sum(image.height for image in images), 19 * len(lines)) + 32
    canvas = Image.new("RGB", (width + text_width + 48, height), "white")
    top = 16
    for image in images:
        canvas.paste(image, (16, top))
        top += image.height
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((width + 32, 16 + 19 * number), line, fill=(30, 30, 30), font=FONT)
    canvas.quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    picture(sys.argv[1], sys.argv[2:-1], sys.argv[-1])
