"""Upload a calibration figure, get a verdict: a thin Gradio page over `riverone_hf.reader`.

Run: [RIVERONE_MODEL=DIR_OR_HUB_ID] [RIVERONE_REVISION=COMMIT] python app.py; the package's own model is the default.
It listens on 127.0.0.1 only, except inside a Space (SPACE_ID is set there). Endpoints: /read, /example.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by gradio when it is imported

import gradio as gr

from riverone_hf.calibration import SUPPORTED_FAMILIES, draw
from riverone_hf.calibration.render import render
from riverone_hf.errors import ModelFolderError, RiverOneError
from riverone_hf.hub.card import is_smoke
from riverone_hf.questions import FAMILIES
from riverone_hf.reader.embedded import EMBEDDED

if TYPE_CHECKING:
    from PIL import Image

    from riverone_hf.reader import PlotReader, Verdict

DETECT = "detect"
MAX_UPLOAD = "20mb"
INTRO = """# Calibration reader
Upload the figure of a qubit calibration experiment. The model says what the outcome is, whether the drawn fit can be
trusted, which parameters it gives and what to do next. **Advice for a person: nothing here writes to hardware.**"""
SMOKE = (
    "\n\n> **smoke: not for use.** This model only shows that the whole road works; its answers are close to guessing."
)
EMPTY = "The verdict appears here."
CSS = """
.gradio-container {max-width: 1200px !important; margin: 0 auto !important}
.verdict table, .verdict tr {border: 0 !important}
.verdict table {display: table !important; width: 100%; border-collapse: collapse; font-size: 0.95em}
.verdict th, .verdict td {border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important;
  padding: 5px 8px !important; word-break: normal !important; vertical-align: top}
.verdict th:first-child, .verdict td:first-child, .verdict th:last-child, .verdict td:last-child {white-space: nowrap}
.verdict th {font-weight: 500; color: var(--body-text-color-subdued)}
.verdict th:last-child, .verdict td:last-child {text-align: right !important; width: 1%}
"""


def figure_input(label: str) -> gr.Image:
    """An image input that hands over the uploaded file as it is, so that the reader judges (and refuses) it."""
    hint = f"{label}: drop it here, or click to upload"
    # png: simulated figures are shown without loss.
    image = gr.Image(label=label, show_label=False, placeholder=hint, sources=["upload", "clipboard"], format="png")
    # On the instance: gradio writes a stub file beside the source of every subclass of its components.
    image.preprocess = lambda payload: str(payload.path) if payload and payload.path else None  # type: ignore
    return image


def cell(value: object) -> str:
    """Text for a Markdown table: what a model writes must stay text, never become a link, an image or a row."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # "://" and "@" are broken up because links are also made of bare addresses.
    text = re.sub(r"([\\`*_{}\[\]()#+!|~$^=-])", r"\\\1", text)
    return text.replace("://", ":&#47;&#47;").replace("@", "&#64;").replace("www.", "www&#46;")


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict as Markdown: a headline, one table of fields, one of parameters, what was left open, the words."""
    sure = verdict.confidence
    open_fields = {item.field for item in verdict.abstained}
    fields = [
        ("Experiment", "family", verdict.family and title(verdict.family)),
        ("Outcome", "outcome", verdict.outcome),
        ("Fit reliability", "fit_reliability", verdict.fit_reliability),
        ("Status", "status", verdict.status),
        ("Suggested range", "suggested_range", verdict.suggested_range),
        ("Next action", "next_action", verdict.next_action),
    ]
    lines = [
        f"### {cell(verdict.outcome or 'No verdict on the outcome')}",
        "",
        "| | reading | confidence |",
        "|---|---|---|",
    ]
    for label, name, value in fields:
        shown = cell(value) if value else ("*left open*" if name in open_fields else "—")
        lines.append(f"| {label} | {shown} | {percent(sure.get(name))} |")
    if verdict.parameters:
        lines += ["", "| parameter | value | unit | confidence |", "|---|---|---|---|"]
        for item in verdict.parameters:
            value = "*left open*" if item.value is None else cell(number(item.value))
            spread = "" if item.uncertainty is None else f" ± {number(item.uncertainty)}"
            weight = percent(sure.get(f"parameters.{item.name}"))
            lines.append(f"| {cell(item.name)} | {value}{spread} | {cell(item.unit or '—')} | {weight} |")
    words = [("Seen", verdict.description), ("Meaning", verdict.significance)]
    words += [("Evidence", "; ".join(verdict.evidence)), ("Error", verdict.error)]
    lines += [f"\n**{label}.** {cell(text)}" for label, text in words if text]
    if verdict.abstained:
        lines.append("\n**Left open.** " + "; ".join(f"{cell(a.field)} ({cell(a.reason)})" for a in verdict.abstained))
    source = verdict.provenance
    origin = " at ".join(cell(part) for part in (Path(source.model or "").name, source.revision) if part)
    return "\n".join([*lines, f"\n<sub>Advisory only{f', read by {origin}' if origin else ''}.</sub>"])


def title(family: str) -> str:
    """A family's title as a line of its own begins: with a capital letter."""
    text = FAMILIES[family].title if family in FAMILIES else family
    return text[:1].upper() + text[1:]


