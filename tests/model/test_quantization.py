"""Coded layers: exact codes, decoding, and checkpoints that load what was saved or say why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fresh import run_fresh
from riverone_hf.model import RiverOneForConditionalGeneration, RiverOneModel, quantization_riverone
from riverone_hf.model.codes_riverone import pack_codes, unpack_codes
from riverone_hf.model.quantization_riverone import (
    AdditiveConfig,
    AdditiveLinear,
    AdditiveScheme,
    coded_layers,
    decode,
    linear_size,
    register,
    replace_linears,
)
from tiny import tiny_config, tiny_model, tiny_processor


def coded_model(shared: bool = True):
    """A tiny RiverONE whose language model holds random codes of two schemes, k_proj with shared codebooks."""
    model = tiny_model()
    names = [n for n, m in model.named_modules() if ".language_model." in n and linear_size(m)]
    schemes = {n: "1x6g4" if "v_proj" in n else "2x4g8" for n in names}
    config = AdditiveConfig(schemes, {n: "keys" for n in names if "k_proj" in n} if shared else {})
    replace_linears(model, config)
    generator = torch.Generator().manual_seed(0)
    for layer in coded_layers(model).values():
        scheme = layer.scheme
        codes = torch.randint(2**scheme.nbits_per_codebook, layer.unpacked().shape, generator=generator)
        books = torch.randn(scheme.codebooks_shape, generator=generator)
        layer.set_code(codes, books, 0.2 * torch.rand(layer.scales.shape, generator=generator))
    model.config.quantization_config = config
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[torch.Tensor, Path]:
    """Logits of a coded model, and its folder."""
    model, folder = coded_model(), tmp_path_factory.mktemp("coded") / "model"
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    with torch.no_grad():
        return model(IDS).logits, folder


IDS = torch.arange(10, 30).view(2, 10)


@pytest.mark.parametrize(
    ("text", "bits"), [("2x8g8", 2.0043), ("1x16g16", 1.6753), ("1x12g8", 1.5227), ("2x14g16", 2.0885)]
)
def test_bits_count_codes_books_and_scales(text, bits):
    scheme = AdditiveScheme.parse(text)
    # SPEC 1.5: MLP matrices of 2560 x 9728 in the full-size model.
    assert scheme.bits_per_weight(2560, 9728) == pytest.approx(bits, abs=2e-4)
    assert str(scheme) == text and scheme == AdditiveScheme.parse(str(scheme)) and hash(scheme)
    books = 16 * scheme.num_codebooks * 2**scheme.nbits_per_codebook * scheme.in_group_size
    saving = scheme.bits_per_weight(1024, 2560) - scheme.bits_per_weight(1024, 2560, shared_by=4)
    assert saving == pytest.approx(0.75 * books / (1024 * 2560))


@pytest.mark.parametrize("text", ["8g8", "2x8", "2x17g8", "0x8g8", "2x8g8o17", "2x8g8 x"])
def test_bad_schemes_are_refused(text):
    with pytest.raises(ValueError, match=r"scheme"):
        AdditiveScheme.parse(text)


def test_scheme_that_does_not_fit():
    with pytest.raises(ValueError, match="10x12"):
        AdditiveScheme(2, 8, 8).codes_shape(10, 12)


@pytest.mark.parametrize("text", ["2x8g8", "1x12g8", "3x5g4", "1x16g8", "2x3g4o2", "1x1g8"])
def test_packing_is_exact_and_as_small_as_claimed(text):
    scheme = AdditiveScheme.parse(text)
    shape = scheme.codes_shape(6, 40)
    codes = torch.randint(2**scheme.nbits_per_codebook, shape)
    packed = pack_codes(codes, scheme.nbits_per_codebook)
    assert packed.dtype == torch.uint8 and packed.shape == (shape[0], scheme.row_bytes(40))
    assert torch.equal(unpack_codes(packed, scheme.nbits_per_codebook, shape).long(), codes)


def test_decode_is_the_formula():
    scheme = AdditiveScheme(2, 3, 4, 2)
    codes = torch.randint(8, scheme.codes_shape(6, 8))
    books, scales = torch.randn(scheme.codebooks_shape), torch.rand(3, 1, 1, 1)
    expected = torch.zeros(6, 8)
    for r in range(3):
        for j in range(2):
            entry = books[0, codes[r, j, 0]] + books[1, codes[r, j, 1]]
            expected[2 * r : 2 * r + 2, 4 * j : 4 * j + 4] = scales[r, 0, 0, 0] * entry
    assert torch.allclose(decode(codes, books, scales), expected)
    # int8 storage wraps around.
    assert torch.equal(decode((codes - 8).to(torch.int8), books, scales), decode(codes, books, scales))


def test_decode_has_gradients():
    scheme = AdditiveScheme(2, 2, 2)
    codes = torch.randint(4, scheme.codes_shape(3, 4))
    books = torch.randn(scheme.codebooks_shape, dtype=torch.float64, requires_grad=True)
    scales = torch.rand(3, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b, s: decode(codes, b, s), (books, scales))


def test_save_and_load_keep_every_bit(saved, tmp_path, monkeypatch):
    logits, folder = saved
    lines: list[str] = []
    monkeypatch.setattr(quantization_riverone.logger, "warning", lines.append)
    model, info = RiverOneForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert len(lines) == 1 and "decoded once at load" in lines[0] and "\n" not in lines[0]
    layer = model.model.language_model.layers[0].mlp.up_proj
    assert isinstance(layer, AdditiveLinear) and layer.dense is not None
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)
    model.save_pretrained(tmp_path / "again")
    one, two = (f / "model.safetensors" for f in (folder, tmp_path / "again"))
    assert one.read_bytes() == two.read_bytes()


def test_shared_codebooks_are_stored_once(saved):
    from safetensors import safe_open

    with safe_open(saved[1] / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "additive_codebooks.for_keys" in names and not [n for n in names if "k_proj.codebooks" in n]


def test_dequantize_gives_an_ordinary_model(saved, tmp_path):
    logits, folder = saved
    with pytest.warns(UserWarning, match="dequantize"):
        model, info = RiverOneForConditionalGeneration.from_pretrained(
            folder, output_loading_info=True, quantization_config=AdditiveConfig(dequantize=True)
        )
    assert not any(info.values()) and not coded_layers(model)
    assert type(model.model.language_model.layers[1].self_attn.k_proj) is nn.Linear
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)
    model.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    plain = RiverOneForConditionalGeneration.from_pretrained(folder).dequantize()
    assert not coded_layers(plain) and all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))


def test_decode_at_each_call_needs_no_dense_weights(saved):
    logits, folder = saved
    with pytest.warns(UserWarning, match="decode"):
        model = RiverOneForConditionalGeneration.from_pretrained(
            folder, quantization_config=AdditiveConfig(decode="call")
        )
    assert all(layer.dense is None for layer in coded_layers(model).values())
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)


def test_base_model_finds_the_same_layers(saved):
    _, folder = saved
    base, info = RiverOneModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    full = RiverOneForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(base(IDS).last_hidden_state, full.model(IDS).last_hidden_state)


def test_config_that_names_no_module_is_refused(saved, tmp_path):
    import shutil

    folder = Path(shutil.copytree(saved[1], tmp_path / "broken"))
    config = json.loads((folder / "config.json").read_text())
    modules = config["quantization_config"]["modules"]
    modules["model.language_model.layers.7.mlp.up_proj"] = "2x4g8"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"layers.7.mlp.up_proj"):
        RiverOneForConditionalGeneration.from_pretrained(folder)


def test_our_loader_refuses_codes_that_are_missing(saved, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from riverone_hf.errors import ModelFolderError
    from riverone_hf.reader.loading import load_model

    model, _ = load_model(saved[1])
    assert coded_layers(model)
    folder = Path(shutil.copytree(saved[1], tmp_path / "broken"))
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.language_model.layers.0.mlp.up_proj.codes")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFolderError, match="1 missing weight"):
        load_model(folder)


def test_registering_twice_changes_nothing():
    from transformers.quantizers import auto

    before = auto.AUTO_QUANTIZER_MAPPING["riverone_additive"], auto.LOADING_ATTRIBUTES_CONFIG_TYPES
    register()
    assert before == (auto.AUTO_QUANTIZER_MAPPING["riverone_additive"], auto.LOADING_ATTRIBUTES_CONFIG_TYPES)


def test_bf16_keeps_the_stored_codebooks(saved):
    model = RiverOneForConditionalGeneration.from_pretrained(saved[1], dtype=torch.bfloat16)
    layer = model.model.language_model.layers[0].mlp.up_proj
    assert layer.codebooks.dtype == torch.float16 and layer.weight.dtype == torch.bfloat16
    with torch.no_grad():
        assert model(IDS).logits.dtype == torch.bfloat16


def test_a_process_without_this_package_loads_codes(saved, tmp_path):
    from PIL import Image

    figure, home = tmp_path / "figure.png", tmp_path / "home"
    home.mkdir()
    Image.new("RGB", (40, 40), "white").save(figure)
    report, _ = run_fresh(saved[1], figure, home)
    assert not any(report["info"].values()), report["info"]
    assert report["module"].startswith("transformers_modules") and not report["loaded"]
    model = AutoModelForImageTextToText.from_pretrained(saved[1])
    content = [{"type": "image", "image": Image.open(figure)}, {"type": "text", "text": "see <image> <IMG_CONTEXT>"}]
    batch = tiny_processor(tiny_config()).apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        assert torch.allclose(torch.load(f"{saved[1]}-logits.pt"), model(**batch).logits, atol=1e-5)
    again = Path(f"{saved[1]}-again")
    assert {"quantization_riverone.py", "codes_riverone.py"} <= {p.name for p in again.glob("*.py")}
