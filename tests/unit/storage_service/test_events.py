"""Waiting and server-sent events, on a fake of PostgreSQL."""

import threading
import time

import pytest

from pipeline.question import question_id
from storage_service import events
from storage_service.events import QuestionWaiter, Waiters
from tests.unit.storage_service.fakes import Fleet

ID = question_id("Why is the sky blue?")


@pytest.fixture
def pending(fleet):
    fleet.ask()
    fleet.waiters.listen(True)
    return fleet.records.find(ID)


def parse_events(stream):
    for block in stream.strip().split("\n\n"):
        if not block.startswith(":"):
            yield dict(line.split(": ", 1) for line in block.split("\n"))


def test_a_stream_sends_the_current_and_the_final_state(fleet, pending):
    fleet.finish_later(ID)
    reply = fleet.client.get(f"/events/{ID}")
    assert (reply.status_code, reply.mimetype) == (200, "text/event-stream")
    first, last = parse_events(reply.text)
    assert (first["event"], first["id"], last["event"], last["id"]) == (
        "pending",
        f"{ID}-pending",
        "completed",
        f"{ID}-completed",
    )
    assert '"llm_response":"Because of scattering."' in last["data"]


def test_the_stream_of_a_final_question_has_one_event(fleet, pending):
    fleet.records.fail(ID)
    (only,) = parse_events(fleet.client.get(f"/events/{ID}").text)
    assert only["event"] == "failed"
    last_event = {"Last-Event-ID": only["id"]}
    assert fleet.client.get(f"/events/{ID}", headers=last_event).status_code == 204
    assert fleet.client.get(f"/events/{ID}", headers={"Last-Event-ID": f"{ID}-pending"}).status_code == 200


def test_a_stream_sends_heartbeats(fleet, pending, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    fleet.finish_later(ID, 0.3)
    text = fleet.client.get(f"/events/{ID}").text
    assert 2 <= text.count(": still pending\n\n") <= 6
    assert len(list(parse_events(text))) == 2


def test_a_question_that_became_final_before_the_wait_ends_it_at_once(fleet, pending):
    fleet.records.complete(ID)  # without a notification
    started = time.monotonic()
    assert QuestionWaiter(fleet.records.find, fleet.waiters).wait(pending, 20).status == "completed"
    assert time.monotonic() - started < 1


def test_the_table_is_polled_while_notifications_are_not_received(fleet, pending, monkeypatch):
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    fleet.waiters.listen(False)
    threading.Timer(0.1, fleet.records.complete, [ID]).start()  # without a notification
    assert QuestionWaiter(fleet.records.find, fleet.waiters).wait(pending, 20).status == "completed"


def test_all_waiters_check_again_after_a_reconnection(fleet, pending):
    def reconnect():
        fleet.records.complete(ID)
        fleet.waiters.listen(True)

    threading.Timer(0.1, reconnect).start()
    started = time.monotonic()
    assert QuestionWaiter(fleet.records.find, fleet.waiters).wait(pending, 20).status == "completed"
    assert time.monotonic() - started < 2


def test_a_notification_wakes_only_waiters_of_its_question():
    waiters = Waiters(4)
    with waiters.register("a") as one, waiters.register("a") as two, waiters.register("b") as other:
        waiters.notify("a")
        waiters.notify("unknown")
        assert [woken.is_set() for woken in (one, two, other)] == [True, True, False]


def test_waiters_over_the_limit_are_answered_at_once():
    fleet = Fleet(most=1)
    fleet.ask()
    pending = fleet.records.find(ID)
    with fleet.waiters.register("another question"):
        started = time.monotonic()
        assert fleet.client.get(f"/status/{ID}?wait=20").json["status"] == "pending"
        assert [each["event"] for each in parse_events(fleet.client.get(f"/events/{ID}").text)] == ["pending"]
        assert time.monotonic() - started < 2
    fleet.finish_later(ID)  # the place is free again
    assert QuestionWaiter(fleet.records.find, fleet.waiters).wait(pending, 20).status == "completed"


def test_shutdown_answers_all_waiters(fleet, pending):
    threading.Timer(0.1, fleet.waiters.close).start()
    started = time.monotonic()
    assert fleet.client.get(f"/status/{ID}?wait=20").json["status"] == "pending"
    assert len(list(parse_events(fleet.client.get(f"/events/{ID}").text))) == 1
    assert time.monotonic() - started < 2
