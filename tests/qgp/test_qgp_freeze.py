"""Freeze on save, live checkpoints while training, and no resuming from what is frozen (DESIGN, contract 1)."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from attached import Q, features, fused, llama, pixels, shared_model
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, LlamaForCausalLM

from fresh import run_fresh
from riverone_hf.build.recipe import load_recipe
from riverone_hf.build.stages import build_model
from riverone_hf.errors import FrozenResumeError, ModelFolderError, NonFiniteWeightError
from riverone_hf.model import RiverOneForConditionalGeneration, RiverOneVisionModel
from riverone_hf.model.generated_riverone import frozen_state
from riverone_hf.qgp import (
    LoRAConfig,
    ParamGenConfig,
    QGPConfig,
    attach,
    freeze,
    frozen_state_dict,
    generators,
    live_checkpoints,
    load_live,
    refuse_frozen,
    trained_parameters,
)
from tiny import tiny_processor


def train(model, call=features, steps=2):
    optimizer = torch.optim.Adam(trained_parameters(model), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        call(model).square().mean().backward()
        optimizer.step()
    return model


@pytest.fixture
def live():
    return train(attach(shared_model(), QGPConfig(layers=(1, 2, 3))))


def test_saved_model_is_plain_and_gives_the_same_features(live, tmp_path):
    before = features(live)
    names = list(live.state_dict())
    live.train()
    live.save_pretrained(tmp_path / "frozen")
    config = json.loads((tmp_path / "frozen" / "config.json").read_text())
    assert config["riverone_frozen"] is True and "riverone_live" not in config
    assert config["vision_config"]["qkv_map"] == [0, 1, 2, 3]
    assert config["vision_config"]["layer_map"] == [0, 1, 1, 0]
    assert not any("generator" in key for key in load_file(tmp_path / "frozen" / "model.safetensors"))

    loaded, info = RiverOneForConditionalGeneration.from_pretrained(tmp_path / "frozen", output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(features(loaded), before)
    # The live model goes on: same tensors, same maps, same mode, and it still learns.
    assert list(live.state_dict()) == names and live.training
    assert live.config.vision_config.qkv_map == [0, 1, 1, 0] and not hasattr(live.config, "riverone_frozen")
    assert torch.equal(features(live), before)
    train(live, steps=1)
    assert not torch.equal(features(live), before)
    # What was loaded is plain, and stays marked when it is saved again.
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["riverone_frozen"] is True


def test_layers_without_a_generator_still_share_their_set(tmp_path):
    model = train(attach(shared_model(qkv_map=[0, 0, 0, 0]), QGPConfig(layers=(1,))))
    model.save_pretrained(tmp_path)
    loaded = RiverOneForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.config.vision_config.qkv_map == [0, 1, 0, 0]
    assert len(loaded.model.vision_tower.qkv) == 2
    assert torch.equal(features(loaded), features(model))


def test_given_state_dicts_are_frozen_too(live, tmp_path):
    averaged = {key: value.clone() for key, value in live.state_dict().items()}
    for key in averaged:
        if key.endswith("angles"):
            averaged[key] += 0.2
    live.save_pretrained(tmp_path / "given", state_dict=averaged)
    other = copy.deepcopy(live)
    other.load_state_dict(averaged)
    loaded = RiverOneForConditionalGeneration.from_pretrained(tmp_path / "given")
    assert torch.equal(features(loaded), features(other)) and not torch.equal(features(loaded), features(live))


def test_incomplete_state_dicts_are_refused(live, tmp_path):
    partial = {key: value for key, value in live.state_dict().items() if not key.endswith("gate")}
    with pytest.raises(ValueError, match=r"lacks generator.gate .* Remedy"):
        live.save_pretrained(tmp_path / "bad", state_dict=partial)
    assert not (tmp_path / "bad").exists()
    # One that is plain already is saved as it is.
    foreign = attach(llama(), QGPConfig(modules=("*q_proj",)))
    plain = frozen_state_dict(foreign)
    assert frozen_state(foreign, plain)[0].keys() == plain.keys()
    live.save_pretrained(tmp_path / "plain", state_dict=frozen_state_dict(live))
    loaded = RiverOneForConditionalGeneration.from_pretrained(tmp_path / "plain")
    assert loaded.config.vision_config.qkv_map == [0, 1, 2, 3] and torch.equal(features(loaded), features(live))
    # The stored weights alone are neither.
    stored = {key: value for key, value in live.state_dict().items() if ".generator." not in key}
    with pytest.raises(ValueError, match="lacks generator"):
        live.save_pretrained(tmp_path / "bad", state_dict=stored)


def test_vision_tower_alone(tmp_path):
    tower = train(attach(shared_model().model.vision_tower, Q), lambda m: m(pixels()).last_hidden_state)
    tower.save_pretrained(tmp_path)
    loaded = RiverOneVisionModel.from_pretrained(tmp_path)
    assert loaded.config.qkv_map == [0, 1, 2, 3]
    assert torch.equal(loaded(pixels()).last_hidden_state, tower(pixels()).last_hidden_state)


def test_live_checkpoint_resumes_bit_for_bit(live, tmp_path):
    with live_checkpoints(live):
        live.save_pretrained(tmp_path / "live")
    live.save_pretrained(tmp_path / "frozen")
    config = json.loads((tmp_path / "live" / "config.json").read_text())
    assert config["riverone_frozen"] is False and config["riverone_live"][0]["method"] == "qgp"
    refuse_frozen(tmp_path / "live")
    resumed = load_live(tmp_path / "live").eval()
    assert len(generators(resumed)) == len(generators(live)) == 6
    for model in (live, resumed):
        train(model)
    assert torch.equal(features(live), features(resumed))
    # Also into a model that was built and attached by hand, as a Trainer does.
    by_hand = attach(shared_model(), QGPConfig(layers=(1, 2, 3)))
    state = load_file(tmp_path / "live" / "model.safetensors")
    assert by_hand.load_state_dict(state, strict=False).missing_keys == ["lm_head.weight"]
    with pytest.raises(ValueError, match="live training checkpoint"):
        RiverOneForConditionalGeneration.from_pretrained(tmp_path / "live")


def test_resuming_from_a_frozen_folder_is_refused(live, tmp_path):
    live.save_pretrained(tmp_path)
    for call in (refuse_frozen, load_live):
        with pytest.raises(FrozenResumeError, match="live_checkpoints"):
            call(tmp_path)
    # What a Trainer does on resume: load the tensors into the attached model.
    with pytest.raises(FrozenResumeError, match="plain tensor"):
        live.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    loaded = RiverOneForConditionalGeneration.from_pretrained(tmp_path)
    with pytest.raises(FrozenResumeError, match="restart=True"):
        attach(loaded, QGPConfig())
    assert generators(attach(loaded, QGPConfig(), restart=True))


def test_load_live_refuses_other_folders(tmp_path):
    with pytest.raises(ModelFolderError, match=r"no config.json"):
        load_live(tmp_path)
    shared_model().save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="not a live checkpoint"):
        load_live(tmp_path)


def test_freeze_in_place_equals_the_live_model(live):
    before = features(live)
    state = torch.get_rng_state()
    assert freeze(live) is live
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(features(live), before)
    assert not generators(live) and live.config.vision_config.qkv_map == [0, 1, 2, 3]
    assert all(parameter.requires_grad for parameter in live.model.vision_tower.qkv.parameters())
    assert live.config.riverone_frozen


def test_non_finite_weights_are_refused(live, tmp_path):
    with torch.no_grad():
        next(iter(generators(live).values())).gate[0] = torch.inf
    for call in (freeze, frozen_state_dict):
        with pytest.raises(NonFiniteWeightError, match="infinite or NaN"):
            call(live)
    with pytest.raises(ValueError, match="infinite or NaN"):
        live.save_pretrained(tmp_path / "bad")
    assert not (tmp_path / "bad").exists() and generators(live)
    assert frozen_state_dict(live, safe_merge=False)


def test_noise_of_training_is_not_saved(tmp_path):
    noisy = {"n_wires": 3, "latent": 4, "noise_prob": 0.9}
    ids = torch.arange(6)[None]
    for model, call, pattern in (
        (shared_model(), features, "*qkv.*.q_proj"),
        (llama(), lambda m: m(ids).logits, "*q_proj"),
    ):
        train(attach(model, ParamGenConfig(modules=(pattern,), **noisy)).train(), call)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        first, second = frozen_state_dict(model), frozen_state_dict(model)
        assert all(torch.equal(value, second[name]) for name, value in first.items())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(module.training for module in model.modules())
        assert not torch.equal(call(model), call(model))  # the live model is still noisy
        live = call(model.eval())
        assert torch.equal(call(freeze(model)), live)


@pytest.mark.parametrize("config", [QGPConfig(modules=("*q_proj",)), LoRAConfig(modules=("*q_proj",))])
def test_model_of_others(config, tmp_path):
    ids = torch.arange(6)[None]
    model = train(attach(llama(), config), lambda m: m(ids).logits)
    before = model(ids).logits
    model.save_pretrained(tmp_path / "plain", state_dict=frozen_state_dict(model))
    loaded, info = LlamaForCausalLM.from_pretrained(tmp_path / "plain", output_loading_info=True)
    assert not any(info.values()) and torch.equal(loaded(ids).logits, before)
    with pytest.raises(FrozenResumeError, match="plain tensor"):
        model.load_state_dict(load_file(tmp_path / "plain" / "model.safetensors"), strict=False)
    # A copy shares the class of its parametrized Linears; freezing one leaves the other live.
    twin = freeze(copy.deepcopy(model))
    assert not generators(twin) and generators(model)
    assert torch.equal(twin(ids).logits, before) and torch.equal(model(ids).logits, before)
    twin.load_state_dict(frozen_state_dict(model))
    assert type(twin.model.layers[0].self_attn.q_proj) is torch.nn.Linear


def test_fused_rows_freeze_to_what_they_were():
    model = attach(fused(), QGPConfig(modules=("*.qkv",), row_slices=3))
    train(model, lambda m: m.blocks[0]["qkv"].weight + m.blocks[1]["qkv"].weight)
    weight = model.blocks[0]["qkv"].weight.detach()
    assert torch.equal(frozen_state_dict(model)["blocks.0.qkv.weight"], weight)
    assert torch.equal(freeze(model).blocks[0]["qkv"].weight, weight)


@pytest.fixture(scope="module")
def nano():
    """The model of the nano recipe with four layers that share two blocks."""
    shared = ["model.vision.layer_map=[0, 0, 1, 1]", "model.tokenizer.plots=40", "model.tokenizer.vocab_size=512"]
    return build_model(load_recipe("nano", shared))


@pytest.mark.parametrize("size", ["tiny", "nano"])
def test_frozen_model_needs_neither_circuit_nor_package(size, live, nano, tmp_path):
    folder, figure = tmp_path / "published", tmp_path / "figure.png"
    processor = tiny_processor(live.config)
    if size == "nano":
        image, (model, processor) = torch.rand(1, 3, 128, 128), nano
        live = attach(model.eval(), QGPConfig(register="tiled"))
        train(live, lambda m: m.get_image_features(image).pooler_output, steps=1)
        assert len(generators(live)) == 6 and live.config.vision_config.qkv_map == [0, 0, 1, 1]
    live.save_pretrained(folder)
    processor.save_pretrained(folder)
    Image.new("RGB", (32, 32), "red").save(figure)
    found, errors = run_fresh(folder, figure, tmp_path)
    assert found["loaded"] == [] and not any(found["info"].values()), errors
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.config.vision_config.qkv_map == [0, 1, 2, 3]
    content = [{"type": "image", "path": str(figure)}, {"type": "text", "text": "see <image> <IMG_CONTEXT>"}]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        here, there = model(**batch).logits, torch.load(f"{folder}-logits.pt")
        assert torch.equal(here, live(**batch).logits)
    torch.testing.assert_close(here, there)
