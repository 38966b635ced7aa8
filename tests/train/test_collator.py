"""Packing must not change what the model sees: packed logits equal those of each question asked alone."""

from __future__ import annotations

import pytest
import torch

from riverone_hf.data import InContextSource, PlotSource
from riverone_hf.train.collator import IGNORE, PackedCollator

LABELS = ("Classification", "Assessment", "Status")
ROWS = [PlotSource(("t1", "ramsey_t2star")).row(index) for index in range(2)]


@pytest.fixture
def collator(tiny):
    return PackedCollator(tiny[1])


def test_packed_logits_equal_single_question_logits(tiny, collator):
    model, processor = tiny
    packed = collator(ROWS)
    packed.pop("loss_weights"), packed.pop("labels")
    with torch.no_grad():
        together = model(**packed).logits
    for index, row in enumerate(ROWS):
        prefix = len(collator.prefix([1] * len(row["images"])))
        cursor = prefix
        for user, assistant in zip(row["messages"][::2], row["messages"][1::2], strict=True):
            text = [part for part in user["content"] if part["type"] == "text"]
            images = [{"type": "image", "image": image} for image in row["images"]]
            alone = processor.apply_chat_template(
                [{"role": "user", "content": images + text}, assistant],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            with torch.no_grad():
                logits = model(**alone).logits[0]
            # The template ends the turn with a newline that packing drops.
            length = logits.shape[0] - prefix - 1
            ids = packed["input_ids"][index, cursor : cursor + length]
            assert torch.equal(ids, alone["input_ids"][0, prefix : prefix + length])
            torch.testing.assert_close(together[index, cursor : cursor + length], logits[prefix : prefix + length])
            cursor += length


def test_branches_do_not_see_each_other(tiny, collator):
    model, _ = tiny
    changed = [{**ROWS[0], "messages": [*ROWS[0]["messages"][:-1]]}]
    last = ROWS[0]["messages"][-1]
    changed[0]["messages"].append({**last, "content": [{"type": "text", "text": "quite another answer"}]})
    logits = []
    for rows in (ROWS[:1], changed):
        batch = collator(rows)
        batch.pop("loss_weights"), batch.pop("labels")
        with torch.no_grad():
            logits.append(model(**batch).logits[0])
    first = len(collator.prefix([1])) + sum(map(len, collator.branch("[experiment]", "Experiment: t1")))
    torch.testing.assert_close(logits[0][:first], logits[1][:first])
    assert not torch.allclose(logits[0][-3:], logits[1][-3:])


def test_only_answers_are_trained(tiny, collator):
    _, processor = tiny
    batch = collator(ROWS[:1])
    trained = batch["labels"][0][batch["labels"][0] != IGNORE]
    text = processor.tokenizer.decode(trained)
    answers = [message["content"][0]["text"] for message in ROWS[0]["messages"][1::2]]
    assert text == "".join(answer + "<|im_end|>" for answer in answers)


def test_brief_rows_train_label_lines_without_an_end(tiny, collator):
    batch = collator([{**ROWS[0], "brief": True}])
    trained = batch["labels"][0][batch["labels"][0] != IGNORE]
    answers = {m["content"][0]["text"] for m in ROWS[0]["messages"][1::2]}
    heads = [text.split("\n")[0] for text in answers if text.startswith(LABELS)]
    text = tiny[1].tokenizer.decode(trained)
    assert len(heads) == 3
    assert all(head in text for head in heads)
    assert "Reason" not in text and "Notes" not in text
    # Answers without a label line are whole.
    assert text.count("<|im_end|>") == len(answers) - 3
    counts = [len(collator._ids(head)) for head in heads]
    weights = batch["loss_weights"][0][batch["loss_weights"][0] > 0]
    assert weights.sum().item() == pytest.approx(
        sum(n**0.5 for n in counts)
        + sum(len(collator.branch("", text)[1]) ** 0.5 for text in answers if text.split(":")[0] not in LABELS),
        rel=1e-5,
    )


def test_sqrt_weights(tiny, collator):
    batch = collator(ROWS[:1])
    answers = [message["content"][0]["text"] for message in ROWS[0]["messages"][1::2]]
    lengths = [len(collator.branch("", answer)[1]) for answer in answers]
    assert batch["loss_weights"].sum().item() == pytest.approx(sum(length**0.5 for length in lengths), rel=1e-5)


def test_label_lines_weigh_more(tiny):
    collator = PackedCollator(tiny[1], "token", label_weight=3.0)
    for text, labels in (
        ("Assessment: Reliable\nReason: clear.", "Assessment: Reliable"),
        ("Status: SUCCESS\nSuggested range: N/A\nNotes: fine", "Status: SUCCESS"),
        ('{"T1_us": 3}', ""),
        ("Status: SUCCESS", ""),
    ):
        answer = collator.branch("[fit] t1", text)[1]
        weights = collator.weights(text, answer)
        heavy = weights.count(3.0)
        assert weights == [3.0] * heavy + [1.0] * (len(answer) - heavy)
        assert tiny[1].tokenizer.decode(answer[:heavy]) == labels


def test_answers_weigh_as_their_beginning_says(tiny):
    collator = PackedCollator(tiny[1], "token", answer_weights={"Assessment: No fit": 3.0})
    for text, weight in (("Assessment: No fit\nReason: no curve.", 3.0), ("Assessment: Reliable\nReason: fine.", 1.0)):
        assert set(collator.weights(text, collator.branch("[fit] t1", text)[1])) == {weight}


def test_float32_attention_gives_the_same_states_and_gradients(tiny, collator):
    from riverone_hf.train.attention import FLOAT32, text_attention

    model, inputs = tiny[0], collator(ROWS)
    inputs.pop("loss_weights"), inputs.pop("labels")
    found = {}
    for name in ("sdpa", FLOAT32):
        model.model.language_model.set_attn_implementation(text_attention(name))
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            states = model.model(**inputs).last_hidden_state
        states.float().square().mean().backward()
        found[name] = states.detach().float(), model.lm_head.weight.grad.clone()
    model.zero_grad()
    model.model.language_model.set_attn_implementation("sdpa")
    for ours, theirs in zip(found[FLOAT32], found["sdpa"]):
        assert not torch.equal(ours, theirs), "bf16 rounding should differ: the registered function did not run"
        assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999


def test_special_strings_in_questions_stay_text(tiny, collator):
    _, processor = tiny
    context, _ = collator.branch("is <IMG_CONTEXT> or <|im_end|> an <image>?", "no")
    assert processor.image_token_id not in context
    assert context.count(processor.tokenizer.eos_token_id) == 1


def test_padding_makes_no_nan(tiny, collator):
    model, _ = tiny
    batch = collator([ROWS[0], {**ROWS[1], "messages": ROWS[1]["messages"][:2]}])
    batch.pop("loss_weights")
    assert torch.isfinite(model(**batch).loss)


@pytest.mark.parametrize("full", [False, True])
def test_solved_examples_are_collated_as_the_processor_does(tiny, collator, full):
    model, processor = tiny
    source = InContextSource(PlotSource(("t1", "ramsey_t2star")), pool=8)
    rows = [source.shown_row(index, "q6", full) for index in range(2)]
    batch = collator([*rows, ROWS[0]])
    batch.pop("loss_weights")
    labels = batch.pop("labels")
    with torch.no_grad():
        together = model(**batch).logits
    for index, row in enumerate(rows):
        images = iter(row["images"])
        content = [
            {"type": "image", "image": next(images)} if part["type"] == "image" else part
            for part in row["messages"][0]["content"]
        ]
        alone = processor.apply_chat_template(
            [{"role": "user", "content": content}, row["messages"][1]],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        size = alone["input_ids"].shape[1] - 1  # the newline behind the turn is dropped
        assert torch.equal(batch["input_ids"][index, :size], alone["input_ids"][0, :size])
        with torch.no_grad():
            logits = model(**alone).logits[0]
        torch.testing.assert_close(together[index, :size], logits[:size], rtol=1e-3, atol=1e-3)
        trained = labels[index][labels[index] != IGNORE]
        answer = row["messages"][1]["content"][0]["text"]
        assert processor.tokenizer.decode(trained) == answer + "<|im_end|>"


def test_examples_belong_to_one_question(tiny, collator):
    row = InContextSource(PlotSource(("t1",)), pool=4).shown_row(0, "q6")
    with pytest.raises(ValueError, match="4 messages with images between texts"):
        collator([{**row, "messages": row["messages"] * 2}])
