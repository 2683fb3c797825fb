import json
from decimal import Decimal

import pytest

from pipeline import messages, topics
from pipeline.messages import (
    BestAnswer,
    DeadLetter,
    FailedQuestion,
    InvalidMessage,
    ProviderError,
    Question,
    Response,
)
from pipeline.routing import BertScore, Gate, decide
from tests.unit import samples

KEY = samples.question().question_id.encode()
BEST = BestAnswer(
    llm_response="It is.", bert_score=0.2, bert_precision=0.2, bert_recall=0.2, attempt=1, model="m", scorer="s"
)


def changed(**changes):
    body = json.loads(samples.question().to_bytes())
    return json.dumps(body | changes).encode()


def test_a_question_is_read_back_unchanged():
    question = samples.question(question_context="Seen from Earth.", processing_attempts=2)
    assert messages.read(topics.QUESTIONS_PENDING, KEY, question.to_bytes()) == question


def test_references_survive_the_wire_and_every_change_of_kind():
    question = samples.question(references=("It is Rayleigh scattering.", "Scattering."))
    read = messages.read(topics.QUESTIONS_PENDING, KEY, question.to_bytes())
    assert read == question
    assert read.all_references == (question.original_answer, *question.references)
    error = ProviderError(type="overload", message="busy")
    changes = {"reason": "not_retryable", "error": error, "source": samples.SOURCE, "failed_at": samples.NOW}
    assert question.convert_to(FailedQuestion, **changes).references == question.references
    response = samples.response(references=question.references)
    assert messages.read(topics.RESPONSES_SUCCESS, KEY, response.to_bytes()) == response
    for routed in decide(response, BertScore(0.1, 0.1, 0.1, 0.1, "s", 2), Gate(0.5, 3, 0.3), samples.NOW):
        message = messages.read(routed.topic, KEY, routed.message.to_bytes())
        assert message == routed.message
        assert message.references == question.references


def test_messages_from_before_there_were_several_references_are_read():
    body = json.loads(samples.question(best=BEST).to_bytes())
    del body["references"], body["best"]["reference_index"]
    read = messages.read(topics.QUESTIONS_PENDING, KEY, json.dumps(body).encode())
    assert (read.references, read.best.reference_index) == ((), None)
    assert read.all_references == (samples.question().original_answer,)
    kept = decide(samples.response(), None, Gate(0.5, 3, 0.3), samples.NOW)[0].message
    body = json.loads(kept.to_bytes())
    del body["references"], body["reference_index"]
    assert messages.read(topics.VALIDATED, KEY, json.dumps(body).encode()) == kept


def test_references_without_original_answer_have_no_effect():
    assert samples.question(original_answer=None, references=("r",)).all_references == ()


def test_times_are_rfc_3339_in_utc():
    assert json.loads(samples.question().to_bytes())["asked_at"] == "2026-01-02T03:04:05.000Z"


def test_unknown_fields_of_a_newer_producer_are_ignored():
    assert isinstance(messages.read(topics.QUESTIONS_PENDING, KEY, changed(colour="blue")), Question)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "null value"),
        (b"", "empty value"),
        (b"{", "message: Invalid JSON"),
        (b"\xff\xfe", "message: Invalid JSON"),
        (b"[]", "message"),
        (changed(schema_version=2), "schema_version"),
        (changed(question_text=7), "question_text"),
        (changed(question_text=""), "question_text"),
        (changed(processing_attempts="1"), "processing_attempts"),
        (changed(processing_attempts=0), "processing_attempts"),
        (changed(asked_at="yesterday"), "asked_at"),
        (changed(references=[""]), "references"),
        (changed(references=["r"] * 9), "references"),
        (changed(references="r"), "references"),
        (changed(asked_at="2026-01-02T03:04:05"), "asked_at"),
        (changed(question_id="x"), "question_id"),
        (json.dumps({"schema_version": 1}).encode(), "question_id"),
    ],
)
def test_the_error_of_an_unreadable_message_names_the_reason(value, why):
    with pytest.raises(InvalidMessage, match=why):
        messages.read(topics.QUESTIONS_PENDING, KEY, value)


@pytest.mark.parametrize("key", [None, b"", b"0" * 32])
def test_the_key_must_be_the_question_id(key):
    with pytest.raises(InvalidMessage, match="key"):
        messages.read(topics.QUESTIONS_PENDING, key, samples.question().to_bytes())


def test_error_messages_contain_no_payload():
    with pytest.raises(InvalidMessage) as caught:
        messages.read(topics.QUESTIONS_PENDING, KEY, changed(processing_attempts="a secret"))
    assert "secret" not in str(caught.value)


def test_convert_to_keeps_the_fields_of_the_question():
    response = samples.response(processing_attempts=3, retry_count=2)
    again = response.convert_to(Question, retry_count=0)
    assert type(again) is Question
    assert (again.question_id, again.processing_attempts, again.retry_count) == (response.question_id, 3, 0)
    assert not hasattr(again, "llm_response")


def test_the_permanent_topic_holds_failed_questions_and_dead_letters():
    error = messages.ProviderError(type="permanent", status_code=401, message="no")
    failed = samples.question().convert_to(
        FailedQuestion, reason="not_retryable", error=error, source=samples.SOURCE, failed_at=samples.NOW
    )
    assert messages.read(topics.PERMANENT, KEY, failed.to_bytes()) == failed
    malformed = DeadLetter.of(None, b"\xff\x00", samples.SOURCE, "no JSON", samples.NOW)
    assert messages.read(topics.PERMANENT, None, malformed.to_bytes()) == malformed
    assert malformed.value_base64 == "/wA="


def test_a_dead_letter_of_an_internal_error_keeps_the_bytes_of_the_message():
    failed = DeadLetter.of(b"k", b"{}", samples.SOURCE, "KeyError: 'a bug'", samples.NOW, "internal_error")
    assert messages.read(topics.PERMANENT, b"k", failed.to_bytes()) == failed
    assert (failed.reason, failed.value_base64) == ("internal_error", "e30=")


def test_the_largest_message_fits_into_the_permanent_topic():
    malformed = DeadLetter.of(b"k", b"\x00" * topics.MAX_MESSAGE_BYTES, samples.SOURCE, "no JSON", samples.NOW)
    assert len(malformed.to_bytes()) < topics.MAX_PERMANENT_BYTES


def test_a_response_without_an_answer_is_invalid():
    with pytest.raises(InvalidMessage, match="llm_response"):
        messages.read(topics.RESPONSES_SUCCESS, KEY, samples.question().to_bytes())
    assert isinstance(messages.read(topics.RESPONSES_SUCCESS, KEY, samples.response().to_bytes()), Response)


@pytest.mark.parametrize("cost", ["0", "0.000000010", "0.0000268", "12.5"])
def test_a_cost_is_read_back_exactly(cost):
    body = samples.response(cost=Decimal(cost)).to_bytes()
    assert f'"cost":"{cost}"'.encode() in body
    assert messages.read(topics.RESPONSES_SUCCESS, KEY, body).cost == Decimal(cost)


def test_messages_without_a_cost_are_read():
    body = json.loads(samples.response().to_bytes())
    del body["cost"]
    assert messages.read(topics.RESPONSES_SUCCESS, KEY, json.dumps(body).encode()).cost is None
