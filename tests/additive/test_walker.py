"""Every Linear is coded on the inputs that it really gets, one block in memory, whatever the architecture."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import torch
from tiny_lms import CONFIGS, SIZES, batches, simple_coder, tiny_lm

from riverone_hf.additive.quantize import compress_folder, quantize
from riverone_hf.additive.source import FolderModel
from riverone_hf.additive.targets import find_text_tower, make_plan, not_linear
from riverone_hf.additive.walker import Walker, fingerprint
from riverone_hf.additive.workfolder import WorkFolder
from riverone_hf.errors import CompressError
from riverone_hf.model.quantization_riverone import AdditiveScheme, coded_layers
from tiny import tiny_config, tiny_model, tiny_processor

QUIET: dict[str, Any] = {"say": lambda line: None, "coder": simple_coder}


class Recorder:
    """A coder that keeps the statistics it was given; it knows the Linear by its seed, which is drawn from the name."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[torch.Tensor, torch.Tensor | None, int | None]] = {}

    def __call__(self, weight, xtx, scheme, *, n_samples=None, held_out_xtx=None, seed=0):
        self.seen[seed] = (xtx, held_out_xtx, n_samples)
        return simple_coder(weight, xtx, scheme, seed=seed)

    def of(self, name: str) -> tuple[torch.Tensor, torch.Tensor | None, int | None]:
        return self.seen[zlib.crc32(name.encode()) % 2**31]


