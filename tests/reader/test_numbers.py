"""No number without end: what may follow which digits, and a model that repeats one is stopped."""

from __future__ import annotations

import pytest

from riverone_hf.calibration import SUPPORTED_FAMILIES
from riverone_hf.data import PlotSource
from riverone_hf.questions import write_answers
from riverone_hf.reader.generate import Answerer, Ask, render
from riverone_hf.reader.numbers import NumberGuard


@pytest.fixture(scope="module")
def guard(processor):
    return NumberGuard(processor.tokenizer)


def ending(guard, tokenizer, text):
    """The number that `text` ends in, and the digits that must not follow it."""
    number = ""
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        assert token not in guard.banned(number), (text, number)
        number = guard.follow(number, token)
    return number, "".join(sorted(tokenizer.decode([token]) for token in guard.banned(number)))


@pytest.mark.parametrize(
    ("text", "number", "digits"),
    [
        ('"range": [-0.02', "0.02", ""),
        ("1900000.0", "1900000.0", ""),
        ("near 123456789012", "123456789012", "0123456789"),
        ("4856123456 Hz at 4856123456", "4856123456", ""),
        ("0.00000", "0.00000", "0"),
        ("3.12345678", "3.12345678", "0123456789"),
        ("0.5, ", "", ""),
        ("-.", "", ""),
    ],
)
def test_what_may_follow(guard, processor, text, number, digits):
    assert ending(guard, processor.tokenizer, text) == (number, digits)


def test_no_answer_of_the_simulator_is_cut(guard, processor):
    source = PlotSource(tuple(SUPPORTED_FAMILIES), seed=3)
    for index in range(220):
        for text in write_answers(source.plot(index).truth).values():
            ending(guard, processor.tokenizer, text)


def test_a_model_that_repeats_a_digit_is_stopped(model, processor, make_figure, stick):
    stick("0", ",")
    answerer = Answerer(model, processor)
    prompt = render(processor, [{"type": "image"}, {"type": "text", "text": "x"}])
    answer = answerer.answer([[make_figure()]], [Ask(0, prompt, budget=24)])[0]
    assert answer.text == "000000000000,00000000000"
    assert answer.spans[11][2] > 0.9, "chosen freely"
    assert answer.spans[12][2] < 0.1, "its own probability, not that of being the only one left"
