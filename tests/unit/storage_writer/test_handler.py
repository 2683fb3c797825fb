"""The rules of final messages, on in-memory fakes of PostgreSQL and Redis that keep the store's contract."""

import base64
from datetime import timedelta

import pytest
import structlog

from pipeline import topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import CallError, Failed, Malformed, Source, Unreadable, Validated
from pipeline.routing import BertScore, Gate, decide
from storage_writer.handler import FinalHandler
from tests.unit import samples

SOURCE = Source(topic=topics.VALIDATED, partition=0, offset=3)
LATER = samples.NOW + timedelta(seconds=2)


class FakeRecords:
    """Stands for the database: a question leaves `pending` once."""

    def __init__(self):
        self.final = {}
        self.noted = []
        self.known = set()
        self.error = None

    def _finish(self, question_id, what):
        if self.error:
            raise self.error
        if question_id in self.final:
            return False
        self.final[question_id] = what
        return True

    def note(self, question):
        if self.error:
            raise self.error
        self.noted.append((question.question_id, question.attempts))
        return question.question_id not in self.final

    def complete(self, question, answer):
        return self._finish(question.question_id, ("completed", answer, question.attempts))

    def fail(self, question, reason, last_error, failed_at):
        return self._finish(question.question_id, ("failed", reason, last_error, failed_at, question.attempts))

    def fail_known(self, question_id, reason, last_error, failed_at):
        return question_id in self.known and self._finish(question_id, ("failed", reason, last_error, failed_at))


class FakeAnswers:
    """Stands for Redis."""

    def __init__(self):
        self.kept = []

    def put(self, answer):
        self.kept.append(answer)


class Writer:
    def __init__(self):
        self.records, self.answers = FakeRecords(), FakeAnswers()
        self.handler = FinalHandler(self.records, self.answers)

    def take(self, message):
        with structlog.testing.capture_logs() as logs:
            assert self.handler(Incoming(message, SOURCE)) == ()
        return logs


@pytest.fixture
def writer():
    return Writer()


def validated(score=0.7):
    bert = BertScore(score, score, score, score, "scorer") if score is not None else None
    (routed, *_) = decide(samples.response(), bert, Gate(0.48, 1, 0.3), LATER)
    assert isinstance(routed.message, Validated)
    return routed.message


def failed(**changes):
    error = CallError(type="overload", status_code=503, message="busy")
    fields = {"reason": "retries_exhausted", "error": error, "source": SOURCE, "failed_at": LATER}
    return samples.question(retry_count=3).become(Failed, **fields | changes)


def malformed(key):
    return Malformed.of(key, b"{", SOURCE, "message: not JSON", LATER)


def test_answer_is_kept_and_cached_with_the_same_content(writer):
    message = validated(0.123456789)
    (log,) = writer.take(message)
    status, answer, attempts = writer.records.final[message.question_id]
    assert (status, attempts) == ("completed", message.attempts)
    assert writer.answers.kept == [answer]
    assert (answer.bert_score, answer.created_at) == (0.123457, message.validated_at)
    assert (log["event"], log["log_level"]) == ("kept an answer", "info")
    assert {name: log[name] for name in ("question_id", "quality", "score", "attempts", "ms")} == {
        "question_id": message.question_id,
        "quality": "max_retries_reached",
        "score": 0.123457,
        "attempts": 1,
        "ms": 2000,
    }


def test_unscored_answer_is_kept(writer):
    message = validated(None)
    writer.take(message)
    answer = writer.records.final[message.question_id][1]
    assert (answer.quality, answer.bert_score, answer.scorer) == ("unscored", None, None)


def test_an_attempt_below_the_threshold_is_noted_at_once(writer):
    _, record = decide(samples.response(), BertScore(0.1, 0.1, 0.1, 0.1, "scorer"), Gate(0.48, 3, 0.3), LATER)
    writer.take(record.message)
    [(question_id, [attempt])] = writer.records.noted
    assert (question_id, attempt.bert_score) == (record.message.question_id, 0.1)
    assert writer.records.final == {}


def test_replay_changes_nothing(writer):
    message = validated()
    writer.take(message)
    before = dict(writer.records.final)
    for late in (message, validated(0.9), failed()):
        (log,) = writer.take(late)
        assert log["event"].startswith("skipped")
    assert writer.records.final == before
    assert len(writer.answers.kept) == 1


def test_failure_is_final(writer):
    message = failed()
    (log,) = writer.take(message)
    assert writer.records.final[message.question_id] == (
        "failed",
        "retries_exhausted",
        "overload 503: busy",
        LATER,
        (),
    )
    assert (log["event"], log["reason"], log["ms"]) == ("failed a question", "retries_exhausted", 2000)
    writer.take(validated())
    assert writer.records.final[message.question_id][0] == "failed"
    assert writer.answers.kept == []


def test_failure_without_http_status(writer):
    message = failed(error=CallError(type="permanent", message="empty answer"), reason="not_retryable")
    writer.take(message)
    assert writer.records.final[message.question_id][2] == "permanent: empty answer"


def test_malformed_message_fails_the_question_of_its_key(writer):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    (log,) = writer.take(malformed(identity.encode()))
    assert writer.records.final[identity] == ("failed", "malformed", "message: not JSON", LATER)
    assert log["event"] == "failed a question"


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe", b"hand-made", b"0" * 32, b"A" * 32])
def test_malformed_message_of_nobody_is_only_logged(writer, key):
    (log,) = writer.take(malformed(key))
    assert log["event"] == "left an unreadable message in its topic"
    assert writer.records.final == {}


def test_malformed_key_that_is_not_base64_is_only_logged(writer):
    message = malformed(b"x").model_copy(update={"key_base64": "%%%"})
    assert writer.take(message)[0]["question_id"] is None
    assert base64.b64decode(malformed(b"x").key_base64) == b"x"


@pytest.mark.parametrize("error", [Unavailable("away"), Unreadable("NUL")])
def test_errors_of_the_database_are_the_loops_to_handle(writer, error):
    writer.records.error = error
    with pytest.raises(type(error)):
        writer.handler(Incoming(validated(), SOURCE))
    assert writer.answers.kept == []


def test_foreign_message_is_rejected(writer):
    with pytest.raises(Unreadable):
        writer.handler(Incoming(samples.question(), SOURCE))
