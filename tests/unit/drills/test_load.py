"""The load client of a drill against a service that refuses, fails and is slow."""

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
def serve(monkeypatch, server):
    """Serves replies of a function of the text and the number of earlier requests; returns the times of requests."""
    server.clear()
    monkeypatch.setattr(load_module, "STORAGE", server.url_for("").rstrip("/"))
    monkeypatch.setattr(load_module, "RETRY_SECONDS", 0.05)

    def answer_with(reply):
        times, counts, lock = [], {}, threading.Lock()

        def handle(request: Request):
            text = json.loads(request.data)["question_text"]
            with lock:
                times.append(time.monotonic())
                before = counts.get(text, 0)
                counts[text] = before + 1
            return reply(text, before)

        server.expect_request("/query", method="POST").respond_with_handler(handle)
        return times

    return answer_with


def pending(text, _before=0):
    return Response(json.dumps({"status": "pending", "question_id": question_id(text)}), 202)


def run_load(rate=20, seconds=0.5, patience=5.0):
    load = Load("kill", MIX, rate, seconds, patience)
    load.start()
    load.join()
    return load


def test_every_accepted_question_is_in_the_ledger_with_its_id_and_script(serve):
    serve(pending)
    load = run_load()
    assert len({entry.question_id for entry in load.ledger}) == 10
    assert all(entry.question_id == question_id(entry.text) for entry in load.ledger)
    assert all(entry.script == MIX.script_of("any") for entry in load.ledger)
    assert load.refused == ()


def test_a_slow_reply_does_not_delay_later_requests(serve):
    def slow(text, _before):
        time.sleep(2)
        return pending(text)

    times = serve(slow)
    assert len(run_load().ledger) == 10
    assert 0.3 < times[-1] - times[0] < 2, "later requests must not wait for the first reply"


def test_a_503_is_retried_after_retry_after(serve):
    def busy_once(text, before):
        return pending(text) if before else Response("busy", 503, {"Retry-After": "0.4"})

    times = serve(busy_once)
    load = run_load(rate=1, seconds=1)
    assert len(load.ledger) == 1
    assert times[1] - times[0] >= 0.4


def test_retries_end_after_the_patience(serve):
    serve(lambda text, before: Response("busy", 503))
    load = run_load(rate=2, seconds=1, patience=0.2)
    assert load.ledger == ()
    assert load.refused == ("503 busy",) * 2


def test_a_202_without_an_id_is_reported(serve):
    serve(lambda text, before: Response('{"status": "pending"}', 202))
    load = run_load(rate=1, seconds=1)
    assert load.ledger == ()
    assert "unreadable promise" in load.refused[0]


def test_other_errors_are_not_retried(serve):
    times = serve(lambda text, before: Response("no", 500))
    load = run_load(rate=1, seconds=1)
    assert (load.ledger, load.refused, len(times)) == ((), ("500 no",), 1)


def test_an_unreachable_service_is_retried(monkeypatch, serve):
    serve(pending)
    reachable = load_module.STORAGE
    monkeypatch.setattr(load_module, "STORAGE", "http://127.0.0.1:1")
    load = Load("kill", MIX, 1, 1, 5)
    load.start()
    threading.Timer(0.2, lambda: monkeypatch.setattr(load_module, "STORAGE", reachable)).start()
    load.join()
    assert len(load.ledger) == 1


def test_a_cancelled_load_sends_no_more_requests(serve):
    serve(pending)
    load = Load("kill", MIX, 10, 60, 60)
    load.start()
    until = time.monotonic() + 5
    while not load.ledger and time.monotonic() < until:
        time.sleep(0.01)
    load.cancel()
    assert 1 <= len(load.ledger) < 20
