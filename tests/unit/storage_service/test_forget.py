"""`DELETE /questions/ID` and `POST /questions/ID/regenerate` on fakes of PostgreSQL, Redis and Kafka."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from pipeline.question import question_id
from storage_service import events
from tests.unit.storage_service.fakes import answer

TEXT = "Why is the sky blue?"
ID = question_id(TEXT)
QUESTION = f"/questions/{ID}"
REGENERATE = f"{QUESTION}/regenerate"


@pytest.fixture
def completed(fleet):
    fleet.ask(TEXT, original_answer="Scattering.")
    fleet.records.complete(ID)
    assert fleet.ask(TEXT).json["source"] == "database"  # and now it is in the cache
    return fleet


@pytest.mark.parametrize("how", ["complete", "fail", None])
def test_a_question_is_deleted_in_any_state(fleet, how):
    fleet.ask(TEXT)
    if how:
        getattr(fleet.records, how)(ID)
    fleet.records.keep_letter(question_id=ID)
    with structlog.testing.capture_logs() as logs:
        reply = fleet.client.delete(QUESTION)
    assert (reply.status_code, reply.data) == (204, b"")
    assert [each["question_id"] for each in logs if each["event"] == "deleted a question"] == [ID]
    assert fleet.client.get(f"/status/{ID}").status_code == 404
    assert fleet.client.get("/dead-letters").json["total"] == 0


def test_a_deleted_answer_is_not_served_from_the_cache(completed):
    assert completed.answers.kept.keys() == {ID}
    completed.client.delete(QUESTION)
    assert completed.answers.kept == {}
    assert completed.answers.forgotten == [ID], "calls remembered by llm-consumer must be deleted too"
    assert completed.ask(TEXT).status_code == 202


def test_deleting_a_question_twice_is_404(completed):
    assert completed.client.delete(QUESTION).status_code == 204
    reply = completed.client.delete(QUESTION)
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


def test_dead_letters_of_a_question_without_a_row_are_deleted_by_its_id(fleet):
    fleet.records.keep_letter(question_id=ID)
    assert fleet.client.delete(QUESTION).status_code == 204
    assert fleet.client.get("/dead-letters").json["total"] == 0


def test_a_malformed_id_is_422_and_named(fleet):
    for reply in (fleet.client.delete("/questions/x"), fleet.client.post("/questions/x/regenerate")):
        assert (reply.status_code, reply.json["errors"][0]["field"]) == (422, "question_id")


@pytest.mark.parametrize("store", ["records", "answers"])
def test_nothing_is_changed_while_a_store_is_unavailable(completed, store):
    getattr(completed, store).unavailable = True
    for reply in (completed.client.delete(QUESTION), completed.client.post(REGENERATE)):
        assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
        assert int(reply.headers["Retry-After"]) > 0
    getattr(completed, store).unavailable = False
    assert completed.client.get(f"/status/{ID}").json["status"] == "completed"
    assert len(completed.publisher.sent) == 1


def test_an_event_stream_ends_when_its_question_is_deleted(fleet, monkeypatch):
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    fleet.ask(TEXT)
    timer = threading.Timer(0.1, fleet.records.delete, [ID])
    timer.start()
    stream = fleet.client.get(f"/events/{ID}").text
    timer.join()
    assert stream.count("event: ") == 1
    assert "event: pending" in stream


def test_deleting_a_question_ends_a_wait_for_it(fleet, monkeypatch):
    monkeypatch.setattr(events, "POLL_SECONDS", 0.05)
    fleet.ask(TEXT)
    timer = threading.Timer(0.1, fleet.records.delete, [ID])
    timer.start()
    reply = fleet.client.get(f"/status/{ID}?wait=60")
    timer.join()
    assert reply.json["status"] == "pending"
    assert fleet.client.get(f"/status/{ID}").status_code == 404


@pytest.mark.parametrize("how", ["complete", "fail"])
def test_a_final_question_is_regenerated(fleet, how):
    fleet.ask(TEXT, original_answer="Scattering.")
    getattr(fleet.records, how)(ID)
    reply = fleet.client.post(REGENERATE)
    assert (reply.status_code, reply.json) == (202, {"status": "pending", "question_id": ID})
    assert reply.headers["Location"] == f"/status/{ID}"
    first, again = (each.message for each in fleet.publisher.sent)
    assert again.asked_at > first.asked_at
    assert (again.original_answer, again.processing_attempts) == ("Scattering.", 1)
    state = fleet.client.get(f"/status/{ID}").json
    assert (state["status"], state["result"], state["error"]) == ("pending", None, None)


def test_the_old_answer_of_a_regenerated_question_is_not_served_from_the_cache(completed):
    completed.client.post(REGENERATE)
    assert completed.ask(TEXT).status_code == 202
    assert len(completed.publisher.sent) == 2, "asking it must join the question in flight"


def test_a_reference_in_the_body_replaces_the_first_one(completed):
    reply = completed.client.post(REGENERATE, json={"original_answer": "Rayleigh scattering."})
    assert reply.status_code == 202
    assert completed.publisher.sent[1].message.original_answer == "Rayleigh scattering."


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({}, ("Scattering.", ("Rayleigh.",))),
        ({"references": None}, ("Scattering.", ("Rayleigh.",))),
        ({"original_answer": "New."}, ("New.", ())),
        ({"references": ["New.", "Newer."]}, ("New.", ("Newer.",))),
        ({"original_answer": "New.", "references": ["New. ", "Newer."]}, ("New.", ("Newer.",))),
    ],
)
def test_references_in_the_body_replace_all_earlier_ones(fleet, body, stored):
    fleet.ask(TEXT, original_answer="Scattering.", references=["Rayleigh."])
    fleet.records.complete(ID)
    assert fleet.client.post(REGENERATE, json=body).status_code == 202
    message = fleet.publisher.sent[1].message
    assert (message.original_answer, message.references) == stored


@pytest.mark.parametrize("body", [{}, {"original_answer": None}, {"original_answer": "  "}])
def test_a_blank_reference_keeps_the_first_one(completed, body):
    assert completed.client.post(REGENERATE, json=body).status_code == 202
    assert completed.publisher.sent[1].message.original_answer == "Scattering."


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"json": {"original_answer": 1}}, 422),
        ({"json": {"colour": "blue"}}, 422),
        ({"json": {"references": []}}, 422),
        ({"json": {"references": ["r", " "]}}, 422),
        ({"json": {"original_answer": "x" * 10_001}}, 422),
        ({"json": {"original_answer": "a\x00b"}}, 422),
        ({"json": []}, 400),
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"a=b", "content_type": "text/plain"}, 415),
    ],
)
def test_an_invalid_body_starts_nothing(completed, given, status):
    reply = completed.client.post(REGENERATE, **given)
    assert (reply.status_code, reply.content_type) == (status, "application/problem+json")
    assert len(completed.publisher.sent) == 1


def test_regenerating_a_pending_question_is_409(fleet):
    fleet.ask(TEXT)
    reply = fleet.client.post(REGENERATE)
    assert (reply.status_code, reply.content_type) == (409, "application/problem+json")
    assert len(fleet.publisher.sent) == 1


def test_concurrent_regenerations_start_the_question_once(completed):
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: completed.api.test_client().post(REGENERATE), "x" * 16))
    assert sorted(reply.status_code for reply in replies) == [202] + [409] * 15
    assert len(completed.publisher.sent) == 2


def test_regenerating_an_unknown_question_is_404(fleet):
    assert fleet.client.post(REGENERATE).status_code == 404


def test_regenerating_with_a_full_outbox_is_503(completed):
    completed.publisher.fail()
    for number in range(10):
        completed.ask(f"Does number {number} wait?")
    reply = completed.client.post(REGENERATE)
    assert reply.status_code == 503
    assert completed.client.get(f"/status/{ID}").json["status"] == "completed"


def test_the_new_answer_replaces_the_old_one(completed):
    completed.client.post(REGENERATE)
    completed.records.complete(ID, llm_response="By Rayleigh.")
    assert completed.ask(TEXT).json["result"]["llm_response"] == "By Rayleigh."
    assert completed.answers.kept[ID] == answer(completed.records.rows[ID]["question"], llm_response="By Rayleigh.")


def test_the_document_declares_the_body_as_optional(fleet):
    document = fleet.client.get("/openapi.json").json
    assert document["paths"]["/questions/{question_id}/regenerate"]["post"]["requestBody"]["required"] is False
    assert document["paths"]["/questions/{question_id}/reference"]["put"]["requestBody"]["required"] is True
