"""Requests to an endpoint are written as the official scripts write them, and give the same scores as in process."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest

from chat_stand_in import ChatStandIn, sent_image
from riverone_hf.errors import EvaluationError
from riverone_hf.evaluate import Options, run_evaluation
from riverone_hf.evaluate.benchmark import Picture
from riverone_hf.evaluate.chat import ChatClient, message_text
from riverone_hf.evaluate.endpoint import EndpointBackend
from riverone_hf.evaluate.queries import Query, icl_entries, zero_shot_entries


@pytest.fixture
def waits():
    return []


def client(server, waits, **options):
    return ChatClient(server.url, wait=waits.append, **options)


def test_zero_shot_requests_are_the_official_ones(benchmark, waits):
    with ChatStandIn(lambda content: "yes").serve() as server:
        backend = EndpointBackend(client(server, waits, key="secret"), no_think=True)
        entry = next(entry for entry in zero_shot_entries(benchmark, "full") if len(entry.row.images) == 2)
        replies = backend.answer(entry.queries)
    assert [reply.answer for reply in replies] == ["yes"] * 6 and not waits
    assert server.keys == {"Bearer secret"}
    texts = set()
    for body in server.bodies:
        assert set(body) == {"model", "messages", "max_tokens", "temperature", "chat_template_kwargs"}
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("stand-in", 16384, 0.0)
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        (message,) = body["messages"]
        *images, text = message["content"]
        assert len(images) == 2 and text["type"] == "text" and "<image>" in text["text"]
        assert all(sent_image(part).mode == "RGBA" for part in images)
        texts.add(text["text"])
    assert texts == set(entry.row.prompts.values())


def test_in_context_requests_alternate(benchmark, waits):
    with ChatStandIn(lambda content: "yes").serve() as server:
        entry = icl_entries(benchmark, "full")[0]
        EndpointBackend(client(server, waits)).answer(entry.queries)
    assert len(server.bodies) == 3
    for body in server.bodies:
        assert "chat_template_kwargs" not in body
        kinds = [part["type"] for part in body["messages"][0]["content"]]
        assert kinds[0] == "text" and kinds[-1] == "text" and "image_url" in kinds
        assert all(part["text"] == part["text"].strip() for part in body["messages"][0]["content"] if "text" in part)


def test_eight_at_once(benchmark, waits):
    entry = zero_shot_entries(benchmark, "full")[0]
    with ChatStandIn(lambda content: "yes", slow=0.15).serve() as server:
        EndpointBackend(client(server, waits)).answer(entry.queries * 4)
    assert server.most_at_once == 8 and len(server.bodies) == 24


@pytest.mark.parametrize(
    ("statuses", "waited", "answer"),
    [
        ([429, 429], [5.0, 10.0], "yes"),
        ([500], [1.0], "yes"),
        ([503, 429], [1.0, 10.0], "yes"),
        ([500] * 3, [1.0, 2.0], None),
    ],
)
def test_retries_wait_as_the_official_scripts_do(waits, statuses, waited, answer):
    left = list(statuses)
    with ChatStandIn(lambda content: left.pop(0) if left else "yes").serve() as server:
        (reply,) = EndpointBackend(client(server, waits)).answer([Query("q2", "t1", ("hello",))])
    assert waits == waited and reply.answer == answer
    assert (reply.error is None) == (answer is not None)
    if answer is None:
        assert "no answer in 3 attempts (500" in reply.error and len(server.bodies) == 3


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "x"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None, "reasoning": "thought"}, "thought"),
        ({"content": ""}, ""),
        ({}, ""),
    ],
)
def test_replies_are_read_like_the_official_scripts_do(message, text):
    assert message_text(message) == text


def test_what_is_no_reply_and_what_is_no_image(waits):
    with ChatStandIn(lambda content: {"content": 5}).serve() as server:
        backend = EndpointBackend(client(server, waits, model_id="named"))
        broken = Query("q1", "t1", (Picture("bad", b"no image"), "hello"))
        replies = backend.answer([broken, Query("q2", "t1", ("hello",))])
        assert "bad: not an image" in replies[0].error
        assert replies[1].answer is None and "no message" in replies[1].error
        assert {body["model"] for body in server.bodies} == {"named"}
    (gone,) = EndpointBackend(client(server, waits, model_id="named")).answer([Query("q2", "t1", ("hello",))])
    assert "ConnectError" in gone.error
    with pytest.raises(EvaluationError, match="--model-id"):
        client(server, waits)


def test_served_scores_equal_those_in_process(benchmark, smoke_backend, short_answers, tmp_path, waits):
    lock = threading.Lock()

    def reply(content):
        images = []
        for part in content[:-1]:
            stream = io.BytesIO()
            sent_image(part).save(stream, "PNG")
            images.append(Picture(str(hash(stream.getvalue())), stream.getvalue()))
        with lock:
            (answer,) = smoke_backend.answer([Query("q2", "t1", (*images, content[-1]["text"]))])
        return answer.answer

    options = Options(prompt="full", references=False, limit=3)
    with ChatStandIn(reply).serve() as server:
        served = run_evaluation(EndpointBackend(client(server, waits)), benchmark, options, tmp_path / "served")
        warm_up = 6
        assert len(server.bodies) == 3 * 6 + warm_up and server.bodies[0]["messages"]
    here = run_evaluation(smoke_backend, benchmark, options, tmp_path / "here")
    assert not waits and served.facts["failed_answers"] == 0
    assert served.results["api_base"] == server.url and served.results["model"] == "stand-in"
    for scoring in ("official", "strict"):
        mine = [score.flat for score in served.scores[scoring]]
        assert mine == [score.flat for score in here.scores[scoring]]
    assert np.mean([score.flat["mean"] for score in here.scores["official"]]) > 0


def test_failed_questions_are_asked_again_and_a_dead_server_ends_the_run(benchmark, tmp_path, waits):
    options = Options(prompt="full", references=False, limit=4, batch_size=2)
    failing = benchmark.rows[1].prompts["q4"]
    broken = [True]

    def reply(content):
        return 500 if broken[0] and content[-1]["text"] == failing else "Status: SUCCESS"

    with ChatStandIn(reply).serve() as server:
        backend = EndpointBackend(client(server, waits))
        first = run_evaluation(backend, benchmark, options, tmp_path / "out")
        assert first.facts["failed_answers"] >= 1
        open_rows = {entry["id"] for entry in first.results["results"] if "500" in str(entry["responses"])}
        broken[0], before = False, len(server.bodies)
        again = run_evaluation(backend, benchmark, options, tmp_path / "out")
        assert again.facts["failed_answers"] == 0
        assert len(server.bodies) - before == 6 * len(open_rows) + 6
    with pytest.raises(EvaluationError, match=r"answers nothing any more.*run the same command again"):
        run_evaluation(backend, benchmark, options, tmp_path / "other")
    assert not (tmp_path / "other" / "results.json").exists()
