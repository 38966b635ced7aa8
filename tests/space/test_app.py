"""The Space, driven headless through gradio_client against a reader that answers from a script."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from riverone_hf.questions import FAMILIES
from riverone_hf.reader import Abstention, Parameter, Provenance, Verdict
from riverone_hf.reader.figures import load_figure

gradio_client = pytest.importorskip("gradio_client")
REPO = Path(__file__).resolve().parents[2]
APP = REPO / "spaces" / "calibration-reader" / "app.py"


class ScriptedReader:
    """Has `PlotReader.read`'s signature, opens the figures for real, and remembers how it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def read(self, images: list[str], family: str | None = None, source: str | None = None) -> Verdict:
        figures = [load_figure(image) for image in images]
        self.calls.append({"sizes": [figure.size for figure in figures], "family": family, "source": source})
        self.calls[-1]["corner"] = figures[0].getpixel((0, 0))
        return Verdict(
            source=source,
            family=family or "t1",
            outcome="Expected behavior",
            fit_reliability=None,
            status="SUCCESS",
            parameters=[Parameter(name="T1_us", value=41.73219, unit="us", uncertainty=0.5)],
            description="a | b ![x](http://evil/x.png) <img src=http://evil/y.png>",
            confidence={"outcome": 0.914, "parameters.T1_us": 0.5},
            abstained=[Abstention(field="fit_reliability", reason="too unsure")],
            provenance=Provenance(model="/secret/place/nano", revision="abc"),
        )


@pytest.fixture(scope="module")
def app() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration_reader_app", APP)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(app: ModuleType) -> Iterator[tuple[Any, ScriptedReader]]:
    reader = ScriptedReader()
    blocks = app.build_app(reader, "\n\na note for tests")
    _, url, _ = blocks.launch(**app.launch_options(), prevent_thread_lock=True, quiet=True)
    assert url.startswith("http://127.0.0.1:")
    try:
        yield gradio_client.Client(url, verbose=False), reader
    finally:
        blocks.close(verbose=False)


@pytest.fixture
def figure(tmp_path: Path) -> Path:
    path = tmp_path / "plot one.png"
    Image.new("RGBA", (64, 48), (0, 0, 0, 0)).save(path)
    return path


def ask(client: Any, first: Path | None, second: Path | None = None, family: str = "detect") -> Any:
    files = [gradio_client.handle_file(str(path)) if path else None for path in (first, second)]
    return client.predict(*files, family, api_name="/read")


def test_a_figure_gives_a_verdict_as_text_and_json(served, figure: Path):
    client, reader = served
    text, data = ask(client, figure)
    assert Verdict.model_validate(data).parameters[0].value == 41.73219
    assert reader.calls[-1]["family"] is None
    assert "| Outcome | Expected behavior | 91% |" in text
    assert "41.7322 ± 0.5 | us | 50% |" in text
    assert "| Fit reliability | *left open* |" in text
    assert "too unsure" in text
    assert "Advisory only" in text
    assert "nano" in text and "/secret/place" not in text


def test_the_figure_reaches_the_reader_unchanged(served, figure: Path):
    client, reader = served
    ask(client, figure)
    assert reader.calls[-1]["sizes"] == [(64, 48)]
    assert reader.calls[-1]["corner"] == (255, 255, 255), "transparency is composited on white by the reader"


def test_two_figures_and_a_named_family(served, figure: Path, tmp_path: Path):
    client, reader = served
    other = tmp_path / "second.png"
    Image.new("RGB", (30, 20)).save(other)
    ask(client, figure, other, "rabi")
    assert reader.calls[-1]["sizes"] == [(64, 48), (30, 20)]
    assert reader.calls[-1]["family"] == "rabi"
    assert reader.calls[-1]["source"].endswith(" + second.png")


def test_model_text_stays_text(served, figure: Path):
    text, _ = ask(served[0], figure)
    assert "![x](" not in text
    assert "<img" not in text
    assert "http://" not in text
    assert r"a \| b" in text


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_a_bad_figure_is_one_line_without_server_paths(served, tmp_path: Path, content: bytes):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(gradio_client.exceptions.AppError) as caught:
        ask(served[0], path)
    message = str(caught.value)
    assert message.startswith("bad.png: ")
    assert "\n" not in message
    assert "/tmp" not in message


