"""A saved folder works where this package cannot be imported."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import riverone_hf.model as room
from fresh import run_fresh
from tiny import tiny_config, tiny_model, tiny_processor

FILES = sorted(Path(room.__file__).parent.glob("*_riverone.py"))
ALLOWED = {"torch", "transformers", "PIL", "numpy"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_import_only_what_every_user_has(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots = {alias.name.partition(".")[0] for alias in node.names}
            assert roots <= ALLOWED, f"{path.name}:{node.lineno} imports {roots - ALLOWED}"
        elif isinstance(node, ast.ImportFrom) and node.level:
            # `from . import x` fails at load time, `from ..x` and `from .a.b` when the folder is saved.
            assert node.level == 1 and node.module, f"{path.name}:{node.lineno}"
            assert (path.parent / f"{node.module}.py").is_file(), f"{path.name}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            root = str(node.module).partition(".")[0]
            assert root in ALLOWED, f"{path.name}:{node.lineno} imports {root}"


def test_the_flat_files_are_all_there():
    names = {"configuration", "vision", "modeling", "image_processing", "processing"}
    assert names <= {path.stem.removesuffix("_riverone") for path in FILES}


def test_fresh_process_gives_the_same_answers(tmp_path):
    config = tiny_config(
        vision={
            **{"layer_map": [0, 0, 1], "position_embedding": "sincos", "rotary": True, "merger_out_size": 20},
            **{"head_mixing": [1], "local_conv": [2], "patch_stem": "conv"},
        }
    )
    model, processor = tiny_model(config), tiny_processor(config, crop_to_patches=True, max_patches=2)
    folder, figure, home = tmp_path / "model", tmp_path / "figure.png", tmp_path / "home"
    home.mkdir()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    picture = Image.new("RGBA", (80, 30), (0, 0, 0, 0))
    picture.paste((200, 30, 30, 255), (10, 10, 60, 20))
    picture.save(figure)

    report, warnings = run_fresh(folder, figure, home)
    assert not any(report["info"].values()), report["info"]
    assert report["module"].startswith("transformers_modules") and not report["loaded"]
    assert not warnings.strip(), warnings

    content = [{"type": "image", "image": picture}, {"type": "text", "text": "see <image> <IMG_CONTEXT>"}]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert report["ids"] == batch["input_ids"][0].tolist()
    with torch.no_grad():
        assert torch.allclose(torch.load(f"{folder}-logits.pt"), model(**batch).logits, atol=1e-6)
    written = model.generate(**batch, max_new_tokens=6, do_sample=False)[0, batch["input_ids"].shape[1] :]
    expected = processor.decode(written, skip_special_tokens=True)
    assert report["written"] == report["piped"] == expected
    # A model that came from remote code saves its code again.
    assert (
        {path.name for path in folder.glob("*_riverone.py")}
        >= {path.name for path in Path(f"{folder}-again").glob("*_riverone.py")}
        >= {"configuration_riverone.py", "modeling_riverone.py", "vision_riverone.py", "transforms_riverone.py"}
    )


def test_saved_state_has_no_duplicates_and_no_path_of_this_machine(tmp_path):
    from safetensors import safe_open

    model = tiny_model(tiny_config(vision={"layer_map": [0, 0, 1]}))
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as stored:
        names = set(stored.keys())
    expected = {name for name, _ in model.named_parameters()}
    assert names == expected and "lm_head.weight" not in names
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["auto_map"]["AutoModelForImageTextToText"].endswith("RiverOneForConditionalGeneration")
    assert str(tmp_path) not in json.dumps(config)
