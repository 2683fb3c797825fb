"""`POST /query` on fakes of PostgreSQL, Redis and Kafka."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.messages import MAX_REFERENCES
from pipeline.question import question_id
from storage_service import questions
from storage_service.schemas import MAX_QUESTION_CHARACTERS, MAX_TEXT_CHARACTERS, MAX_TOPIC_CHARACTERS

TEXT = "Why is the sky blue?"
ID = question_id(TEXT)


def test_a_new_question_is_recorded_published_and_marked(fleet):
    reply = fleet.ask(original_answer="Scattering.", question_context="Seen from Earth.")
    identity = question_id(TEXT, "Seen from Earth.")
    assert (reply.status_code, reply.json) == (202, {"status": "pending", "question_id": identity})
    assert reply.headers["Location"] == f"/status/{identity}"
    (sent,) = fleet.publisher.sent
    assert (sent.topic, sent.key) == ("questions-pending", identity.encode())
    assert (sent.message.original_answer, sent.message.question_context) == ("Scattering.", "Seen from Earth.")
    assert sent.message.asked_at.microsecond % 1000 == 0
    assert fleet.records.published == {}
    fleet.write_behind.write()
    assert set(fleet.records.published) == {identity}


def test_a_question_is_recorded_before_it_is_published(fleet):
    def check(outgoing, _delivered):
        assert outgoing.message.question_id in fleet.records.rows
        delivered.append(outgoing)
        _delivered(None)

    delivered = []
    fleet.publisher.send = check
    fleet.ask()
    assert delivered


def test_texts_are_trimmed(fleet):
    fleet.ask("  Why is the sky blue?\n", original_answer=" ", question_context="\t")
    message = fleet.publisher.sent[0].message
    assert (message.question_text, message.original_answer, message.question_context) == (TEXT, None, None)


def test_the_first_topic_is_kept_and_not_published(fleet):
    for topic in (None, " ", " Science & Mathematics ", "Health"):
        assert fleet.ask(topic=topic).status_code == 202
    assert fleet.records.rows[ID]["topic"] == "Science & Mathematics"
    assert [b"Mathematics" in each.message.to_bytes() for each in fleet.publisher.sent] == [False]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"original_answer": "one", "references": ["two", "three"]}, ("one", ("two", "three"))),
        ({"references": ["two", "three"]}, ("two", ("three",))),
        ({"original_answer": " ", "references": ["two"]}, ("two", ())),
        ({"original_answer": None, "references": None}, (None, ())),
        ({"original_answer": "one", "references": [" one\n", "two", "two ", "One"]}, ("one", ("two", "One"))),
        ({"original_answer": "0", "references": list("12345678")}, ("0", tuple("12345678"))),
    ],
)
def test_a_question_may_have_several_references(fleet, given, stored):
    reply = fleet.ask(**given)
    assert (reply.status_code, reply.json["question_id"]) == (202, ID), "references are not part of the identity"
    message = fleet.publisher.sent[0].message
    assert (message.original_answer, message.references) == stored


def test_a_known_question_keeps_its_references_until_it_is_answered(fleet):
    fleet.ask(original_answer="first", references=["second"])
    assert fleet.ask(original_answer="other", references=["another"]).status_code == 202
    assert [each.message.references for each in fleet.publisher.sent] == [("second",)]
    fleet.records.complete(ID, reference_index=1)
    result = fleet.ask(original_answer="other").json["result"]
    assert (result["original_answer"], result["references"], result["reference_index"]) == ("first", ["second"], 1)


def test_asking_a_pending_question_joins_it(fleet):
    fleet.ask(original_answer="first")
    reply = fleet.ask("why is  the Sky Blue?", original_answer="second")
    assert (reply.status_code, reply.json["question_id"]) == (202, ID)
    assert [each.message.original_answer for each in fleet.publisher.sent] == ["first"]
    assert fleet.records.rows[ID]["times"] == 2


def test_concurrent_equal_questions_are_published_once(fleet):
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda _: fleet.api.test_client().post("/query", json={"question_text": TEXT}), "x" * 24)
        )
    assert {reply.status_code for reply in replies} == {202}
    assert len(fleet.publisher.sent) == 1
    assert fleet.records.rows[ID]["times"] == 24


def test_asking_a_failed_question_starts_it_again(fleet):
    fleet.ask()
    fleet.records.fail(ID)
    assert fleet.ask().status_code == 202
    assert len(fleet.publisher.sent) == 2
    assert fleet.client.get(f"/status/{ID}").json["status"] == "pending"


def test_the_first_answer_comes_from_the_database_and_the_next_from_the_cache(fleet):
    fleet.ask()
    fleet.records.complete(ID)
    first, second = fleet.ask().json, fleet.ask().json
    assert (first["status"], first["source"], second["source"]) == ("completed", "database", "cache")
    assert first["result"] == second["result"]
    assert first["result"]["llm_response"] == "Because of scattering."
    assert len(fleet.publisher.sent) == 1


def test_a_cache_hit_does_not_use_the_database_and_is_counted_later(fleet):
    fleet.ask()
    fleet.records.complete(ID)
    fleet.ask()
    fleet.records.calls.clear()
    fleet.ask()
    fleet.ask()
    assert fleet.records.calls == []
    fleet.write_behind.write()
    assert fleet.records.rows[ID]["times"] == 4


def test_without_redis_answers_come_from_the_database(fleet):
    fleet.answers.unavailable = True
    fleet.ask()
    fleet.records.complete(ID)
    assert [fleet.ask().json["source"] for _ in range(2)] == ["database", "database"]


def test_an_unavailable_database_is_503_with_retry_after(fleet):
    fleet.records.unavailable = True
    for reply in (fleet.ask(), fleet.client.get(f"/status/{ID}"), fleet.client.get("/stats")):
        assert reply.status_code == 503
        assert reply.content_type == "application/problem+json"
        assert int(reply.headers["Retry-After"]) > 0
        assert "PostgreSQL" in reply.json["detail"]
    assert fleet.publisher.sent == []


def test_a_cached_answer_is_served_while_the_database_is_unavailable(fleet):
    fleet.ask()
    fleet.records.complete(ID)
    fleet.ask()
    fleet.records.unavailable = True
    assert fleet.ask().json["source"] == "cache"
    fleet.write_behind.write()
    fleet.records.unavailable = False
    fleet.write_behind.write()
    assert fleet.records.rows[ID]["times"] == 3


def test_without_kafka_a_question_is_accepted_and_left_unpublished(fleet, monkeypatch):
    monkeypatch.setattr(questions, "ACKNOWLEDGED_SECONDS", 0.05)
    fleet.publisher.acknowledges = False
    assert fleet.ask().status_code == 202
    fleet.publisher.acknowledges = True
    fleet.publisher.fail()
    assert fleet.ask("Another one?").status_code == 202
    fleet.write_behind.write()
    assert fleet.records.published == {}
    assert len(fleet.records.rows) == 2


def test_wait_returns_when_the_question_is_final(fleet):
    fleet.ask()
    fleet.finish_later(ID)
    fleet.waiters.listen(True)
    reply = fleet.ask(path="/query?wait=20")
    assert (reply.status_code, reply.json["status"], reply.json["source"]) == (200, "completed", "database")
    assert reply.json["result"]["question_id"] == ID


def test_wait_returns_the_error_when_the_question_fails(fleet):
    fleet.waiters.listen(True)
    fleet.publisher.send = lambda outgoing, delivered: (delivered(None), fleet.finish_later(ID, how="fail"))
    reply = fleet.ask(path="/query?wait=20")
    assert reply.status_code == 200
    assert reply.json == {
        "status": "failed",
        "question_id": ID,
        "error": {
            "reason": "retries_exhausted",
            "last_error": "overload 503: busy",
            "retry_count": 3,
            "failed_at": "2026-01-03T03:04:05.000Z",
        },
    }


def test_wait_times_out(fleet):
    reply = fleet.ask(path="/query?wait=0.2")
    assert reply.status_code == 202


def test_a_database_outage_during_the_wait_is_202(fleet):
    fleet.publisher.send = lambda outgoing, delivered: (delivered(None), setattr(fleet.records, "unavailable", True))
    assert fleet.ask(path="/query?wait=0.2").status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question_text"),
        ({"question_text": None}, "question_text"),
        ({"question_text": 5}, "question_text"),
        ({"question_text": ["Why?"]}, "question_text"),
        ({"question_text": ""}, "question_text"),
        ({"question_text": " \n\u3000\x1f"}, "question_text"),
        ({"question_text": "x" * (MAX_QUESTION_CHARACTERS + 1)}, "question_text"),
        ({"question_text": "a\x00b"}, "question_text"),
        ({"question_text": "a\ud800b"}, "question_text"),
        ({"question_text": "Why?", "question_context": 1}, "question_context"),
        ({"question_text": "Why?", "question_context": "x" * (MAX_TEXT_CHARACTERS + 1)}, "question_context"),
        ({"question_text": "Why?", "question_context": " " * (MAX_TEXT_CHARACTERS + 1)}, "question_context"),
        ({"question_text": "Why?", "original_answer": "\x00"}, "original_answer"),
        ({"question_text": "Why?", "original_answer": "\udfff"}, "original_answer"),
        ({"question_text": "Why?", "original_answer": True}, "original_answer"),
        ({"question_text": "Why?", "references": "Because."}, "references"),
        ({"question_text": "Why?", "references": []}, "references"),
        ({"question_text": "Why?", "references": ["r"] * (MAX_REFERENCES + 1)}, "references"),
        ({"question_text": "Why?", "references": ["r", ""]}, "references.1"),
        ({"question_text": "Why?", "references": [" \n\u3000", "r"]}, "references.0"),
        ({"question_text": "Why?", "references": ["r", None]}, "references.1"),
        ({"question_text": "Why?", "references": ["a\x00b"]}, "references.0"),
        ({"question_text": "Why?", "references": ["\udfff"]}, "references.0"),
        ({"question_text": "Why?", "references": ["x" * (MAX_TEXT_CHARACTERS + 1)]}, "references.0"),
        ({"question_text": "Why?", "topic": 1}, "topic"),
        ({"question_text": "Why?", "topic": "x" * (MAX_TOPIC_CHARACTERS + 1)}, "topic"),
        ({"question_text": "Why?", "topic": "\x00"}, "topic"),
        ({"question_text": "Why?", "answer": "x"}, "answer"),
    ],
)
def test_an_invalid_field_is_422_and_named(fleet, body, field):
    reply = fleet.client.post("/query", json=body)
    assert (reply.status_code, reply.content_type) == (422, "application/problem+json")
    assert [each["field"] for each in reply.json["errors"]] == [field]
    assert field in reply.json["detail"]
    assert fleet.records.calls == []


@pytest.mark.parametrize("wait", ["-1", "60.5", "soon", "", "nan", "inf"])
@pytest.mark.parametrize("path", ["/query", f"/status/{ID}"])
def test_an_invalid_wait_is_422_and_named(fleet, path, wait):
    call = fleet.client.post if path == "/query" else fleet.client.get
    reply = call(f"{path}?wait={wait}", json={"question_text": "Why?"})
    assert (reply.status_code, reply.json["errors"][0]["field"]) == (422, "wait")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"question_text": "Why?"}', "text/plain", 415),
        (b'{"question_text": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_is_not_a_json_object_is_a_problem(fleet, body, content_type, status):
    reply = fleet.client.post("/query", data=body, content_type=content_type)
    assert (reply.status_code, reply.content_type) == (status, "application/problem+json")


def test_texts_of_the_maximum_length_are_accepted(fleet):
    text = " " + "x" * MAX_QUESTION_CHARACTERS + "\n"
    reply = fleet.ask(
        text,
        question_context="é" * MAX_TEXT_CHARACTERS,
        original_answer="é" * MAX_TEXT_CHARACTERS,
        references=[f"{number}".ljust(MAX_TEXT_CHARACTERS, "é") for number in range(MAX_REFERENCES)],
    )
    assert reply.status_code == 202
