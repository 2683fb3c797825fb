"""`GET /dead-letters` and `POST /dead-letters/ID/replay` on fakes of PostgreSQL and Kafka."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.question import question_id
from storage_service import dead_letters

TEXT = "Why is the sky blue?"
ID = question_id(TEXT)


def test_dead_letters_are_listed_newest_first(fleet):
    fleet.records.keep_letter(b"\xff{")
    fleet.records.keep_letter(reason="internal_error", question_id=ID)
    reply = fleet.client.get("/dead-letters")
    assert (reply.status_code, reply.json["total"]) == (200, 2)
    newest, oldest = reply.json["dead_letters"]
    assert (newest["id"], newest["reason"], newest["question_id"]) == (2, "internal_error", ID)
    assert (oldest["id"], oldest["preview"], oldest["value_bytes"], oldest["kept_bytes"]) == (1, "\ufffd{", 2, 2)
    assert (oldest["source_topic"], oldest["source_partition"], oldest["source_offset"]) == ("questions-pending", 2, 11)
    assert oldest["replayed_at"] is None


def test_dead_letters_are_paged_and_filtered(fleet):
    for reason in ("malformed", "internal_error", "malformed"):
        fleet.records.keep_letter(reason=reason)
    fleet.client.post("/dead-letters/1/replay")

    def listed(query):
        return [each["id"] for each in fleet.client.get(f"/dead-letters?{query}").json["dead_letters"]]

    assert listed("limit=1&offset=1") == [2]
    assert listed("reason=malformed") == [3, 1]
    assert listed("replayed=false") == [3, 2]
    assert listed("replayed=true&reason=malformed") == [1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reason", "not_retryable"),
        ("replayed", "perhaps"),
        ("limit", "0"),
        ("limit", "201"),
        ("offset", "-1"),
        ("a", "b"),
    ],
)
def test_an_invalid_filter_is_422_and_named(fleet, name, value):
    reply = fleet.client.get("/dead-letters", query_string={name: value})
    assert (reply.status_code, reply.content_type) == (422, "application/problem+json")
    assert [each["field"] for each in reply.json["errors"]] == [name]


def test_replay_writes_the_same_bytes_to_the_source_topic(fleet):
    fleet.records.keep_letter(b"\xff\x00{", key=b"\xfe")
    reply = fleet.client.post("/dead-letters/1/replay")
    assert (reply.status_code, reply.json["id"]) == (202, 1)
    assert reply.json["replayed_at"] is not None
    [sent] = fleet.publisher.sent
    assert (sent.topic, sent.key, sent.value) == ("questions-pending", b"\xfe", b"\xff\x00{")
    assert fleet.client.get("/stats").json["dead_letters"] == 0


def test_concurrent_replays_publish_once(fleet):
    fleet.records.keep_letter()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: fleet.api.test_client().post("/dead-letters/1/replay"), "x" * 16))
    assert sorted(reply.status_code for reply in replies) == [200] * 15 + [202]
    assert len(fleet.publisher.sent) == 1


@pytest.mark.parametrize(
    ("letter", "reason"),
    [
        ({"value": b"x" * 70_000}, "65,536 of the message's 70,000 bytes"),
        ({"value": None}, "no bytes to replay"),
        ({"source_topic": "somewhere"}, "topic of the message is unknown"),
        ({"source_topic": None}, "topic of the message is unknown"),
    ],
)
def test_replaying_an_incomplete_dead_letter_is_409_with_the_reason(fleet, letter, reason):
    fleet.records.keep_letter(**letter)
    reply = fleet.client.post("/dead-letters/1/replay")
    assert (reply.status_code, reply.content_type) == (409, "application/problem+json")
    assert reason in reply.json["detail"]
    assert fleet.publisher.sent == []
    assert fleet.client.get("/dead-letters?replayed=false").json["total"] == 1


@pytest.mark.parametrize(("how", "hint"), [("fail", "/failed/ID/retry"), ("complete", "has an answer")])
def test_replaying_a_message_of_a_final_question_is_409(fleet, how, hint):
    fleet.ask(TEXT)
    getattr(fleet.records, how)(ID)
    fleet.records.keep_letter(question_id=ID)
    reply = fleet.client.post("/dead-letters/1/replay")
    assert reply.status_code == 409
    assert hint in reply.json["detail"]
    assert len(fleet.publisher.sent) == 1


def test_a_message_of_a_pending_question_is_replayed(fleet):
    fleet.ask(TEXT)
    fleet.records.keep_letter(question_id=ID)
    assert fleet.client.post("/dead-letters/1/replay").status_code == 202


@pytest.mark.parametrize("silent", [True, False])
def test_a_replay_without_kafka_is_503_and_can_be_repeated(fleet, monkeypatch, silent):
    monkeypatch.setattr(dead_letters, "PATIENCE_SECONDS", 0.01)
    fleet.records.keep_letter()
    fleet.publisher.fail()
    fleet.publisher.acknowledges = not silent
    reply = fleet.client.post("/dead-letters/1/replay")
    assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
    assert "Kafka" in reply.json["detail"]
    fleet.publisher.error, fleet.publisher.acknowledges = None, True
    assert fleet.client.post("/dead-letters/1/replay").status_code == 202


def test_unknown_ids_are_404_and_malformed_ids_422(fleet):
    assert fleet.client.post("/dead-letters/5/replay").status_code == 404
    for wrong in ("x", "0", "-1", str(2**63)):
        reply = fleet.client.post(f"/dead-letters/{wrong}/replay")
        assert (reply.status_code, reply.json["errors"][0]["field"]) == (422, "letter_id"), wrong
    assert fleet.client.get("/dead-letters/5/replay").status_code == 405


def test_an_unavailable_database_is_503(fleet):
    fleet.records.unavailable = True
    for reply in (fleet.client.get("/dead-letters"), fleet.client.post("/dead-letters/1/replay")):
        assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
