from __future__ import annotations

import warnings

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import DynamicCache

from riverone_hf.model import RiverOneForConditionalGeneration, RiverOneModel, RiverOneVisionModel
from riverone_hf.model.modeling_riverone import CACHE_NAME
from tiny import tiny_config, tiny_model, tiny_processor


def figure(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).line([(0, seed * 7 % 30), (39, seed * 13 % 30)], fill=(seed * 40 % 255, 0, 90), width=4)
    return image


def conversation(text: str, *images: Image.Image) -> list[dict]:
    parts = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def inputs_of(processor, *conversations: list[dict], **images_kwargs):
    return processor.apply_chat_template(
        list(conversations),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "images_kwargs": images_kwargs},
    )


@pytest.fixture(scope="module")
def model() -> RiverOneForConditionalGeneration:
    return tiny_model()


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


def test_names_that_other_tools_rely_on(model):
    assert model.base_model_prefix == "model"
    assert isinstance(model.base_model, RiverOneModel)
    assert isinstance(model.model.vision_tower, RiverOneVisionModel)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert model.get_input_embeddings() is model.model.language_model.embed_tokens
    assert "RiverOneVisionModel" in model._no_split_modules and "Qwen3DecoderLayer" in model._no_split_modules
    untied = RiverOneForConditionalGeneration(tiny_config(tie_word_embeddings=False))
    assert untied.lm_head.weight is not untied.model.language_model.embed_tokens.weight


def test_images_reach_the_logits_and_text_is_causal(model, processor):
    one = inputs_of(processor, conversation("what?", figure(1)))
    two = inputs_of(processor, conversation("what?", figure(2)))
    logits = model(**one).logits
    assert not torch.allclose(logits, model(**two).logits, atol=1e-3)
    longer = inputs_of(processor, conversation("what then", figure(1)))
    shared = int((one["input_ids"][0, :20] == longer["input_ids"][0, :20]).sum())
    assert shared < 20
    assert torch.allclose(model(**longer).logits[0, :15], logits[0, :15], atol=1e-5)


def test_loss_and_logits_to_keep(model, processor):
    batch = inputs_of(processor, conversation("what?", figure(1)))
    output = model(**batch, labels=batch["input_ids"])
    expected = torch.nn.functional.cross_entropy(output.logits[0, :-1], batch["input_ids"][0, 1:])
    assert torch.allclose(output.loss, expected, atol=1e-6)
    # Exactly the head of the last two positions; the head of all positions rounds differently on some processors.
    hidden = model.base_model(**batch).last_hidden_state
    last_two = model(**batch, logits_to_keep=2).logits
    assert torch.equal(last_two, model.lm_head(hidden[:, -2:]))
    assert torch.allclose(last_two, output.logits[:, -2:], atol=1e-5)
    assert hidden.shape == (*batch["input_ids"].shape, 32)
    assert isinstance(model(**batch, return_dict=False), tuple)


def test_cache_equals_no_cache(model, processor):
    batch = inputs_of(processor, conversation("count", figure(3)), conversation("and this one?", figure(4), figure(5)))
    options = {"max_new_tokens": 12, "do_sample": False}
    cached = model.generate(**batch, **options)
    assert torch.equal(cached, model.generate(**batch, use_cache=False, **options))
    # Not one token over and over, and not the same for both.
    written = cached[:, batch["input_ids"].shape[1] :].tolist()
    assert len(set(written[0])) > 3 and written[0] != written[1]


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_is_taken_by_both_of_its_names_without_a_warning(model, processor, name):
    """transformers 5.24 renamed it; its own models warn about the old name, and earlier ones know no other."""
    batch = inputs_of(processor, conversation("count the lines", figure(3)))
    ids, mask = batch["input_ids"], batch["attention_mask"]
    expected = model(**batch).logits[:, -3:]
    for module, out_of in ((model, "logits"), (model.model, "last_hidden_state")):
        cache = DynamicCache(config=model.config.get_text_config())
        head = {"input_ids": ids[:, :-3], "attention_mask": mask[:, :-3], "pixel_values": batch["pixel_values"]}
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            first = module(**head, **{name: cache}, use_cache=True)
            rest = module(input_ids=ids[:, -3:], attention_mask=mask, **{name: cache}, use_cache=True)
        assert cache.get_seq_length() == ids.shape[1]
        assert any(value is cache for value in first.values())
        logits = rest[out_of] if module is model else model.lm_head(rest[out_of])
        assert torch.allclose(logits, expected, atol=1e-5)