def test_no_figure(served):
    with pytest.raises(gradio_client.exceptions.AppError, match="No figure"):
        ask(served[0], None)


def test_an_unknown_family_is_refused(served, figure: Path):
    with pytest.raises(gradio_client.exceptions.AppError, match="not in the list"):
        ask(served[0], figure, None, "no_such_family")


def test_a_too_large_upload_is_refused(served):
    url = f"{served[0].src.rstrip('/')}/gradio_api/upload"
    sizes = {1024: 200, 21 * 1024**2: 413}
    got = {size: httpx.post(url, files={"files": ("a.png", b"0" * size)}).status_code for size in sizes}
    assert got == sizes


def test_examples_are_drawn_from_a_seed(served):
    client, _ = served
    first, again, other = (client.predict("rabi", seed, api_name="/example") for seed in (7, 7, 8))
    assert first[1] is None
    read = [Path(drawn[0]).read_bytes() for drawn in (first, again, other)]
    assert read[0] == read[1] != read[2]
    assert Image.open(first[0]).format == "PNG"


def test_the_api_is_stable(served):
    endpoints = served[0].view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/read", "/example"}
    assert [p["parameter_name"] for p in endpoints["/read"]["parameters"]] == ["figure", "second", "family"]


def test_every_family_can_be_chosen(served, app: ModuleType):
    choices = served[0].view_api(return_format="dict")["named_endpoints"]["/read"]["parameters"][2]["type"]["enum"]
    assert choices == ["detect", *FAMILIES]


def test_the_readme_tells_the_hub_how_to_run_it():
    data = ModelCard.load(APP.with_name("README.md")).data.to_dict()
    assert data["sdk"] == "gradio"
    assert (APP.parent / data["app_file"]) == APP
    assert data["license"] == "apache-2.0"
    assert len(data["short_description"]) <= 60, "the Hub refuses longer ones"


def test_the_readme_snippet_runs(served, figure: Path, monkeypatch: pytest.MonkeyPatch):
    snippet = APP.with_name("README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(figure.parent)
    figure.rename("figure.png")
    names: dict[str, Any] = {}
    exec(snippet.replace("http://127.0.0.1:7860", served[0].src), names)
    assert names["verdict"]["outcome"] == "Expected behavior"


def test_only_a_space_listens_beyond_this_machine(app: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.launch_options()["server_name"] == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert app.launch_options()["server_name"] == "0.0.0.0"
    assert app.launch_options()["share"] is False


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would choose a model or a place, plus `variables`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RIVERONE_", "SPACE_", "GRADIO_"))}
    return clean | {"PYTHONPATH": str(REPO / "src"), "OMP_NUM_THREADS": "1"} | variables


def test_the_script_serves_a_model_folder(tmp_path: Path, figure: Path):
    from tiny import tiny_config, tiny_model, tiny_processor

    folder = tmp_path / "tiny"
    tiny_model(tiny_config()).save_pretrained(folder)
    tiny_processor(tiny_config()).save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(RIVERONE_MODEL=str(folder), GRADIO_SERVER_PORT=str(port))
    server = subprocess.Popen([sys.executable, "-B", APP], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout and f"http://127.0.0.1:{port}" in server.stdout.readline()
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        text, data = ask(client, figure, None, "rabi")
        verdict = Verdict.model_validate(data)
        assert verdict.family == "rabi"
        assert verdict.source == "plot one.png"
        assert verdict.provenance.model == str(folder)
        assert "Advisory only, read by tiny" in text
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"RIVERONE_MODEL": "/no/such/folder"}, "no such model folder"),
        ({"RIVERONE_MODEL": "a/b", "SPACE_ID": "a/space"}, "RIVERONE_REVISION is not set"),
    ],
)
def test_a_wrong_model_ends_with_one_line_and_code_2(app, monkeypatch, capsys, env: dict[str, str], says: str):
    for name in ("RIVERONE_MODEL", "RIVERONE_REVISION", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert app.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
