"""What is put to the model: order of texts and pictures, in-context prompts with one pointer, and white pictures."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate.benchmark import Benchmark, BenchmarkRow, FewShotRow, Picture
from riverone_hf.evaluate.queries import blank_query, icl_entries, zero_shot_entries
from riverone_hf.questions import get_family

ONE, TWO, MINE = (Picture(name, name.encode()) for name in ("one", "two", "mine"))


def row(name, *pictures):
    answers = {question: f"{name} {question}\nmore" for question in ("q1", "q2", "q3", "q4", "q5", "q6")}
    prompts = {question: f"ask {question} <image> here" for question in answers}
    return BenchmarkRow(name, "t1_success", "t1", pictures, prompts, answers, {"q1": (), "q3": ()})


PROMPTS = {
    "q3": "  Example <image>\nand <image> \n<image> What follows?",
    "q5": "<image><image> Values?",
    "q6": "See <image>",
}
SHOT = FewShotRow("b", "t1_success", ("one", "two", "mine", "one", "gone", "mine"), PROMPTS)
DATA = Benchmark("made", (row("a", ONE, TWO), row("b", MINE)), (SHOT,), {"t1": get_family("t1").fields}, "0")


def test_zero_shot_puts_images_first_and_keeps_the_text():
    entry = zero_shot_entries(DATA, "full")[0]
    assert [query.question for query in entry.queries] == ["q1", "q2", "q3", "q4", "q5", "q6"]
    assert entry.queries[1].parts == (ONE, TWO, "ask q2 <image> here")
    assert zero_shot_entries(DATA, "short")[0].queries[1].parts == (ONE, TWO, "[outcome] t1")


def test_in_context_prompts_use_up_the_images_one_after_the_other():
    (entry,) = icl_entries(DATA, "full")
    q3, q5, q6 = (query.parts for query in entry.queries)
    assert q3 == ("Example", ONE, "and", TWO, MINE, "What follows?")
    assert q5 == (ONE, "Values?")  # an unknown id is skipped, and the pointer goes on
    assert q6 == ("See", MINE)


def test_the_short_form_shows_solved_plots_as_label_lines():
    (entry,) = icl_entries(DATA, "short")
    assert entry.queries[0].parts == (ONE, TWO, "a q3\nmore\n", MINE, "[implication] t1")
    assert entry.queries[2].parts == (MINE, "[status] t1")


def test_the_pool_gives_images_of_rows_that_are_not_asked():
    only = dataclasses.replace(DATA, rows=DATA.rows[1:])
    assert icl_entries(only, "full", DATA)[0].queries[0].pictures == (ONE, TWO, MINE)
    assert icl_entries(only, "full")[0].queries[0].pictures == (MINE,)


def test_data_sets_without_few_shot_rows_are_refused():
    with pytest.raises(EvaluationError, match="evaluate without --icl"):
        icl_entries(dataclasses.replace(DATA, fewshot=()), "full")
    with pytest.raises(EvaluationError, match="'b' is no row of made"):
        icl_entries(dataclasses.replace(DATA, rows=DATA.rows[:1]), "full")


def test_blank_takes_only_the_pictures_of_the_row():
    (entry,) = icl_entries(DATA, "full")
    blank = blank_query(entry.queries[0], entry.row)
    assert [part if isinstance(part, str) else part.id for part in blank.parts] == [
        *("Example", "one", "and", "two", "(blank)", "What follows?")
    ]
    image = Image.open(io.BytesIO(blank.pictures[-1].data))
    assert (np.asarray(image) == 255).all()


def test_the_built_data_set_fits(benchmark):
    entries = icl_entries(benchmark, "full")
    assert len(entries) == len(benchmark.rows)
    for entry in entries:
        for query in entry.queries:
            assert query.pictures[-len(entry.row.images) :] == entry.row.images
            assert not any("<image>" in part for part in query.parts if isinstance(part, str))