def test_generate_continues_from_a_cache(model, processor):
    batch = inputs_of(processor, conversation("count", figure(3)))
    options = {"max_new_tokens": 6, "do_sample": False}
    whole = model.generate(**batch, **options, return_dict_in_generate=True)
    first = model.generate(**batch, **{**options, "max_new_tokens": 3}, return_dict_in_generate=True)
    cache = first[CACHE_NAME]
    assert cache.get_seq_length() == first.sequences.shape[1] - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        rest = model.generate(first.sequences, **{CACHE_NAME: cache}, **{**options, "max_new_tokens": 3})
    assert torch.equal(rest, whole.sequences)


def test_batch_equals_single_with_left_padding_and_any_number_of_images(model, processor):
    conversations = [
        conversation("none"),
        conversation("one image, and a longer question", figure(1)),
        conversation("two", figure(2), figure(3)),
    ]
    batch = inputs_of(processor, *conversations)
    assert batch["pixel_values"].shape[0] == 3
    assert (batch["attention_mask"][0] == 0).any() and batch["attention_mask"][:, -1].all()
    together = model.generate(**batch, max_new_tokens=10, do_sample=False)
    logits = model(**batch).logits
    for row, single in enumerate(conversations):
        alone = inputs_of(processor, single)
        length = alone["input_ids"].shape[1]
        assert torch.allclose(model(**alone).logits[0], logits[row, -length:], atol=1e-4)
        written = model.generate(**alone, max_new_tokens=10, do_sample=False)[0, length:]
        assert together[row, batch["input_ids"].shape[1] :][: len(written)].tolist() == written.tolist()


def test_tiles_of_one_image_make_one_longer_run(model):
    processor = tiny_processor(crop_to_patches=True, max_patches=4)
    batch = inputs_of(processor, conversation("wide", figure(1, (120, 30)), figure(2, (30, 30))))
    # 4 tiles + thumbnail, then 1 tile; 4 tokens each.
    assert batch["pixel_values"].shape[0] == 6
    assert int((batch["input_ids"] == model.config.image_token_id).sum()) == 24
    assert torch.isfinite(model(**batch).logits).all()


def test_beams_keep_each_samples_tiles(model, processor):
    conversations = [conversation("two", figure(2), figure(3)), conversation("one", figure(1))]
    batch = inputs_of(processor, *conversations)
    _, expanded = model._expand_inputs_for_generation(expand_size=2, **batch)
    a, b, c = batch["pixel_values"]
    assert torch.equal(expanded["pixel_values"], torch.stack([a, b, a, b, c, c]))
    together = model.generate(**batch, max_new_tokens=6, num_beams=2, num_return_sequences=2, do_sample=False)
    alone = inputs_of(processor, conversations[0])
    single = model.generate(**alone, max_new_tokens=6, num_beams=2, num_return_sequences=2, do_sample=False)
    start, length = batch["input_ids"].shape[1], alone["input_ids"].shape[1]
    assert together[:2, start:].tolist() == single[:, length:].tolist()


def test_missing_and_surplus_images_are_errors(model, processor):
    batch = inputs_of(processor, conversation("two", figure(2), figure(3)))
    with pytest.raises(ValueError, match=r"8 image tokens .* 4 features \(1 tiles x 4\)"):
        model(**{**batch, "pixel_values": batch["pixel_values"][:1]})
    without = {key: value for key, value in batch.items() if key != "pixel_values"}
    with pytest.raises(ValueError, match="pixel_values is missing"):
        model(**without)
    with pytest.raises(ValueError, match="exactly one"):
        model(pixel_values=batch["pixel_values"])