def input_moments(model: Any, inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Mean of x x^T at every coded layer of a finished model, pads left out, by plain hooks on whole forward passes."""
    rows: dict[str, list[torch.Tensor]] = {}
    mask: list[torch.Tensor] = []

    def hook(name: str):
        def add(module, args):
            x = args[0]
            keep = x[mask[-1].bool()] if x.shape[:2] == mask[-1].shape else x.flatten(0, -2)
            rows.setdefault(name, []).append(keep)

        return add

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in coded_layers(model).items()]
    with torch.no_grad():
        for batch in inputs:
            mask.append(batch["attention_mask"])
            model(**batch)
    for handle in handles:
        handle.remove()
    found = {name: torch.cat(parts).double() for name, parts in rows.items()}
    return {name: (x.t() @ x / len(x)).float() for name, x in found.items()}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_statistics_are_those_of_the_coded_model(name):
    """The input of a Linear depends on earlier layers only, so the finished model must show the same statistics."""
    model, inputs, recorder = tiny_lm(name), batches(), Recorder()
    rows = quantize(model, "1x5g4", inputs, held_out=0, say=lambda line: None, coder=recorder)
    expected = input_moments(model, inputs)
    assert len(rows) == len(recorder.seen) - 1 == len(expected) >= 8
    for row in rows:
        xtx, _, count = recorder.of(row["name"])
        assert count == sum(int(batch["attention_mask"].sum()) for batch in inputs)
        assert torch.allclose(xtx, expected[row["name"]], rtol=1e-4, atol=1e-5), row["name"]
    assert all(0 < row["error"] < 1 and row["held_out_error"] is None for row in rows)
    assert not any("lm_head" in row["name"] for row in rows)


def test_held_out_batches_only_measure():
    model, inputs, recorder = tiny_lm(), batches(4), Recorder()
    rows = quantize(model, "1x5g4", inputs, held_out=4, say=lambda line: None, coder=recorder)
    first = rows[0]["name"]
    assert torch.allclose(recorder.of(first)[0], input_moments(model, inputs[:3])[first], rtol=1e-4, atol=1e-5)
    assert torch.allclose(recorder.of(first)[1], input_moments(model, inputs[3:])[first], rtol=1e-4, atol=1e-5)
    assert all(row["held_out_error"] > 0 for row in rows)


def conversations(count: int = 3) -> list[dict[str, Any]]:
    """RiverONE inputs with one image each, made by the processor."""
    from PIL import Image

    processor, found = tiny_processor(), []
    for index in range(count):
        picture = Image.new("RGB", (40, 30), (20 * index, 200, 30))
        picture.paste((200, 30, 30), (5, 5, 20 + index, 20))
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"what {index}?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a line" * (index + 1)}]},
        ]
        text = processor.apply_chat_template(messages, tokenize=False)
        found.append(dict(processor(text=[text], images=[picture], return_tensors="pt")))
    return found


def test_riverone_with_vision_and_projector():
    """Vision first, then the projector, then the language model on image tokens that come from coded parts."""
    model, inputs, recorder = tiny_model(), conversations(), Recorder()
    parts = ("vision", "projector")
    rows = quantize(model, "1x5g4", inputs, include=parts, held_out=0, say=lambda line: None, coder=recorder)
    names = [row["name"] for row in rows]
    places = [next(i for i, n in enumerate(names) if part in n) for part in ("vision", "projector", "language")]
    assert places == sorted(places) and places[0] == 0
    expected = input_moments(model, inputs)
    for name in names:
        assert torch.allclose(recorder.of(name)[0], expected[name], rtol=1e-3, atol=1e-5), name
    # Without --include they stay as they are.
    plain = make_plan(tiny_model(), "1x5g4")
    assert all(".language_model." in target.name for target in plan_targets(plain))


def plan_targets(plan):
    """All targets of a plan, at least one."""
    assert plan.targets
    return plan.targets


def test_shared_vision_blocks_see_all_their_layers():
    config = tiny_config(vision={"layer_map": [0, 0, 1]})
    model, inputs, recorder = tiny_model(config), conversations(), Recorder()
    quantize(model, "1x5g4", inputs, include=["vision"], held_out=0, say=lambda line: None, coder=recorder)
    tiles = sum(len(batch["pixel_values"]) for batch in inputs)
    used_twice, used_once = (recorder.of(f"model.vision_tower.qkv.{i}.q_proj")[2] for i in range(2))
    assert (used_twice, used_once) == (2 * tiles * 16, tiles * 16)


def test_one_block_in_memory(tmp_path):
    model = tiny_lm("llama")
    model.save_pretrained(tmp_path / "model")
    source = FolderModel(tmp_path / "model", torch.float32, "cpu")
    loaded: list[int] = []

    def watching(weight, xtx, scheme, **options):
        blocks = source.model.model.layers
        loaded.append(sum(any(p.device.type != "meta" for p in block.parameters()) for block in blocks))
        return simple_coder(weight, xtx, scheme)

    plan, inputs = make_plan(source.model, "1x5g4"), batches()
    work = WorkFolder(tmp_path / "work", fingerprint(source, plan, inputs, "quick", 0, 0))
    Walker(source, plan, inputs, work, watching, say=lambda line: None).run()
    assert loaded == [1] * len(plan.targets)
    assert source.model.lm_head.weight.device.type == "meta"
    acts = sorted(path.name for path in (tmp_path / "work" / "acts").iterdir())
    assert acts == ["calls", "into-1"]


def test_folder_and_memory_give_the_same_checkpoint(tmp_path):
    model, inputs = tiny_lm(), batches()
    model.save_pretrained(tmp_path / "model")
    overrides = {"k_proj|v_proj": "1x3g4", r"layers\.1\.mlp": "none"}
    quantize(model, "2x4g4", inputs, overrides=overrides, **QUIET)
    model.save_pretrained(tmp_path / "one")
    out = compress_folder(tmp_path / "model", tmp_path / "two", "2x4g4", inputs, overrides=overrides, **QUIET)
    read = [(folder / "model.safetensors") for folder in (tmp_path / "one", out)]
    from safetensors.torch import load_file

    one, two = map(load_file, read)
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert not (tmp_path / "two.work").exists()
    schemes = {name.rpartition(".")[2]: str(layer.scheme) for name, layer in coded_layers(model).items()}
    assert schemes["k_proj"] == "1x3g4" and schemes["q_proj"] == "2x4g4"
    assert "model.layers.1.mlp.up_proj.weight" in two and "model.layers.0.mlp.up_proj.codes" in two


def test_finding_blocks_and_naming_mistakes():
    assert find_text_tower(tiny_model())[1] == [f"model.language_model.layers.{i}" for i in range(2)]
    model = tiny_lm()
    for options, text in (
        ({"overrides": {"kproj": "1x4g4"}}, "'kproj'"),
        ({"overrides": {"k_proj": "1y4"}}, "1y4"),
        ({"exclude": "("}, "regular expression"),
        ({"include": ["sound"]}, "sound"),
        ({"include": ["vision"]}, "no Linear outside"),
        ({"exclude": "."}, "no Linear is left"),
    ):
        with pytest.raises(CompressError, match=text.replace("(", r"\(")):
            make_plan(model, "2x4g8", **options)
    with pytest.raises(CompressError, match=r"q_proj: scheme 1x4g64 does not fit"):
        make_plan(model, AdditiveScheme(1, 4, 64))


def test_experts_in_one_tensor_are_named_as_left_out():
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    model = AutoModelForCausalLM.from_config(Qwen3MoeConfig(**SIZES, num_key_value_heads=2, head_dim=8, **experts))
    kept = not_linear(model, make_plan(model, "2x4g8"))
    assert {name.rpartition(".")[2] for name in kept} >= {"gate_up_proj", "down_proj"}
    assert not not_linear(tiny_lm("qwen3"), make_plan(tiny_lm("qwen3"), "2x4g8"))
    lines: list[str] = []
    quantize(model, "1x4g4", batches(), coder=simple_coder, say=lines.append)
    (line,) = [line for line in lines if "no Linear" in line]
    assert "mlp.experts.gate_up_proj" in line


def test_vision_needs_images():
    with pytest.raises(CompressError, match="rows with images"):
        ids = torch.randint(6, 262, (1, 8))
        text = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
        quantize(tiny_model(), "1x5g4", text, include=["projector"], **QUIET)


def test_a_budget_is_shared_out(tmp_path):
    """Matrices that lose more get more bits; an override keeps its scheme; the sum stays within the budget."""
    from riverone_hf.additive.source import LoadedModel
    from riverone_hf.additive.survey import plan_for_budget

    model, inputs, lines = tiny_lm(), batches(), []
    before = {name: p.clone() for name, p in model.named_parameters()}
    plan = make_plan(model, "1x1g1", overrides={"o_proj": "1x5g4", "mlp.(gate|down)": "none"})
    options: dict[str, Any] = {"candidates": ["1x3g8", "2x4g8", "2x4g4"], "say": lines.append}
    chosen = plan_for_budget(LoadedModel(model), plan, inputs, tmp_path / "survey", 3.4, **options)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    schemes = {target.name: str(target.scheme) for target in chosen.targets}
    assert all((scheme == "1x5g4") == ("o_proj" in name) for name, scheme in schemes.items())
    assert len(set(schemes.values())) >= 3
    stored = sum(target.scheme.stored_bytes(*target.size) for target in chosen.targets)
    assert 3.0 < 8 * stored / sum(target.weights for target in chosen.targets) <= 3.4
    assert "budget 3.4 bits per weight" in lines[-1]
    again: list[str] = []
    repeat = plan_for_budget(
        LoadedModel(model), plan, inputs, tmp_path / "survey", 3.4, **options | {"say": again.append}
    )
    assert repeat == chosen and not any("measured" in line for line in again)


def test_codebooks_shared_over_layers(tmp_path):
    """k_proj and v_proj of both layers have one set of codebooks each, stored once, and are coded on true inputs."""
    from safetensors import safe_open

    model, inputs, lines = tiny_lm(), batches(), []
    model.save_pretrained(tmp_path / "model")
    options: dict[str, Any] = {"share": "k_proj|v_proj", "preset": "quick", "say": lines.append}
    out = compress_folder(tmp_path / "model", tmp_path / "out", "2x4g4", inputs, **options)
    assert any("fitting codebooks k_proj_2x4g4 on 2 of 2 layers" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]
    with safe_open(out / "model.safetensors", "pt") as file:
        books = sorted(name for name in file.keys() if "codebooks" in name)  # noqa: SIM118
    assert len(books) == 2 + 10 and books[0] == "additive_codebooks.for_k_proj_2x4g4"
    loaded, info = type(model).from_pretrained(out, output_loading_info=True)
    assert not any(info.values())
    rows = quantize(model, "2x4g4", inputs, **options)
    again = coded_layers(model)
    assert all(torch.equal(layer.weight, again[name].weight) for name, layer in coded_layers(loaded).items())
    alone = quantize(tiny_lm(), "2x4g4", inputs, preset="quick", say=lambda line: None)
    for one, other in zip(rows, alone):
        limit = 2.5 if one["name"].endswith(("k_proj", "v_proj")) else 1.2
        assert one["error"] < limit * other["error"], one["name"]
