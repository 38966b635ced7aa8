"""Rows that join and leave the batch are answered as if each were alone; sampling, stops and cancelling."""

from __future__ import annotations

import json
import queue
import threading

import pytest
import torch

from official_client import noise
from riverone_hf.errors import RequestError
from riverone_hf.reader.generate import Answerer, Ask, render
from riverone_hf.reader.serve_engine import Engine, Piece, sampled
from riverone_hf.reader.serve_request import ChatRequest, Limits
from riverone_hf.reader.serve_text import TextOut

PARTS = (
    ([{"type": "image"}, {"type": "text", "text": "[status] t1 <image>"}], [0]),
    ([{"type": "image"}, {"type": "text", "text": "a longer question about <img> rabi, same figure"}], [0]),
    ([{"type": "text", "text": "A"}, {"type": "image"}, {"type": "text", "text": "B"}, {"type": "image"}], [1, 2]),
    ([{"type": "text", "text": "no figure at all"}], []),
)


@pytest.fixture
def engine(model, processor):
    engine = Engine(model, processor, Limits(), batch_size=3)
    yield engine
    engine.close()


def request(row: int, **settings) -> ChatRequest:
    parts, seeds = PARTS[row]
    images = [noise(seed, (80, 60)) for seed in seeds]
    return ChatRequest([{"role": "user", "content": parts}], images, **{"max_tokens": 12, **settings})


def answer(engine: Engine, wanted: ChatRequest) -> tuple[str, Piece]:
    """(all text, last piece)."""
    inbox: queue.Queue[Piece] = queue.Queue()
    engine.submit(engine.prepare(wanted, inbox.put))
    text = ""
    while True:
        piece = inbox.get(timeout=60)
        text += piece.text
        if piece.finish:
            return text, piece


def alone(model, processor, row: int, budget: int) -> str:
    parts, seeds = PARTS[row]
    images = [noise(seed, (80, 60)) for seed in seeds]
    prompt = render(processor, parts)
    if images:
        return Answerer(model, processor).answer([images], [Ask(0, prompt, budget=budget)])[0].text
    inputs = processor(text=[prompt], return_tensors="pt")
    banned = sorted(set(processor.tokenizer.all_special_ids) - {processor.tokenizer.eos_token_id})
    out = model.generate(**inputs, max_new_tokens=budget, do_sample=False, suppress_tokens=banned)
    return processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_more_requests_than_places_are_answered_as_alone(engine, model, processor):
    budgets = [12, 3, 20, 7, 1, 15, 9, 12]  # rows leave at different steps, and others take their places
    wanted = [(at % len(PARTS), budget) for at, budget in enumerate(budgets)]
    got: dict[int, tuple[str, Piece]] = {}

    def ask(at: int) -> None:
        row, budget = wanted[at]
        got[at] = answer(engine, request(row, max_tokens=budget, stream=at % 2 == 0))

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for at, (row, budget) in enumerate(wanted):
        text, last = got[at]
        assert text == alone(model, processor, row, budget), at
        assert last.finish == ("length" if last.tokens == budget else "stop")
    assert len({text for text, _ in got.values()}) > 4


def test_one_image_is_read_once_for_all_its_questions(engine, monkeypatch):
    tiles = []
    real = engine.model.model.get_image_features
    monkeypatch.setattr(
        engine.model.model, "get_image_features", lambda pixels, **kw: tiles.append(len(pixels)) or real(pixels, **kw)
    )
    first = [answer(engine, request(row))[0] for row in (0, 1, 0)]
    assert len(tiles) == 1 and first[0] == first[2] != first[1]
    answer(engine, request(2))
    assert len(tiles) == 2


def test_max_tokens_is_clamped_to_the_context(engine, processor):
    job = engine.prepare(request(0, max_tokens=16384), print)
    assert len(job.ids) + job.budget == engine.context == 4096
    assert engine.prepare(request(0, max_tokens=None), print).budget == job.budget
    engine.limits = Limits(answer_tokens=5)
    assert engine.prepare(request(0, max_tokens=16384), print).budget == 5
    long = [{"role": "user", "content": [{"type": "text", "text": "x" * 4100}]}]
    with pytest.raises(RequestError, match="context is 4096") as caught:
        engine.prepare(ChatRequest(long, []), print)
    assert caught.value.code == "context_length_exceeded"