def test_inputs_embeds_equal_input_ids(model, processor):
    batch = inputs_of(processor, conversation("what?", figure(1)))
    ids = batch.pop("input_ids")
    embeds = model.get_input_embeddings()(ids)
    assert torch.allclose(model(inputs_embeds=embeds, **batch).logits, model(input_ids=ids, **batch).logits)


def test_the_model_never_writes_an_image_token(model, processor):
    batch = inputs_of(processor, conversation("what?", figure(1)))
    token = model.config.image_token_id
    scores = model.generate(**batch, max_new_tokens=3, output_scores=True, return_dict_in_generate=True).scores
    assert all(torch.isinf(score[:, token]).all() for score in scores)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("boolean", [True, False])
def test_questions_packed_after_one_image_equal_single_questions(model, processor, implementation, boolean):
    """Prefix | question 1 | question 2: a block mask hides question 1 from 2, whose positions restart."""
    model.set_attn_implementation(implementation)
    try:
        singles = [inputs_of(processor, conversation(text, figure(6))) for text in ("first question", "second?")]
        first, second = (single["input_ids"][0] for single in singles)
        prefix = int((first[: len(second)] == second[: len(first)]).long().cumprod(0).sum())
        assert prefix > 8
        n1, n2 = len(first) - prefix, len(second) - prefix
        ids = torch.cat([first, second[prefix:]]).unsqueeze(0)
        positions = torch.cat([torch.arange(len(first)), torch.arange(prefix, prefix + n2)]).unsqueeze(0)
        allowed = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        allowed[prefix + n1 :, prefix : prefix + n1] = False
        mask = allowed[None, None]
        if not boolean:
            mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        packed = model(
            input_ids=ids, pixel_values=singles[0]["pixel_values"], attention_mask=mask, position_ids=positions
        ).logits[0]
        alone_1, alone_2 = (model(**single).logits[0] for single in singles)
        assert torch.allclose(packed[: len(first)], alone_1, atol=1e-4)
        assert torch.allclose(packed[len(first) :], alone_2[prefix:], atol=1e-4)
        # The mask is what separates them.
        causal = model(input_ids=ids, pixel_values=singles[0]["pixel_values"], position_ids=positions).logits[0]
        assert not torch.allclose(causal[len(first) :], alone_2[prefix:], atol=1e-2)
    finally:
        model.set_attn_implementation("sdpa")


def test_sdpa_equals_eager(model, processor):
    batch = inputs_of(processor, conversation("none"), conversation("one image", figure(1)))
    keep = batch["attention_mask"].bool()
    fast = model(**batch).logits[keep]
    model.set_attn_implementation("eager")
    try:
        assert torch.allclose(model(**batch).logits[keep], fast, atol=1e-4)
    finally:
        model.set_attn_implementation("sdpa")


def test_gradient_checkpointing_gives_the_same_gradients(processor):
    batch = inputs_of(processor, conversation("what?", figure(1)))
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(tiny_config(vision={"layer_map": [0, 0, 1], "rotary": True})).train()
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
            assert model.model.vision_tower.layers[0].gradient_checkpointing
        model(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


def test_vocabulary_can_grow(processor):
    model = tiny_model()
    model.resize_token_embeddings(270)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert model.config.text_config.vocab_size == 270
    batch = inputs_of(processor, conversation("what?", figure(1)))
    assert model(**batch, labels=batch["input_ids"]).logits.shape[-1] == 270


def test_bfloat16_runs_close_to_float32(model, processor):
    batch = inputs_of(processor, conversation("what?", figure(1)))
    half = tiny_model().to(torch.bfloat16)
    difference = (half(**batch).logits.float() - model(**batch).logits).abs().max()
    assert difference < 0.1 * model(**batch).logits.abs().max()


def test_every_selected_layer_counts():
    torch.manual_seed(0)
    model = tiny_model(tiny_config(vision={"merger_out_size": 20}))
    assert model.model.multi_modal_projector.linear_1.in_features == 40
    tile = torch.randn(1, 3, 32, 32)
    before = model.get_image_features(tile).pooler_output
    assert before.shape == (1, 4, 32)
    with torch.no_grad():
        model.model.vision_tower.layers[2].norm2.weight.mul_(2)
    assert not torch.allclose(model.get_image_features(tile).pooler_output, before)
