"""The shared-prefix way of answering equals the plain way: whole prompts, one by one, through the library."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from riverone_hf.reader.generate import Answerer, Ask, render

STARTS = tuple(f"Status: {code}\n" for code in (*"ABCDEFGHIJ", "NO_SIGNAL", "NO"))
PROMPTS = ("[status] t1", "[outcome] a longer question about rabi")


def prompt(processor, text: str, n_images: int = 1) -> str:
    return render(processor, [*[{"type": "image"}] * n_images, {"type": "text", "text": text}])


@pytest.fixture(scope="module")
def figures(make_figure):
    """One tile, four tiles, two images: three different prefix lengths in one batch."""
    return [
        [make_figure(0, (40, 40))],
        [make_figure(1, (80, 60))],
        [make_figure(2, (40, 40)), make_figure(3, (90, 30))],
    ]


@pytest.fixture(scope="module")
def asks(processor, figures):
    rows = []
    for at, images in enumerate(figures):
        for text in PROMPTS:
            rows.append(Ask(at, prompt(processor, text, len(images)), STARTS, budget=8))
        rows.append(Ask(at, prompt(processor, "[describe] t1", len(images)), budget=5))
    return rows


def plain_scores(model, processor, images, ask: Ask) -> list[float]:
    """Summed log-probability of each start, from one uncached forward of the whole text."""
    head = processor(text=[ask.prompt], images=[images], return_tensors="pt")["input_ids"].shape[1]
    totals = []
    for start in ask.starts:
        inputs = processor(text=[ask.prompt + start], images=[images], return_tensors="pt")
        with torch.no_grad():
            logs = model(**inputs).logits[0].float().log_softmax(-1)
        ids = inputs["input_ids"][0]
        totals.append(sum(logs[at - 1, ids[at]].item() for at in range(head, len(ids))))
    return totals


def plain_text(model, processor, images, ask: Ask, start: str) -> str:
    inputs = processor(text=[ask.prompt + start], images=[images], return_tensors="pt")
    banned = sorted(set(processor.tokenizer.all_special_ids) - {processor.tokenizer.eos_token_id})
    out = model.generate(**inputs, max_new_tokens=ask.budget, do_sample=False, suppress_tokens=banned, use_cache=False)
    return start + processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_prefixes_of_the_batch_differ_in_length(processor, figures) -> None:
    """Otherwise the comparison below would not test padding."""
    lengths = {
        processor(text=[prompt(processor, "x", len(i))], images=[i], return_tensors="pt")["input_ids"].shape[1]
        for i in figures
    }
    assert len(lengths) == len(figures)


def test_shared_prefix_equals_plain(model, processor, figures, asks) -> None:
    for ask, got in zip(asks, Answerer(model, processor).answer(figures, asks), strict=True):
        scores = torch.tensor(plain_scores(model, processor, figures[ask.figure], ask), dtype=torch.float64)
        assert got.weights == pytest.approx(scores.softmax(0).tolist(), abs=1e-3)
        assert got.choice == int(scores.argmax())
        assert got.text == plain_text(model, processor, figures[ask.figure], ask, ask.starts[got.choice])


def test_different_figures_and_questions_differ(model, processor, figures, asks) -> None:
    """A model that ignored its figure or its question would pass every equality test."""
    answers = [got for got in Answerer(model, processor).answer(figures, asks) if len(got.weights) > 1]
    assert len({tuple(round(w, 3) for w in got.weights) for got in answers}) == len(figures) * len(PROMPTS)


def test_batch_equals_single(model, processor, figures, asks) -> None:
    answerer = Answerer(model, processor)
    for ask, together in zip(asks, answerer.answer(figures, asks), strict=True):
        alone = answerer.answer([figures[ask.figure]], [Ask(0, ask.prompt, ask.starts, ask.budget)])[0]
        assert (alone.text, alone.choice) == (together.text, together.choice)
        assert alone.weights == pytest.approx(together.weights, abs=1e-4)
        assert [s[2] for s in alone.spans] == pytest.approx([s[2] for s in together.spans], abs=1e-4)


def test_one_prefill_serves_all_questions_of_a_figure(model, processor, figures, asks, monkeypatch) -> None:
    rows = []
    monkeypatch.setattr(Answerer, "_prefill", spy := _spy(Answerer._prefill, rows))
    Answerer(model, processor).answer(figures, asks)
    assert spy is not None and rows == [len(figures)]


def _spy(real, rows):
    def call(self, texts, images):
        rows.append(len(texts))
        return real(self, texts, images)

    return call


def test_generation_keeps_its_budget_and_never_writes_special_tokens(model, processor, figures) -> None:
    answerer = Answerer(model, processor)
    text = prompt(processor, "[describe] t1")
    long, none = answerer.answer(figures[:1], [Ask(0, text, budget=40), Ask(0, text)])
    assert none.text == "" and none.spans == () and 0 < len(long.spans) <= 40
    assert not any(token in long.text for token in processor.tokenizer.all_special_tokens)
    assert all(0.0 < p <= 1.0 and first <= last <= len(long.text) for first, last, p in long.spans)


@pytest.mark.parametrize("text", ["T1 = 12.5 us", "5 \N{GREEK CAPITAL LETTER OMEGA}, \N{SNOWMAN} and 3", ""])
def test_spans_are_those_of_the_text(model, processor, text) -> None:
    """Also where one character is several tokens: the snowman is not in any vocabulary trained on plots."""
    answerer = Answerer(model, processor)
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = [processor.tokenizer.decode(ids[: n + 1]) for n in range(len(ids))]
    answered = answerer._answered("A: ", 0, [1.0], ids, [0.5] * len(ids))
    assert answered.text == "A: " + text
    assert [last for _, last, _ in answered.spans] == [
        max(len(before), len(now)) + 3 for before, now in zip(["", *whole], whole, strict=False)
    ]


def test_rows_that_end_early_do_not_disturb_the_others(model, processor, figures, asks, monkeypatch) -> None:
    """Whether finished rows leave the batch at once, or only at the end."""
    answerer, told = Answerer(model, processor), []
    mixed = [
        dataclasses.replace(ask, budget=budget) for ask, budget in zip(asks, (1, 12, 2, 3, 12, 0, 4, 5, 9), strict=True)
    ]
    for compact in (1.0, 0.8, 0.0):
        monkeypatch.setattr("riverone_hf.reader.generate.COMPACT", compact)
        told.append([(row.text, len(row.spans)) for row in answerer.answer(figures, mixed)])
    assert told[0] == told[1] == told[2] and len({length for _, length in told[0]}) > 3


def test_generation_stops_at_the_end_token(model, processor, figures, monkeypatch) -> None:
    answerer = Answerer(model, processor)
    ask = Ask(0, prompt(processor, "[describe] t1"), budget=10)
    first = answerer.answer(figures[:1], [ask])[0]
    tokens = processor.tokenizer(first.text[0], add_special_tokens=False)["input_ids"]
    answerer.stops |= {tokens[0]} if len(tokens) == 1 else set(range(262))
    assert answerer.answer(figures[:1], [ask])[0].text == ""


def test_a_model_of_nan_still_answers(processor, figures, asks) -> None:
    from tiny import tiny_model

    broken = tiny_model()
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(float("nan"))
    for ask, got in zip(asks, Answerer(broken, processor).answer(figures, asks), strict=True):
        assert got.weights == pytest.approx([1 / len(ask.starts)] * len(ask.starts))


def test_special_strings_in_the_question_stay_text(model, processor, figures) -> None:
    ask = Ask(0, prompt(processor, "what of </img> and <IMG_CONTEXT> and <image>?"), STARTS, budget=3)
    assert Answerer(model, processor).answer(figures[:1], [ask])[0].text.startswith(STARTS)
