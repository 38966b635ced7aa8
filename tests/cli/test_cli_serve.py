"""`riverone serve` as a process of its own, asked as the official scripts ask; its answers are the reader's."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from official_client import MARK, OfficialClient, in_context, zero_shot
from riverone_hf.questions import QUESTIONS, full_prompt
from riverone_hf.reader import load_model
from riverone_hf.reader.generate import Answerer, Ask, render

BUDGET = 24
"""An untrained model never ends by itself."""


@pytest.fixture(scope="module")
def server(saved_model: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(URL of chat completions, process)."""
    command = [sys.executable, "-m", "riverone_hf", "serve", str(saved_model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-answer-tokens", str(BUDGET), "--device", "cpu"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.match(r"serving model at (http://127\.0\.0\.1:\d+/v1/chat/completions)", said)
        assert found, said + process.stderr.read()
        yield found.group(1), process
    finally:
        process.kill()
        process.wait(10)


def figure(seed: int, transparent: bool = False) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    if transparent:
        pixels[:, 20:, 3] = 0
    return Image.fromarray(pixels)


def expected(saved_model: Path, rows: list[tuple[list[Image.Image], str, bool]]) -> list[str]:
    """The same questions put to the model in this process."""
    model, processor = load_model(saved_model, device="cpu")
    answerer, texts = Answerer(model, processor), []
    for images, prompt, interleaved in rows:
        parts: list[dict[str, str]] = [{"type": "image"} for _ in images] + [{"type": "text", "text": prompt}]
        if interleaved:
            pieces = [piece.strip() for piece in prompt.split(MARK)]
            parts = [{"type": "text", "text": pieces[0]}] if pieces[0] else []
            for piece in pieces[1:]:
                parts += [{"type": "image"}, *([{"type": "text", "text": piece}] if piece else [])]
        ask = Ask(0, render(processor, parts), budget=BUDGET)
        texts.append(answerer.answer([[white(image) for image in images]], [ask])[0].text)
    return texts


def white(image: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def test_answers_are_those_of_the_reader_with_eight_requests_at_a_time(server, saved_model):
    url, _ = server
    rows = []
    for seed, family in enumerate(("t1", "ramsey_t2star")):
        images = [figure(seed, transparent=True)] if family == "t1" else [figure(seed), figure(seed + 10)]
        rows += [(images, full_prompt(family, question, len(images)), False) for question in QUESTIONS]
    shown = "Example 1: <image>\nStatus: SUCCESS\n\nExample 2: <image> and <image>\nStatus: NO_SIGNAL\n\nNow <image>?"
    rows += [([figure(seed + k) for k in range(4)], shown, True) for seed in range(3)]
    sent = [in_context(images, prompt) if mixed else zero_shot(images, prompt) for images, prompt, mixed in rows]
    got = OfficialClient(url, "model").ask_all(sent)
    assert got == expected(saved_model, rows)
    assert len(set(got)) > len(got) / 2, "the answers must depend on figure and text"


def test_models_health_and_errors(server, saved_model):
    url, _ = server
    root = url.removesuffix("/v1/chat/completions")
    assert httpx.get(f"{root}/v1/models").json()["data"][0]["id"] == "model"
    assert httpx.get(f"{root}/health").json() == {"status": "ok"}
    for path, status in (("/v1/nothing", 404), ("/v1/chat/completions", 405)):
        reply = httpx.get(root + path)
        assert reply.status_code == status and "chat/completions" in reply.json()["error"]["message"]


def test_sigterm_ends_it_cleanly(saved_model):
    command = [sys.executable, "-m", "riverone_hf", "serve", str(saved_model), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None and process.stderr.readline().startswith("serving")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def test_a_taken_port_is_one_line(run, saved_model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = run("serve", saved_model, "--port", other.getsockname()[1])
    assert result.exit_code == 2 and "--port 0" in result.stderr and result.stderr.count("\n") == 1


def test_no_model_is_one_line(run, tmp_path):
    result = run("serve", tmp_path, "--port", 0)
    assert result.exit_code == 2 and "config.json" in result.stderr
    result = run("serve", tmp_path, "--port", 0, "--host", "0.0.0.0")
    assert result.exit_code == 2 and "RIVERONE_API_KEY" in result.stderr
