"""Handling of final messages, on in-memory fakes of PostgreSQL and Redis that keep the store's contract."""

import base64
from datetime import timedelta

import pytest
import structlog

from pipeline import topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import (
    DeadLetter,
    FailedQuestion,
    InvalidMessage,
    Judgement,
    ProviderError,
    Question,
    RecordPosition,
    Response,
    Validated,
)
from pipeline.routing import BertScore, Gate, decide
from storage_writer.handler import FinalHandler
from tests.unit import samples

SOURCE = RecordPosition(topic=topics.VALIDATED, partition=0, offset=3)
ANSWER = set(Response.model_fields) - set(Question.model_fields)
LATER = samples.NOW + timedelta(seconds=2)


class FakeRecords:
    """Fake database in which a question leaves `pending` once."""

    def __init__(self):
        self.final = {}
        self.noted = []
        self.bests = []
        self.letters = []
        self.known = set()
        self.deleted = set()
        self.error = None

    def _finish(self, question_id, outcome):
        if self.error:
            raise self.error
        if question_id in self.final or question_id in self.deleted:
            return False
        self.final[question_id] = outcome
        return True

    def note(self, question):
        if self.error:
            raise self.error
        self.noted.append((question.question_id, question.attempts))
        self.bests.append(question.best)
        return question.question_id not in self.final

    def complete(self, question, answer):
        return self._finish(question.question_id, ("completed", answer, question.attempts))

    def fail(self, question, reason, last_error, failed_at):
        return self._finish(question.question_id, ("failed", reason, last_error, failed_at, question.attempts))

    def fail_known(self, question_id, reason, last_error, failed_at):
        return question_id in self.known and self._finish(question_id, ("failed", reason, last_error, failed_at))

    def keep_dead_letter(self, place, letter, question_id):
        if self.error:
            raise self.error
        if question_id in self.deleted:
            return False
        self.letters.append((place, letter, question_id))
        return True


class FakeAnswers:
    """Fake Redis."""

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
    error = ProviderError(type="overload", status_code=503, message="busy")
    fields = {"reason": "retries_exhausted", "error": error, "source": SOURCE, "failed_at": LATER}
    return samples.question(retry_count=3).convert_to(FailedQuestion, **fields | changes)


def malformed(key, topic=topics.VALIDATED):
    source = RecordPosition(topic=topic, partition=0, offset=3)
    return DeadLetter.of(key, b"{", source, "message: not JSON", LATER)


def test_an_answer_is_stored_and_cached_with_the_same_content(writer):
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


def test_an_unscored_answer_is_stored(writer):
    message = validated(None)
    writer.take(message)
    answer = writer.records.final[message.question_id][1]
    assert (answer.quality, answer.bert_score, answer.scorer) == ("unscored", None, None)
    assert (answer.unscored_reason, answer.warnings) == ("no_reference", [])


def test_the_reason_and_the_warnings_of_an_answer_are_stored(writer):
    message = validated(None).model_copy(update={"unscored_reason": "other_language", "warnings": ("repetition",)})
    writer.take(message)
    answer = writer.records.final[message.question_id][1]
    assert (answer.unscored_reason, answer.warnings) == ("other_language", ["repetition"])


@pytest.mark.parametrize("probability", [0.123456789, None])
def test_what_the_judge_says_and_the_rejection_are_stored_with_the_answer(writer, probability):
    judgement = Judgement(probability=probability, problem="refused" if probability is None else "wrong", model="j")
    (routed, _) = decide(samples.response(), BertScore(0.7, 0.7, 0.7, 0.7, "e"), Gate(0.48, 1, 0.3), LATER, judgement)
    writer.take(routed.message)
    _, answer, (attempt,) = writer.records.final[routed.message.question_id]
    assert answer.judge.model_dump() == {
        "probability": None if probability is None else 0.123457,
        "problem": judgement.problem,
        "model": "j",
    }
    assert (answer.rejected_by, attempt.judgement) == ("judge", judgement)


def test_an_answer_that_no_judge_was_asked_about_is_stored_without_a_judge(writer):
    writer.take(validated(0.2))
    _, answer, _ = writer.records.final[validated(0.2).question_id]
    assert (answer.judge, answer.rejected_by) == (None, "score")


def test_an_attempt_below_the_threshold_is_recorded_at_once(writer):
    _, record = decide(samples.response(), BertScore(0.1, 0.1, 0.1, 0.1, "scorer"), Gate(0.48, 3, 0.3), LATER)
    writer.take(record.message)
    [(question_id, [attempt])] = writer.records.noted
    assert (question_id, attempt.bert_score) == (record.message.question_id, 0.1)
    assert writer.records.final == {}


