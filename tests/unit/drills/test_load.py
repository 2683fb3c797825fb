"""The client of a drill, against a service that refuses, breaks off and dawdles."""

import json
import threading
import time

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pipeline.question import question_id
from tests.drills import load as load_module
from tests.drills.load import Load
from tests.drills.scripts import Mix

MIX = Mix({"first good": 1})


@pytest.fixture(scope="module")
def server():
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def asked(monkeypatch, server):
    """Lets a function from (text, how often it was asked before) to a reply answer; returns the times of asking."""
    server.clear()
    monkeypatch.setattr(load_module, "STORAGE", server.url_for("").rstrip("/"))
    monkeypatch.setattr(load_module, "RETRY_SECONDS", 0.05)

    def answer_with(reply):
        times, seen, lock = [], {}, threading.Lock()

        def handle(request: Request):
            text = json.loads(request.data)["question_text"]
            with lock:
                times.append(time.monotonic())
                before = seen.get(text, 0)
                seen[text] = before + 1
            return reply(text, before)

        server.expect_request("/query", method="POST").respond_with_handler(handle)
        return times

    return answer_with


def pending(text, _before=0):
    return Response(json.dumps({"status": "pending", "question_id": question_id(text)}), 202)


def play(rate=20, seconds=0.5, patience=5.0):
    load = Load("kill", MIX, rate, seconds, patience)
    load.start()
    load.join()
    return load


def test_every_202_is_in_the_ledger_with_its_id_and_script(asked):
    asked(pending)
    load = play()
    assert len({entry.question_id for entry in load.ledger}) == 10
    assert all(entry.question_id == question_id(entry.text) for entry in load.ledger)
    assert all(entry.script == MIX.script_of("any") for entry in load.ledger)
    assert load.refused == ()


def test_a_slow_reply_does_not_slow_the_asking(asked):
    def slow(text, _before):
        time.sleep(2)
        return pending(text)

    times = asked(slow)
    assert len(play().ledger) == 10
    assert 0.3 < times[-1] - times[0] < 2, "the last was asked before the first was answered"


def test_a_503_is_no_promise_and_asked_again_after_its_time(asked):
    def busy_once(text, before):
        return pending(text) if before else Response("busy", 503, {"Retry-After": "0.4"})

    times = asked(busy_once)
    load = play(rate=1, seconds=1)
    assert len(load.ledger) == 1
    assert times[1] - times[0] >= 0.4


def test_it_gives_up_after_its_patience(asked):
    asked(lambda text, before: Response("busy", 503))
    load = play(rate=2, seconds=1, patience=0.2)
    assert load.ledger == ()
    assert load.refused == ("503 busy",) * 2


def test_a_promise_without_an_id_is_told_of(asked):
    asked(lambda text, before: Response('{"status": "pending"}', 202))
    load = play(rate=1, seconds=1)
    assert load.ledger == ()
    assert "unreadable promise" in load.refused[0]


def test_another_refusal_is_final(asked):
    times = asked(lambda text, before: Response("no", 500))
    load = play(rate=1, seconds=1)
    assert (load.ledger, load.refused, len(times)) == ((), ("500 no",), 1)


def test_a_service_that_is_away_is_asked_again(monkeypatch, asked):
    asked(pending)
    there = load_module.STORAGE
    monkeypatch.setattr(load_module, "STORAGE", "http://127.0.0.1:1")
    load = Load("kill", MIX, 1, 1, 5)
    load.start()
    threading.Timer(0.2, lambda: monkeypatch.setattr(load_module, "STORAGE", there)).start()
    load.join()
    assert len(load.ledger) == 1


def test_cancelled_it_asks_nothing_more(asked):
    asked(pending)
    load = Load("kill", MIX, 10, 60, 60)
    load.start()
    until = time.monotonic() + 5
    while not load.ledger and time.monotonic() < until:
        time.sleep(0.01)
    load.cancel()
    assert 1 <= len(load.ledger) < 20