def test_stop_strings_end_the_answer_before_them(engine):
    whole, _ = answer(engine, request(0, max_tokens=30))
    stop = whole[9:12]
    for stream in (False, True):
        text, last = answer(engine, request(0, max_tokens=30, stop=("never there", stop), stream=stream))
        assert text == whole[: whole.index(stop)] and last.finish == "stop"


def test_a_response_format_is_followed(engine):
    """Greedy and sampled; the same model's free answer is no JSON."""
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer"}},
        "required": ["ok", "n"],
    }
    schema |= {"additionalProperties": False}
    for settings in ({}, {"temperature": 2.0, "seed": 3}, {"temperature": 1.0, "top_p": 0.0}):
        text, last = answer(engine, request(0, schema=schema, max_tokens=60, **settings))
        assert list(json.loads(text)) == ["ok", "n"] and last.finish == "stop"
    with pytest.raises(ValueError):
        json.loads(answer(engine, request(0, max_tokens=60))[0])


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/schema.json"}])
def test_a_schema_that_cannot_be_followed_is_refused(engine, schema):
    with pytest.raises(RequestError, match="response_format") as caught:
        engine.prepare(request(0, schema=schema), print)
    assert (caught.value.status, caught.value.param) == (400, "response_format")


def test_numbers_end_as_in_process(engine, model, processor, stick):
    stick("9", ",")
    text, _ = answer(engine, request(0, max_tokens=14))
    assert text == alone(model, processor, 0, 14) == "999999999999,9"
    long = {"type": "integer", "minimum": 10**13}
    text, last = answer(engine, request(0, schema=long, max_tokens=20))
    assert len(str(json.loads(text))) == 14 and last.finish == "stop", "a schema that wants more digits gets them"


def test_same_seed_same_sample(engine):
    ask = lambda seed: answer(engine, request(0, temperature=2.0, seed=seed, max_tokens=20))[0]  # noqa: E731
    assert ask(1) == ask(1) and len({ask(seed) for seed in range(1, 7)}) > 1


def test_sampling_keeps_to_the_nucleus():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)
    drawn = lambda t, p: {sampled(logits, t, p, generator) for _ in range(200)}  # noqa: E731
    assert drawn(1.0, 1.0) == {0, 1, 2, 3} and drawn(1.0, 0.6) == {0, 1} and drawn(1.0, 0.0) == {0}
    assert drawn(0.05, 1.0) == {0}
    assert sampled(torch.full((4,), float("nan")), 1.0, 1.0, generator) in range(4)


def test_a_failing_request_ends_alone(engine, monkeypatch):
    real = engine._prefix
    monkeypatch.setattr(engine, "_prefix", lambda job: real(job) if job.cut else 1 / 0)
    _, last = answer(engine, request(3))
    assert last.finish == "error" and "ZeroDivisionError" in last.text
    assert answer(engine, request(0))[1].finish == "length"


def test_a_failing_step_ends_its_rows_and_not_the_engine(engine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_step", lambda: 1 / 0)
        assert answer(engine, request(0))[1].finish == "error"
    assert answer(engine, request(0))[1].finish == "length"


def test_cancelled_jobs_leave_and_closing_ends_the_rest(model, processor):
    engine = Engine(model, processor, Limits(), batch_size=1, waiting=1)
    inbox: queue.Queue[Piece] = queue.Queue()
    first = engine.prepare(request(0, max_tokens=4000, stream=True), inbox.put)
    engine.submit(first)
    inbox.get(timeout=60)
    pieces: queue.Queue[Piece] = queue.Queue()
    engine.submit(engine.prepare(request(1, max_tokens=4000), pieces.put))
    with pytest.raises(RequestError, match="waiting") as caught:
        engine.submit(first)
    assert caught.value.status == 429
    first.cancel()
    engine.close()
    assert pieces.get(timeout=60).finish == "error" and not engine.alive
    with pytest.raises(RequestError, match="stopping"):
        engine.submit(first)


def test_characters_of_several_tokens_are_shown_whole(processor):
    tokenizer = processor.tokenizer
    said = "Tµ: 5 €, STOP then"
    out = TextOut(tokenizer, ["STOP"])
    parts, stopped = [], False
    for token in tokenizer(said, add_special_tokens=False)["input_ids"]:
        text, stopped = out.push(token)
        parts.append(text)
        if stopped:
            break
    assert stopped and "".join(parts) == "Tµ: 5 €, " == out.text and not any("\ufffd" in part for part in parts)
    broken = TextOut(tokenizer)
    half = tokenizer("€", add_special_tokens=False)["input_ids"][0]
    assert broken.push(half) == ("", False) and broken.rest() == "\ufffd"
