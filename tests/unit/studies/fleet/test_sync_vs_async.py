"""The comparison without the fleet: loads, the model's script, visitors against a scripted service, the page."""

import socket
import threading
import time
from datetime import UTC, datetime

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from studies.fleet import sync_vs_async
from studies.fleet.environment import visitors
from studies.fleet.environment.visitors import VisitResult
from studies.fleet.sync_vs_async import FLEET, SYNC, Scenario
from studies.reporting.machine import Machine
from studies.reporting.results import Measurement


def test_loads_come_when_they_are_due():
    steady, burst, faulty, killed = sync_vs_async.scenarios(4, 2.0, 5)
    assert steady.due == faulty.due == killed.due == (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75)
    assert burst.due == (0,) * 5
    assert (faulty.faulty, faulty.outage_at, killed.kill_at) == (True, pytest.approx(2 / 3), 1)


def script(number, faulty):
    return sync_vs_async.script(f"benchmark 12ab, question {number}: at what?", 1, faulty)


def test_the_script_deals_out_bad_answers_and_errors():
    first = [script(number, True)[0] for number in range(3000)]
    statuses = [[reply.status for reply in replies] for replies in first]
    assert statuses.count([503, 503, 200]) / 3000 == pytest.approx(0.2, abs=0.03)
    bad = [sync_vs_async.BAD_ANSWER in replies[-1].body.decode() for replies in first]
    assert sum(bad) / 3000 == pytest.approx(0.2, abs=0.03)
    assert {len(script(number, False)[0]) for number in range(100)} == {1}


def test_both_sides_get_the_same_script():
    other = sync_vs_async.script("benchmark ff00, question 17: at what?", 1, True)
    assert other == script(17, True)


def test_an_outage_says_when_it_ends():
    [[reply]] = sync_vs_async.refused_to_all(3.2)
    assert (reply.status, reply.headers) == (429, {"Retry-After": "4"})


LOAD = Scenario("killed", (0.0, 3.0, 4.0, 5.0))


def fates():
    return [
        VisitResult("answered", True, 1.0, 1.0),
        VisitResult("answered", True, 3.0, 5.0),
        VisitResult("gave up", True, 2.0, None),
        VisitResult("broken", False, None, None),
    ]


def test_a_run_counts_what_was_lost():
    run = sync_vs_async.summary(LOAD, FLEET, fates(), {0, 1, 3}, set(), 6)
    assert (run["first reply p50, s"], run["answer p99, s"]) == (2.0, 5.0)
    assert (run["answered in time"], run["kept in the end"]) == (0.5, 0.75)
    assert (run["gave up"], run["broken off"], run["refused"], run["accepted, then lost"]) == (1, 1, 0, 1)
    assert run["accepted, pending in the end"] == 0
    assert run["calls of the model/answer"] == 2
    assert run["answered/s"] == 2 / 8  # the second came at 3 s and had its answer 5 s later


def test_what_is_pending_is_not_lost():
    run = sync_vs_async.summary(LOAD, FLEET, fates(), {0, 1}, {2, 3}, 6)
    assert (run["accepted, pending in the end"], run["accepted, then lost"]) == (1, 0)


def test_nothing_that_came_back_is_no_time():
    run = sync_vs_async.summary(Scenario("killed", (0.0,)), SYNC, fates()[3:], set(), set(), 6)
    assert run["answered/s"] == 0
    assert run["answer p50, s"] == run["calls of the model/answer"] == ""


def test_the_page_says_both_sides_and_the_cost():
    runs = [sync_vs_async.summary(LOAD, side, fates(), {0}, set(), 4) for side in (SYNC, FLEET)]
    measurement = Measurement(
        program="sync_vs_async",
        question="?",
        method="How.",
        at=datetime.now(UTC),
        machine=Machine(processor="p", cores=2, memory_bytes=1, load=0),
        comparisons=(),
        runs=tuple(runs),
    )
    page = sync_vs_async.document(measurement)
    assert "**killed** — synchronous: first reply after 2 s, answer after 1 s (p50), 50.0% answered in time" in page
    assert "A queue hides overload" in page
    assert "0 in all runs: refused; accepted, pending in the end." in page
    assert "| refused |" not in page
    assert sum(len(axis.containers) for axis in sync_vs_async.figures(runs)["shares"].axes) == 4


@pytest.fixture
def address(httpserver: HTTPServer) -> str:
    return httpserver.url_for("").rstrip("/")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def visit(address):
    return visitors.visit(address, [b"{}"], [0.0], time.time())[0]


def test_an_answer_at_once_is_both(httpserver: HTTPServer, address):
    httpserver.expect_request("/query").respond_with_json({"status": "completed"})
    fate = visit(address)
    assert fate.outcome == "answered"
    assert fate.first_reply == fate.answer is not None


def test_a_receipt_is_followed_until_the_answer(httpserver: HTTPServer, address):
    httpserver.expect_ordered_request("/query").respond_with_json({"question_id": "7"}, 202)
    httpserver.expect_ordered_request("/status/7").respond_with_response(Response(status=503))
    httpserver.expect_ordered_request("/status/7").respond_with_json({"status": "completed"})
    fate = visit(address)
    assert (fate.outcome, fate.accepted) == ("answered", True)
    assert fate.answer - fate.first_reply >= visitors.POLL_SECONDS[0] * 0.9


@pytest.mark.parametrize(("status", "outcome"), [(503, "refused"), (502, "refused")])
def test_an_error_is_a_refusal(httpserver: HTTPServer, address, status, outcome):
    httpserver.expect_request("/query").respond_with_json({}, status)
    fate = visit(address)
    assert (fate.outcome, fate.accepted, fate.answer) == (outcome, False, None)
    assert fate.first_reply is not None


def test_a_connection_without_a_reply_is_broken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        assert visit(f"http://127.0.0.1:{server.getsockname()[1]}").outcome == "broken"


def test_who_finds_nobody_tries_again(monkeypatch):
    monkeypatch.setattr(visitors, "CONNECT_SECONDS", 0.1)
    later = HTTPServer(port=free_port())
    later.expect_request("/query").respond_with_json({"status": "completed"})
    threading.Timer(0.5, later.start).start()
    try:
        fate = visit(f"http://127.0.0.1:{later.port}")
    finally:
        later.stop()
    assert fate.outcome == "answered"
    assert fate.first_reply >= 0.5


def test_who_finds_nobody_gives_up_in_the_end(monkeypatch):
    monkeypatch.setattr(visitors, "PATIENCE_SECONDS", 0.3)
    fate = visit("http://127.0.0.1:1")
    assert (fate.outcome, fate.accepted, fate.first_reply) == ("gave up", False, None)


def test_patience_ends(httpserver: HTTPServer, address, monkeypatch):
    monkeypatch.setattr(visitors, "PATIENCE_SECONDS", 0.3)
    httpserver.expect_request("/query").respond_with_json({"question_id": "7"}, 202)
    httpserver.expect_request("/status/7").respond_with_json({"status": "pending"})
    fate = visit(address)
    assert (fate.outcome, fate.accepted, fate.answer) == ("gave up", True, None)
