"""JSON by its schema: no answer of the simulator is refused, and a model that writes nonsense writes JSON."""

from __future__ import annotations

import json

import pytest
import torch

from riverone_hf.calibration import SUPPORTED_FAMILIES
from riverone_hf.data import PlotSource
from riverone_hf.errors import QuestionError
from riverone_hf.questions import answer_schema
from riverone_hf.reader.generate import Answerer, Ask, render
from riverone_hf.reader.structured import Structure


@pytest.fixture(scope="module")
def structure(processor):
    return Structure(processor.tokenizer, {processor.tokenizer.eos_token_id})


def prompt(processor):
    return render(processor, [{"type": "image"}, {"type": "text", "text": "[parameters] t1"}])


def wanted(token, size):
    """Scores that want one token most."""
    return torch.arange(size).flip(0).float() + size * (torch.arange(size) == token)


def test_every_answer_of_the_simulator_follows_its_schema(structure, processor):
    tokenizer, stop = processor.tokenizer, processor.tokenizer.eos_token_id
    source = PlotSource(tuple(SUPPORTED_FAMILIES), seed=3, single_share=0.3)
    seen = set()
    for row in (source.row(index) for index in range(88)):
        turns = [message["content"] for message in row["messages"]]
        for asked, (answer,) in zip(turns[::2], turns[1::2], strict=True):
            question = {"[describe]": "q1", "[parameters]": "q5"}.get(asked[-1]["text"].split()[0])
            if question:
                seen.add((question, len(row["images"])))
                follower = structure.follower(answer_schema(row["family"], question, len(row["images"])))
                for token in [*tokenizer(answer["text"], add_special_tokens=False)["input_ids"], stop]:
                    assert follower.choose(wanted(token, len(tokenizer))) == token, (answer["text"], token)
    assert seen == {(question, images) for question in ("q1", "q5") for images in (1, 2)}


def test_an_answer_cannot_stop_before_it_is_complete_nor_go_on_after(structure, processor):
    tokenizer, stop = processor.tokenizer, processor.tokenizer.eos_token_id
    follower = structure.follower({"enum": ["ab"]})
    written = []
    while (token := follower.choose(wanted(stop, len(tokenizer)))) != stop:
        written.append(token)
    assert tokenizer.decode(written) == '"ab"'
    assert follower.choose(wanted(written[0], len(tokenizer))) == stop


def test_a_vocabulary_may_be_padded(structure, processor):
    size = len(processor.tokenizer)
    token = structure.follower({"type": "null"}).choose(wanted(size + 2, size + 7))
    assert processor.tokenizer.decode([token]) == "n"


def test_an_untrained_model_writes_json(model, processor, make_figure):
    """Beside a free answer of the same model, which is none."""
    fields = answer_schema("qubit_spectroscopy", "q5")
    schema = {"type": "array", "items": fields, "minItems": 2, "maxItems": 2}
    asks = [Ask(0, prompt(processor), budget=400, schema=held_to) for held_to in (schema, None)]
    held, free = Answerer(model, processor).answer([[make_figure()]], asks)
    assert [list(site) for site in json.loads(held.text)] == 2 * [list(fields["properties"])]
    with pytest.raises(ValueError):
        json.loads(free.text)


def test_a_free_row_is_not_touched_by_its_neighbour(model, processor, make_figure):
    figures, text = [[make_figure()]], prompt(processor)
    answerer = Answerer(model, processor)
    alone = answerer.answer(figures, [Ask(0, text, budget=30)])[0]
    beside = answerer.answer(
        figures, [Ask(0, text, budget=30, schema=answer_schema("t1", "q5")), Ask(0, text, budget=30)]
    )
    assert beside[1].text == alone.text


def test_numbers_end_inside_a_schema_too(model, processor, make_figure, stick):
    stick("9")
    answerer = Answerer(model, processor)
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    answer = answerer.answer([[make_figure()]], [Ask(0, prompt(processor), budget=60, schema=schema)])[0]
    assert answer.text == "[999999999999, 999999999999]"
    assert min(probability for *_, probability in answer.spans) < 0.1, "what was forced does not look sure"


def test_an_answer_that_cannot_go_on_is_an_error_not_an_end(structure, processor):
    many = {"type": "object", "properties": {f"p{index}": {"type": "string", "maxLength": 50} for index in range(600)}}
    follower, tokenizer = structure.follower(many), processor.tokenizer
    with pytest.raises(QuestionError, match="left its schema"):
        for text in ("{", '"'):
            follower.choose(wanted(tokenizer.convert_tokens_to_ids(text), len(tokenizer)))


def test_a_schema_that_is_none(structure):
    with pytest.raises(QuestionError, match=r"JSON schema.*nonsense"):
        structure.follower({"type": "nonsense"})
