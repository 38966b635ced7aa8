"""What is written loads elsewhere: with our quantizer, and as a stock aqlm checkpoint without anything of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_lms import batches, simple_coder, tiny_lm

import riverone_hf
from riverone_hf.additive.export import export_aqlm, signed_codes, write_shards
from riverone_hf.additive.pv import PVTuning
from riverone_hf.additive.quantize import compress_folder, quantize
from riverone_hf.additive.tools import size_table
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import AdditiveConfig, AdditiveScheme, coded_layers

QUIET = {"say": lambda line: None, "coder": simple_coder}
STOCK = """
import json, sys
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
report = {}
for name, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    ids = torch.arange(3, 13).view(1, 10)
    with torch.no_grad():
        logits = model(ids).logits
    torch.save(logits, folder + ".pt")
    coded = sum(type(m).__name__ == "QuantizedLinear" for m in model.modules())
    report[name] = {"info": {k: sorted(map(str, v)) for k, v in info.items()}, "coded": coded}
report["ours"] = [name for name in sys.modules if name.startswith("riverone")]
print(json.dumps(report))
"""


def test_stock_transformers_load_four_architectures(tmp_path):
    """5-bit codebooks take aqlm's dequantizing path; its kernel for 8 bits races and rewrites codes on a CPU."""
    names, words = ("qwen3", "llama", "gemma", "phi"), []
    for name in names:
        model = tiny_lm(name)
        model.save_pretrained(tmp_path / name)
        exclude = r"layers\.1\.mlp" if name == "llama" else None
        words += [name, str(tmp_path / f"{name}-aqlm")]
        compress_folder(tmp_path / name, words[-1], "2x5g4", batches(), aqlm=True, exclude=exclude, **QUIET)
        compress_folder(tmp_path / name, tmp_path / f"{name}-ours", "2x5g4", batches(), exclude=exclude, **QUIET)
        assert {p.name for p in tmp_path.glob(f"{name}*")} == {name, f"{name}-aqlm", f"{name}-ours"}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STOCK, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("ours") == []
    from transformers import AutoModelForCausalLM

    for name in names:
        assert not any(report[name]["info"].values()), (name, report[name])
        ours, info = AutoModelForCausalLM.from_pretrained(tmp_path / f"{name}-ours", output_loading_info=True)
        assert not any(info.values()) and len(coded_layers(ours)) == report[name]["coded"] > 5, name
        with torch.no_grad():
            logits = ours(torch.arange(3, 13).view(1, 10)).logits
        assert torch.allclose(torch.load(tmp_path / f"{name}-aqlm.pt"), logits, rtol=1e-4, atol=1e-4), name


def test_what_cannot_be_a_stock_checkpoint(tmp_path):
    model = tiny_lm()
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(CompressError, match="expected 'riverone_additive'"):
        export_aqlm(tmp_path / "model", tmp_path / "out")
    options = {"overrides": {"k_proj": "1x4g4"}}
    mixed = compress_folder(tmp_path / "model", tmp_path / "mixed", "2x4g4", batches(), **options, **QUIET)
    with pytest.raises(CompressError, match="mixes the schemes 1x4g4, 2x4g4"):
        export_aqlm(mixed, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.new").exists()
    with pytest.raises(CompressError, match="one scheme and no shared"):
        compress_folder(tmp_path / "model", tmp_path / "out", "2x4g4", batches(), aqlm=True, **options, **QUIET)
    with pytest.raises(CompressError, match="quantized already"):
        compress_folder(mixed, tmp_path / "twice", "2x4g4", batches(), **QUIET)


def test_signed_codes_wrap_like_aqlm():
    from aqlm.utils import pack_int_data

    for bits in (5, 8, 12, 16):
        codes = torch.randint(2**bits, (6, 5, 2), dtype=torch.int32)
        assert torch.equal(signed_codes(codes, AdditiveScheme(2, bits, 4)), pack_int_data(codes.clone(), bits))


def test_shards_and_index(tmp_path):
    tensors = {f"t{i}": torch.full((10,), float(i)) for i in range(5)}
    write_shards(tmp_path, iter(tensors.items()), limit=90)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 200 and set(index["weight_map"]) == set(tensors)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    from safetensors import safe_open

    from riverone_hf.additive.source import stored_tensors

    for name, path in stored_tensors(tmp_path).items():
        with safe_open(path, "pt") as file:
            assert torch.equal(file.get_tensor(name), tensors[name])


def test_tied_head_is_stored_once_and_other_files_follow(tmp_path):
    model = tiny_lm("llama").to(torch.bfloat16)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "LICENSE", "pytorch_model.bin", "README.md"):
        (tmp_path / "model" / name).write_text("{}")
    out = compress_folder(tmp_path / "model", tmp_path / "out", "2x4g4", batches(), **QUIET)
    names = {path.name for path in out.iterdir()}
    assert {"tokenizer.json", "LICENSE", "compression.json", "config.json"} <= names
    assert not {"pytorch_model.bin", "README.md"} & names
    from transformers import AutoModelForCausalLM

    loaded, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True, dtype="auto")
    assert not any(info.values()) and loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert loaded.dtype == torch.bfloat16  # as the source, though a CPU computes in float32
    rows = json.loads((out / "compression.json").read_text())["rows"]
    assert {row["name"] for row in rows} == set(coded_layers(loaded))


