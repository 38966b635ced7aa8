from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import riverone_hf
from riverone_hf.cli import demo as demo_module
from riverone_hf.errors import HubError, RecipeError

SOURCE = str(Path(riverone_hf.__file__).parents[1])


def python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE, **env}
    environment.pop("RIVERONE_MODEL", None)
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=120)


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys, riverone_hf\n"
        "from riverone_hf.cli import app\n"
        "sys.argv = ['riverone', *sys.argv[1:]]\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'huggingface_hub'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    for words in (["--help"], ["read", "--help"], ["--version"]):
        done = python("-c", code, *words)
        assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr
    assert "Read calibration figures" in python("-m", "riverone_hf", "--help").stdout


def test_errors_are_one_line_in_a_real_process(tmp_path: Path) -> None:
    done = python("-m", "riverone_hf", "read", str(tmp_path / "x.png"), "--model", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "no config.json" in done.stderr
    told = python("-m", "riverone_hf", "read", "x.png", "--model", str(tmp_path), RIVERONE_DEBUG="1")
    assert told.returncode == 2 and "Traceback" in told.stderr and "\nerror: " in told.stderr


def test_unknown_verbs_and_missing_arguments_exit_2(run) -> None:
    for words in (("fly",), ("read",), ("build",), ("push", "model", "x"), ("read", "x.png", "--threshold", "2")):
        assert run(*words).exit_code == 2, words


def test_env_is_pasteable_and_tells_no_secret(run, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hunter2@hub.example:8443/path")
    result = run("env")
    facts = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert facts["HF_ENDPOINT"] == "https://hub.example:8443"
    assert "verysecret" not in result.output and "hunter2" not in result.output
    assert facts["torch"][0].isdigit() and int(facts["cores"]) >= 1 and "GB" in facts["memory"]
    assert {"python", "transformers", "trl", "datasets", "device", "riverone-hf"} <= set(facts)


@pytest.fixture
def fake_room(monkeypatch):
    """Put a stand-in for a room that another test folder covers; the verb only has to call it rightly."""

    def put(room: str, **names: object) -> None:
        monkeypatch.setitem(sys.modules, f"riverone_hf.{room}", SimpleNamespace(**names))

    return put


def test_build_passes_its_arguments_on(run, fake_room, tmp_path: Path) -> None:
    calls = []

    def run_recipe(recipe, out, *, overrides, resume):
        calls.append((recipe, out, overrides, resume))
        return out

    fake_room("build", run_recipe=run_recipe)
    result = run("build", "--recipe", "smoke", "--out", tmp_path, "sft.steps=3", "seed=1")
    assert result.exit_code == 0 and result.stdout == f"{tmp_path}\n"
    assert run("build", "--recipe", "x.yaml", "--out", tmp_path, "--fresh").exit_code == 0
    assert calls == [("smoke", tmp_path, ["sft.steps=3", "seed=1"], True), ("x.yaml", tmp_path, [], False)]


def test_errors_of_every_room_are_one_line(run, fake_room, tmp_path: Path) -> None:
    def fail(error: Exception):
        def call(*args, **kwargs):
            raise error

        return call

    fake_room("build", run_recipe=fail(RecipeError("unknown recipe 'x'.\nRemedy: smoke or nano")))
    result = run("build", "--recipe", "x", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (2, "error: unknown recipe 'x'. Remedy: smoke or nano\n")
    fake_room("hub", push_model=fail(HubError("refused")))
    result = run("push", "model", tmp_path, "me/x")
    assert (result.exit_code, result.stderr, result.stdout) == (2, "error: refused\n", "")


def test_push_prints_the_address(run, fake_room, tmp_path: Path) -> None:
    calls = []

    def push_model(folder, repo_id, *, private, revision):
        calls.append((folder, repo_id, private, revision))
        return SimpleNamespace(url="http://hub/me/x", revision="abc", changed=True)

    fake_room("hub", push_model=push_model)
    result = run("push", "model", tmp_path, "me/x", "--private", "--revision", "v1")
    assert result.exit_code == 0 and result.stdout == "http://hub/me/x\n" and "abc" in result.stderr
    assert calls == [(tmp_path, "me/x", True, "v1")]


def test_demo_needs_gradio(run, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_module, "find_app", lambda: tmp_path / "app.py")
    monkeypatch.setattr(demo_module, "find_spec", lambda name: None)
    assert "riverone-hf[space]" in run("demo", "--model", tmp_path).stderr


def test_demo_starts_the_app_with_the_model(run, monkeypatch, tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text("import os, sys; sys.exit(7 if os.environ['RIVERONE_MODEL'] == 'm' else 1)")
    monkeypatch.setattr(demo_module, "find_app", lambda: script)
    assert run("demo", "--model", "m").exit_code == 7


def test_demo_without_a_checkout_names_the_remedy(run, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_module, "__file__", str(tmp_path / "a" / "b" / "c" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--model", "m")
    assert result.exit_code == 2 and "clone of the repository" in result.stderr
