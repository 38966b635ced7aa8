"""A pushed model loads by its id in a process that has never heard of our package, and gives the same logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from riverone_hf.hub import publishable_files
from tiny import tiny_config, tiny_model, tiny_processor

CLI = "import sys; sys.argv = ['riverone', *sys.argv[1:]]; from riverone_hf.cli import app; app()"

LOAD = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "riverone_hf":
            raise ModuleNotFoundError(f"blocked: {name}")
sys.meta_path.insert(0, Blocker())
try:
    import riverone_hf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("riverone_hf is importable")
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor
repo_id, revision, figure, out = sys.argv[1:]
model, info = AutoModelForImageTextToText.from_pretrained(
    repo_id, revision=revision, trust_remote_code=True, output_loading_info=True
)
processor = AutoProcessor.from_pretrained(repo_id, revision=revision, trust_remote_code=True)
content = [{"type": "image", "image": Image.open(figure)}, {"type": "text", "text": "[outcome] rabi <IMG_CONTEXT>"}]
inputs = processor.apply_chat_template(
    [{"role": "user", "content": content}],
    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
)
with torch.no_grad():
    logits = model.eval()(**inputs).logits
save_file({"logits": logits, "input_ids": inputs["input_ids"]}, out)
text = processor.decode(model.generate(**inputs, max_new_tokens=4, do_sample=False)[0])
keys = {name: sorted(map(str, info[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
print(json.dumps({"keys": keys, "module": type(model).__module__, "text": text}))
"""


@pytest.fixture
def figure(tmp_path: Path) -> Path:
    image = Image.new("RGB", (64, 48), "white")
    ImageDraw.Draw(image).line([(2, 40), (30, 6), (60, 30)], fill=(20, 60, 200), width=3)
    path = tmp_path / "figure.png"
    image.save(path)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    config = tiny_config()
    tiny_model(config).save_pretrained(tmp_path / "saved")
    tiny_processor(config).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_what_save_pretrained_writes_can_be_published(saved: Path):
    names = publishable_files(saved)
    code = {name for name in names if name.endswith(".py")}
    assert code == {path.name for path in saved.glob("*.py")}
    assert {"modeling_riverone.py", "processing_riverone.py", "configuration_riverone.py"} <= code
    left_out = {path.name for path in saved.iterdir()} - set(names)
    assert not left_out, "save_pretrained writes files that the allow-list does not know"


def test_pushed_by_the_command_line_and_loaded_without_our_package(hub, client, saved, figure, tmp_path: Path):
    done = client(CLI, "push", "model", saved, "tester/tiny")
    assert f"{hub.url}/tester/tiny" in done.stdout
    card = hub.files("tester/tiny")["README.md"].decode()
    revision = card.split('revision = "tester/tiny", "')[1].split('"')[0]

    out = tmp_path / "far.safetensors"
    far = json.loads(client(LOAD, "tester/tiny", revision, figure, out, package=False).stdout.splitlines()[-1])
    assert far["keys"] == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    assert far["module"].startswith("transformers_modules.")
    assert "<|im_start|>assistant" in far["text"]

    processor, model = tiny_processor(tiny_config()), tiny_model(tiny_config())
    content = [{"type": "image", "image": Image.open(figure)}]
    content.append({"type": "text", "text": "[outcome] rabi <IMG_CONTEXT>"})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**inputs).logits
    there = load_file(out)
    assert torch.equal(there["input_ids"], inputs["input_ids"])
    torch.testing.assert_close(there["logits"], logits, rtol=0, atol=1e-5)


def test_the_snippet_of_the_card_runs_as_it_stands(hub, client, saved, figure):
    client(CLI, "push", "model", saved, "tester/tiny")
    snippet = hub.files("tester/tiny")["README.md"].decode().split("```python\n")[1].split("```")[0]
    assert figure.name == "figure.png"
    client(f"import sys; sys.modules['riverone_hf'] = None\n{snippet}", package=False)


def test_the_reader_loads_it_by_id(hub, client, saved, figure):
    client(CLI, "push", "model", saved, "tester/tiny")
    code = """
import sys
from riverone_hf.reader import PlotReader
reader = PlotReader.from_pretrained("tester/tiny", budgets=dict.fromkeys(["q1", "q2", "q3", "q4", "q5", "q6"], 4))
print(reader.read(sys.argv[1], family="rabi").provenance.revision)
"""
    revision = client(code, figure).stdout.split()[-1]
    assert hub.repos["models", "tester/tiny"].refs["main"] == revision


def test_the_command_line_refuses_in_one_line_with_code_2(client, saved: Path):
    weights = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    done = client(CLI, "push", "model", saved, "tester/tiny", ok=False)
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    save_file(weights, saved / "model.safetensors")
    done = client(CLI, "push", "model", saved, "tester/tiny", ok=False, token=None)
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