@pytest.mark.parametrize("tied", [True, False])
def test_8_bit_embeddings(tmp_path, tied):
    """One byte per weight and two per token; the head reads the same table when it is tied, else one of its own."""
    model = tiny_lm("llama")
    model.config.tie_word_embeddings = tied
    model.tie_weights()
    model.save_pretrained(tmp_path / "model")
    options = {"embeddings": "int8", **QUIET}
    out = compress_folder(tmp_path / "model", tmp_path / "out", "2x4g4", batches(), **options)
    plain = compress_folder(tmp_path / "model", tmp_path / "plain", "2x4g4", batches(), **QUIET)
    quantize(model, "2x4g4", batches(), **options)
    model.save_pretrained(tmp_path / "memory")
    from transformers import AutoModelForCausalLM

    ids = {"input_ids": torch.arange(3, 13).view(1, 10)}
    dense = AutoModelForCausalLM.from_pretrained(plain)
    wished = dense(**ids).logits
    sizes = {}
    for folder in (out, tmp_path / "memory"):
        loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        table, head = loaded.get_input_embeddings(), loaded.get_output_embeddings()
        assert table.codes.dtype == torch.int8 and (head.source is table) == tied
        assert torch.equal(loaded(**ids).logits, model(**ids).logits)
        # 255 steps between -max and max of each row.
        error = (table.weight - dense.get_input_embeddings().weight).abs().amax(1)
        assert (error <= 0.51 * table.weight.abs().amax(1) / 127).all() and error.max() > 0
        assert (loaded(**ids).logits - wished).abs().max() < 0.1 * wished.abs().max()
        called = AutoModelForCausalLM.from_pretrained(folder, quantization_config=AdditiveConfig(decode="call"))
        assert called.get_input_embeddings().dense is None
        assert torch.allclose(called(**ids).logits, loaded(**ids).logits, atol=1e-5)
        undone = AutoModelForCausalLM.from_pretrained(folder, quantization_config=AdditiveConfig(dequantize=True))
        assert type(undone.get_input_embeddings()) is torch.nn.Embedding and not coded_layers(undone)
        assert (undone.lm_head.weight is undone.model.embed_tokens.weight) == tied
        assert torch.allclose(undone(**ids).logits, loaded(**ids).logits, atol=1e-5)
        sizes = {row.name: row for row in size_table(loaded)}
        assert sizes["model.embed_tokens"].bits == 8 + 16 / 32
        assert sizes["total"].weights == sum(p.numel() for p in undone.parameters())
    small, large = ((folder / "model.safetensors").stat().st_size for folder in (out, plain))
    assert large - small > (1 if tied else 2) * 64 * (32 * 3 - 2) - 400  # float32 before; names in the header differ
    tuned = PVTuning(model, others=True)
    assert not any(p.requires_grad for n, p in model.named_parameters() if "embed_tokens" in n or "lm_head" in n)
    assert torch.equal(tuned.finish()(**ids).logits, loaded(**ids).logits)
    assert model.config.quantization_config.embeddings == "int8"


def test_what_8_bit_embeddings_cannot_be(tmp_path):
    model = tiny_lm("gemma")  # multiplies its embeddings by a number: more than a look-up
    with pytest.raises(CompressError, match="plain Embedding, got a Gemma3TextScaledWordEmbedding"):
        quantize(model, "2x4g4", batches(), embeddings="int8", **QUIET)
    with pytest.raises(CompressError, match="expected dense or int8"):
        quantize(model, "2x4g4", batches(), embeddings="int4", **QUIET)
    tiny_lm().save_pretrained(tmp_path / "model")
    coded = compress_folder(tmp_path / "model", tmp_path / "out", "2x4g4", batches(), embeddings="int8", **QUIET)
    with pytest.raises(CompressError, match="aqlm does not know"):
        export_aqlm(coded, tmp_path / "stock")
    with pytest.raises(CompressError, match="dense embeddings"):
        compress_folder(tmp_path / "model", tmp_path / "o", "2x4g4", batches(), embeddings="int8", aqlm=True, **QUIET)


CORE = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {"trl", "peft", "datasets", "accelerate", "matplotlib", "aqlm", "scipy", "numba", "pytest"}
find = PathFinder.find_spec
hide = lambda name, path=None, target=None: None if name.split(".")[0] in HIDDEN else find(name, path, target)
PathFinder.find_spec = staticmethod(hide)
from riverone_hf.additive.pv import PVTuning
from riverone_hf.additive.quantize import quantize
from tiny_lms import batches, tiny_lm

model = tiny_lm()
quantize(model, "2x4g4", batches(2), preset="quick", embeddings="int8")
model.save_pretrained(sys.argv[1])
loaded, info = type(model).from_pretrained(sys.argv[1], output_loading_info=True)
assert not any(info.values()), info
assert len(PVTuning(loaded).layers) == 14 and not HIDDEN & set(sys.modules)
"""


def test_a_core_install_codes_loads_and_tunes(tmp_path):
    """Optional packages are hidden from the path finder, as in a minimal install."""
    paths = [str(Path(__file__).parent), str(Path(riverone_hf.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", CORE, str(tmp_path / "coded")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
