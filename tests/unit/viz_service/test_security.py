"""Protection of requests that change something, and limits of streams."""

import pytest
from flask.testing import FlaskClient

from tests.unit.viz_service.fakes import KNOWN, FakeQueries, FakeStorage, client_for
from viz_service.storage import Reply

OWN = {"X-Requested-With": "askfleet", "Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
CHANGES = ("/api/ask", f"/api/failed/{KNOWN}/retry", "/api/dead-letters/7/replay")
BODIES = {CHANGES[0]: {"question_text": "Why?"}, CHANGES[1]: {}, CHANGES[2]: {}}


@pytest.mark.parametrize("path", CHANGES)
def test_own_pages_may_change_something(client: FlaskClient, storage: FakeStorage, path: str) -> None:
    assert client.post(path, json=BODIES[path], headers=OWN).status_code == 202
    assert len(storage.called) == 1


@pytest.mark.parametrize("path", CHANGES)
def test_tools_with_the_header_may_change_something(client: FlaskClient, path: str) -> None:
    assert client.post(path, json=BODIES[path], headers={"X-Requested-With": "curl"}).status_code == 202


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Requested-With": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "http://localhost:5001"},
        {"Origin": "null"},
    ],
)
def test_other_pages_may_not_change_anything(
    client: FlaskClient, storage: FakeStorage, path: str, headers: dict[str, str]
) -> None:
    assert client.post(path, json=BODIES[path], headers=OWN | headers).status_code == 403
    assert storage.called == []


@pytest.mark.parametrize("path", CHANGES)
def test_a_form_of_another_page_may_not_change_anything(client: FlaskClient, storage: FakeStorage, path: str) -> None:
    reply = client.post(path, data={"question_text": "Why?"}, headers={"Origin": "http://elsewhere.example"})
    assert reply.status_code in (403, 415)
    assert storage.called == []


def test_reading_needs_no_header(client: FlaskClient) -> None:
    assert client.get("/api/statistics", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_ask_passes_on_the_question_and_the_reply(client: FlaskClient, storage: FakeStorage) -> None:
    reply = client.post("/api/ask", json={"question_text": "Why?", "original_answer": None}, headers=OWN)
    assert (reply.status_code, reply.get_json()) == (202, {"status": "pending"})
    assert storage.called == [("ask", {"question_text": "Why?"})]
    assert client.post("/api/ask", json={"question": "Why?"}, headers=OWN).status_code == 422


def test_replay_passes_on_the_id_and_the_reply(
    client: FlaskClient, storage: FakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = client.post("/api/dead-letters/7/replay", json={}, headers=OWN)
    assert (reply.status_code, reply.get_json()) == (202, {"id": 7})
    assert storage.called == [("replay", 7)]
    refused = Reply(409, b'{"detail": "it was cut"}', "application/problem+json")
    monkeypatch.setattr(storage, "replay", lambda _letter_id: refused)
    reply = client.post("/api/dead-letters/7/replay", json={}, headers=OWN)
    assert (reply.status_code, reply.mimetype) == (409, "application/problem+json")
    assert reply.get_json()["detail"] == "it was cut"


@pytest.mark.parametrize("letter_id", ["0", "-1", "seven", str(2**63)])
def test_an_invalid_id_of_a_dead_letter_is_422_without_a_call(
    client: FlaskClient, storage: FakeStorage, letter_id: str
) -> None:
    assert client.post(f"/api/dead-letters/{letter_id}/replay", json={}, headers=OWN).status_code == 422
    assert storage.called == []


def test_actions_are_503_while_storage_service_is_unavailable() -> None:
    client = client_for(FakeQueries(), FakeStorage(unavailable=True))
    for path in CHANGES:
        assert client.post(path, json=BODIES[path], headers=OWN).status_code == 503


def test_events_are_passed_on_and_the_stream_is_closed(client: FlaskClient, storage: FakeStorage) -> None:
    reply = client.get(f"/api/questions/{KNOWN}/events")
    assert reply.mimetype == "text/event-stream"
    assert reply.get_data() == b"event: pending\n\nevent: completed\n\n"
    reply.close()
    assert storage.stream.closed
    assert client.get(f"/api/questions/{KNOWN}/events", headers={"Last-Event-ID": "1"}).status_code == 204


def test_streams_use_at_most_half_of_the_threads() -> None:
    client = client_for(FakeQueries(), viz_threads=4)
    path = f"/api/questions/{KNOWN}/events"
    streams = [client.get(path, buffered=False) for _ in range(2)]
    assert client.get(path).status_code == 503
    streams[0].close()
    assert client.get(path).status_code == 200


def test_streams_that_fail_to_start_do_not_count_as_open(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FakeStorage()
    client = client_for(FakeQueries(), storage, viz_threads=4)
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    path = f"/api/questions/{KNOWN}/events"

    def broken(*_: object) -> None:
        raise RuntimeError("the reply broke off")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "events", broken)
        assert {client.get(path).status_code for _ in range(3)} == {500}
    assert client.get(path).status_code == 200