@pytest.mark.parametrize(("earlier", "kept"), [(None, 1), (0.05, 2), (0.1, 1), (0.3, 1)])
def test_the_best_answer_so_far_is_recorded_with_an_attempt(writer, earlier, kept):
    """The recorded attempt (the second if `earlier` is set) is compared with the earlier best; ties keep the first."""
    response = samples.response()
    if earlier is not None:
        first, _ = decide(response, BertScore(earlier, 0.2, 0.2, 0.2, "scorer"), Gate(0.48, 3, 0.3), LATER)
        response = first.message.convert_to(Response, **{name: getattr(response, name) for name in ANSWER})
    _, record = decide(response, BertScore(0.1, 0.1, 0.1, 0.1, "scorer"), Gate(0.48, 3, 0.3), LATER)
    writer.take(record.message)
    [best] = writer.records.bests
    assert (best.attempt, best.bert_score) == (kept, 0.1 if kept == response.processing_attempts else earlier)


def test_a_replayed_message_changes_nothing(writer):
    message = validated()
    writer.take(message)
    before = dict(writer.records.final)
    for late in (message, validated(0.9), failed()):
        (log,) = writer.take(late)
        assert log["event"].startswith("skipped")
    assert writer.records.final == before
    assert len(writer.answers.kept) == 1


def test_an_answer_after_a_failure_is_ignored(writer):
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


def test_the_last_error_of_a_failure_without_http_status_has_no_status(writer):
    message = failed(error=ProviderError(type="permanent", message="empty answer"), reason="not_retryable")
    writer.take(message)
    assert writer.records.final[message.question_id][2] == "permanent: empty answer"


@pytest.mark.parametrize("topic", [each.name for each in topics.WORKING])
def test_a_malformed_message_fails_the_question_of_its_key(writer, topic):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    (log,) = writer.take(malformed(identity.encode(), topic))
    assert writer.records.final[identity] == ("failed", "malformed", "message: not JSON", LATER)
    assert log["event"] == "failed a question"


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe", b"hand-made", b"0" * 32, b"A" * 32])
def test_a_malformed_message_of_no_known_question_is_kept_as_a_dead_letter(writer, key):
    message = malformed(key)
    (log,) = writer.take(message)
    assert log["event"] == "kept a dead letter"
    assert writer.records.final == {}
    [(place, letter, _)] = writer.records.letters
    assert (place, letter) == (SOURCE, message)


def test_an_unreadable_low_quality_record_leaves_its_question_pending(writer):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    (log,) = writer.take(malformed(identity.encode(), topics.LOW_QUALITY))
    assert log["event"] == "kept a dead letter"
    assert writer.records.final == {}
    message = validated()
    assert message.question_id == identity
    writer.take(message)
    assert writer.records.final[identity][0] == "completed"


def test_the_malformed_message_of_a_failed_question_is_kept_as_a_dead_letter(writer):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    writer.take(malformed(identity.encode()))
    [(_, _, question_id)] = writer.records.letters
    assert question_id == identity


def test_a_question_does_not_fail_while_its_dead_letter_cannot_be_stored(writer):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    writer.records.error = Unavailable("no connection")
    with pytest.raises(Unavailable):
        writer.handler(Incoming(malformed(identity.encode()), SOURCE))
    assert writer.records.final == {}


@pytest.mark.parametrize("make", [validated, failed])
def test_a_message_of_a_deleted_question_is_dropped_and_logged(writer, make):
    message = make()
    writer.records.deleted.add(message.question_id)
    (log,) = writer.take(message)
    assert log["event"].startswith("skipped")
    assert log["question_id"] == message.question_id
    assert writer.records.final == {}
    assert writer.answers.kept == [], "the answer of a deleted question must not be cached again"


def test_a_dead_letter_of_a_deleted_question_is_dropped(writer):
    identity = samples.question().question_id
    writer.records.known.add(identity)
    writer.records.deleted.add(identity)
    (log,) = writer.take(malformed(identity.encode()))
    assert (log["event"], log["question_id"]) == ("dropped a dead letter of a deleted question", identity)
    assert writer.records.letters == []
    assert writer.records.final == {}


def test_a_malformed_message_with_a_key_that_is_not_base64_is_logged_without_question_id(writer):
    message = malformed(b"x").model_copy(update={"key_base64": "%%%"})
    assert writer.take(message)[0]["question_id"] is None
    assert base64.b64decode(malformed(b"x").key_base64) == b"x"


@pytest.mark.parametrize("error", [Unavailable("no connection"), InvalidMessage("NUL")])
def test_errors_of_the_database_are_raised_and_nothing_is_cached(writer, error):
    writer.records.error = error
    with pytest.raises(type(error)):
        writer.handler(Incoming(validated(), SOURCE))
    assert writer.answers.kept == []


def test_a_message_of_another_topic_is_rejected(writer):
    with pytest.raises(InvalidMessage):
        writer.handler(Incoming(samples.question(), SOURCE))


def test_an_answer_is_stored_and_cached_with_the_references_and_the_one_that_counted(writer):
    bert = BertScore(0.9, 0.9, 0.9, 0.9, "scorer", 1)
    message = decide(samples.response(references=("Second.",)), bert, Gate(0.48, 1, 0.3), LATER)[0].message
    writer.take(message)
    answer = writer.records.final[message.question_id][1]
    assert (answer.references, answer.reference_index) == (("Second.",), 1)
    assert writer.answers.kept == [answer]
