"""In-context forms: which examples are shown, and where their images stand."""

from __future__ import annotations

import random

import pytest

from riverone_hf.data import Plan, demonstrations, icl_messages, icl_prompt
from riverone_hf.data.icl import interleave
from riverone_hf.errors import QuestionError
from riverone_hf.model import CHAT_TEMPLATE
from riverone_hf.questions import parse_q5, parse_q6, write_answers
from tiny import tiny_processor

PLAN = Plan(400, seed=5, families=("ramsey_t2star", "t1"))
POOL = [PLAN.row("train", k) for k in range(36)]


@pytest.mark.parametrize("question", ["q3", "q6"])
def test_one_example_per_status(question):
    for query in POOL[:9]:
        shown = demonstrations(question, query, POOL, random.Random(0))
        statuses = [row.truth.status for row in shown]
        assert sorted(statuses) == sorted({row.truth.status for row in POOL if row.truth.family == query.truth.family})
        assert query.id not in [row.id for row in shown]


def test_q5_shows_one_example_and_order_is_drawn():
    shown = demonstrations("q5", POOL[0], POOL, random.Random(0))
    assert len(shown) == 1 and shown[0].id != POOL[0].id and shown[0].truth.family == POOL[0].truth.family
    orders = {tuple(r.truth.status for r in demonstrations("q6", POOL[0], POOL, random.Random(s))) for s in range(9)}
    assert len(orders) > 3


def test_no_relative_no_example():
    assert demonstrations("q5", POOL[0], POOL[:1], random.Random(0)) == []
    with pytest.raises(QuestionError, match="no in-context form"):
        demonstrations("q2", POOL[0], POOL, random.Random(0))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("question", ["q3", "q5", "q6"])
def test_images_stand_beside_their_own_answers(question, full):
    for query in POOL[:9]:
        shown = demonstrations(question, query, POOL, random.Random(1))
        user, assistant = icl_messages(question, query, shown, random.Random(2) if full else None)
        assert assistant["content"][0]["text"] == write_answers(query.truth)[question]
        # Walk through the parts: the answer after an example's images is that example's.
        segments, images = [], 0
        for part in user["content"]:
            if part["type"] == "image":
                images += 1
            elif images:
                segments.append((images, part["text"]))
                images = 0
        text_of = [text for _, text in segments]
        assert sum(count for count, _ in segments) + images == sum(len(row.figures) for row in (*shown, query))
        if full:
            continue
        assert [count for count, _ in segments] == [len(row.figures) for row in (*shown, query)]
        for row, text in zip(shown, text_of, strict=False):
            if question == "q6":
                assert parse_q6(text, row.truth.family).status == row.truth.status
            elif question == "q5":
                assert parse_q5(text) == parse_q5(write_answers(row.truth)["q5"])
            else:
                assert text.strip() == row.truth.significance


def test_full_prompt_follows_the_official_split():
    query = next(row for row in POOL if len(row.figures) == 2)
    shown = demonstrations("q6", query, POOL, random.Random(0))
    prompt = icl_prompt("q6", query, shown, random.Random(0))
    assert prompt.count("<image>") == sum(len(row.figures) for row in (*shown, query))
    for number, row in enumerate(shown, start=1):
        block = prompt.split(f"Example {number}:")[1].split(f"Example {number + 1}:")[0]
        assert write_answers(row.truth)["q6"] in block
    parts = interleave(prompt)
    assert "".join("<image>" if part["type"] == "image" else part["text"] for part in parts).count("<image>") > 2
    assert all(part["text"] == part["text"].strip() for part in parts if part["type"] == "text")


def test_the_chat_template_keeps_the_order():
    query = next(row for row in POOL if row.truth.family == "t1")
    messages = icl_messages("q6", query, demonstrations("q6", query, POOL, random.Random(0)), None)
    text = tiny_processor().apply_chat_template(messages, chat_template=CHAT_TEMPLATE, tokenize=False)
    pieces = text.split("<img><IMG_CONTEXT></img>")
    assert len(pieces) - 1 == sum(part["type"] == "image" for part in messages[0]["content"])
    assert all(piece.startswith("Status: ") for piece in pieces[1:-1]) and pieces[-1].startswith("[status] t1")
