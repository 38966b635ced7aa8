"""Adapters: saved, reloaded in a fresh process with equal outputs, merged, and refused where merging is impossible."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from peft import get_peft_model

from riverone_hf.calibration import draw, render
from riverone_hf.errors import AdapterError
from riverone_hf.train.adapter import is_coded, load_adapter, lora_config, merge_adapter, save_adapter

FRESH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "riverone_hf":
            raise ModuleNotFoundError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForImageTextToText

adapter, inputs, out = sys.argv[1:]
base = PeftConfig.from_pretrained(adapter).base_model_name_or_path
model = AutoModelForImageTextToText.from_pretrained(base, trust_remote_code=True, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
with torch.no_grad():
    torch.save(model(**torch.load(inputs)).logits, out)
"""


@pytest.fixture
def adapted(tiny):
    """A PeftModel whose adapter does something: its second matrices are not zero."""
    torch.manual_seed(0)
    model = get_peft_model(copy.deepcopy(tiny[0]), lora_config(4, 8, 0.0)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture
def inputs(tiny):
    content = [{"type": "image", "image": render(draw("t1", 3).figures[0])}, {"type": "text", "text": "[status] t1"}]
    return dict(
        tiny[1].apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )


def test_a_fresh_process_gives_the_same_outputs(tiny, adapted, inputs, tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny[0].save_pretrained(base)
    save_adapter(adapted, str(base), adapter)
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert (adapter / "adapter_model.safetensors").stat().st_size < 0.2 * (base / "model.safetensors").stat().st_size
    torch.save(inputs, tmp_path / "inputs.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", FRESH, str(adapter), str(tmp_path / "inputs.pt"), str(tmp_path / "logits.pt")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        here, plain = adapted(**inputs).logits, tiny[0](**inputs).logits
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), here, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(here, plain, atol=1e-2)
    again = load_adapter(copy.deepcopy(tiny[0]), adapter)
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, here, rtol=1e-5, atol=1e-5)


def test_merged_outputs_are_equal(adapted, inputs):
    with torch.no_grad():
        before = adapted(**inputs).logits
        merged = merge_adapter(adapted)
        assert not any("lora" in name for name, _ in merged.named_modules())
        torch.testing.assert_close(merged(**inputs).logits, before, rtol=1e-3, atol=1e-3)


def test_merging_into_codes_is_refused_with_the_remedy(adapted):
    adapted.get_base_model().config.quantization_config = {"quant_method": "riverone_additive"}
    assert is_coded(adapted.get_base_model())
    with pytest.raises(AdapterError, match=r"coded.*Remedy: keep the adapter beside the model"):
        merge_adapter(adapted)
    assert any("lora" in name for name, _ in adapted.named_modules())


def test_merging_nan_is_refused(adapted):
    with torch.no_grad():
        next(p for n, p in adapted.named_parameters() if "lora_B" in n).fill_(float("nan"))
    with pytest.raises(AdapterError, match="not finite"):
        merge_adapter(adapted)


def test_folders_that_hold_no_fitting_adapter(tiny, adapted, tmp_path):
    with pytest.raises(AdapterError, match=r"no adapter_config.json"):
        load_adapter(tiny[0], tmp_path)
    save_adapter(adapted, "the-base", tmp_path / "a")
    from tiny import tiny_model

    with pytest.raises(AdapterError, match=r"does not fit this model.*the-base"):
        load_adapter(tiny_model(), tmp_path / "a")
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"no adapter_model.safetensors"):
        load_adapter(copy.deepcopy(tiny[0]), tmp_path / "a")