def number(value: object) -> str:
    """A value as a person writes it: six significant digits, lists without brackets of their own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(f"({number(item)})" if isinstance(item, list) else number(item) for item in value)
    return str(value)


def percent(share: float | None) -> str:
    return "—" if share is None else f"{share:.0%}"


def draw_example(family: str, seed: float) -> list[Image.Image | None]:
    """The one or two figures of a simulated plot; the second is None for families with one image."""
    plot = draw(family, int(seed))
    figures: list[Image.Image | None] = [render(figure) for figure in plot.figures]
    return [*figures, None][:2]


def build_app(reader: PlotReader, note: str = "") -> gr.Blocks:
    """The page around `reader`. `note` is shown under the introduction."""

    def read(figure: str | None, second: str | None, family: str) -> tuple[str, dict[str, Any]]:
        paths = [path for path in (figure, second) if path]
        if not paths:
            raise gr.Error("No figure: upload one, or draw a simulated one.", print_exception=False)
        source = " + ".join(Path(path).name for path in paths)
        try:
            verdict = reader.read(paths, family=None if family == DETECT else family, source=source)
        except RiverOneError as error:
            message = " ".join(str(error).split())
            for path in paths:  # where the server keeps uploads is nobody's business
                message = message.replace(path, Path(path).name)
            raise gr.Error(message, print_exception=False) from error
        return verdict_markdown(verdict), verdict.model_dump(mode="json")

    def example(family: str, seed: float) -> list[Image.Image | None]:
        try:
            return draw_example(family, seed)
        except (RiverOneError, ValueError) as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from error

    families = getattr(reader, "families", tuple(FAMILIES))
    known = [(title(name), name) for name in families]
    drawable = [(title(name), name) for name in SUPPORTED_FAMILIES if name in families]
    with gr.Blocks(
        title="Calibration reader", analytics_enabled=False, fill_width=True, delete_cache=(1800, 3600)
    ) as app:
        gr.Markdown(INTRO + note)
        with gr.Row():
            with gr.Column(scale=5):
                figure = figure_input("Figure")
                with gr.Accordion("Second image, for experiments that have two", open=False) as more:
                    second = figure_input("Second image")
                family = gr.Dropdown([("detect from the figure", DETECT), *known], value=DETECT, label="Experiment")
                button = gr.Button("Read", variant="primary")
                gr.Markdown("No figure at hand? Draw a simulated one; the same seed draws the same figure.")
                with gr.Row(equal_height=True):
                    shown = gr.Dropdown(drawable, value=drawable[0][1], label="Draw", scale=4, min_width=120)
                    seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, scale=2, min_width=70)
                    draw_button = gr.Button("Draw", scale=1, min_width=70)
            with gr.Column(scale=6):
                text = gr.Markdown(EMPTY, label="Verdict", elem_classes="verdict", container=True, min_height=120)
                with gr.Accordion("JSON", open=False):
                    data = gr.JSON(label="Verdict", show_label=False)
        button.click(read, [figure, second, family], [text, data], api_name="read", concurrency_limit=1)
        drawn = draw_button.click(example, [shown, seed], [figure, second], api_name="example")
        drawn.then(
            lambda path: (EMPTY, None, gr.Accordion(open=path is not None)),
            second,
            [text, data, more],
            api_visibility="private",
        )
        gr.on(
            [figure.clear, figure.upload, second.clear, second.upload],
            lambda: (EMPTY, None),
            None,
            [text, data],
            api_visibility="private",
        )
    return app.queue(max_size=16)


def launch_options() -> dict[str, Any]:
    """How the page is served: only to this machine unless it is a Space, and never with a public tunnel."""
    server = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    theme = gr.themes.Default(
        primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return {
        "server_name": server,
        "share": False,
        "max_file_size": MAX_UPLOAD,
        "ssr_mode": False,
        "theme": theme,
        "css": CSS,
        "footer_links": ["api", "gradio"],
        "run_history": False,
    }


def main() -> int:
    from riverone_hf.reader import PlotReader
    from riverone_hf.reader.loading import resolve

    model, revision = os.environ.get("RIVERONE_MODEL") or EMBEDDED, os.environ.get("RIVERONE_REVISION")
    try:
        from_hub = model != EMBEDDED and not Path(model).is_dir()
        if from_hub and os.environ.get("SPACE_ID") and not revision:
            raise ModelFolderError(
                "RIVERONE_REVISION is not set, and a Space serves one fixed model. Remedy: set it to a commit hash."
            )
        reader = PlotReader.from_pretrained(model, revision=revision)
        note = SMOKE if not from_hub and is_smoke(resolve(model)[0]) else ""
    except RiverOneError as error:
        print(error, file=sys.stderr)
        return 2
    build_app(reader, note).launch(**launch_options())
    return 0


if __name__ == "__main__":
    sys.exit(main())
