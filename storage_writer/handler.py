"""Writes the outcome of messages to PostgreSQL, and answers to the cache.

- Validated: the question is `completed`. One row in `responses`, one in `attempts` for each scored generation, and one
  in `call_errors` for the failed calls of each attempt and retry.
- Low quality: the question stays pending. The same history, and its best answer so far.
- Failed: the question is `failed`. One row in `failed_questions`, and the same history.
- DeadLetter, internal error: one row in `dead_letters`. If its key is the id of a pending question, that question is
  `failed` with the same reason, unless the message is from `low-quality-responses`: such a question continues.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import structlog
from pydantic import TypeAdapter

from pipeline import topics
from pipeline.cache import Answer
from pipeline.consumer import Incoming
from pipeline.messages import (
    DeadLetter,
    FailedQuestion,
    InvalidMessage,
    Judge,
    LowQuality,
    Question,
    QuestionId,
    Reason,
    RecordPosition,
    Validated,
)
from pipeline.producer import Outgoing
from storage_writer.history import best_of

log = structlog.get_logger()

SCORE_DIGITS = 6
"""As in the table, so that answers from the cache and from the database are equal."""

_WORKING = {topic.name for topic in topics.WORKING}

_QUESTION_ID: TypeAdapter[str] = TypeAdapter(QuestionId)


class Records(Protocol):
    """The questions in the database."""

    def note(self, question: Question, /) -> bool:
        """Writes the history and the best answer so far of a pending question; returns whether it was pending."""

    def complete(self, question: Question, answer: Answer, /) -> bool:
        """Writes the answer of a pending question; returns whether it was pending."""

    def fail(self, question: Question, reason: Reason, last_error: str, failed_at: datetime, /) -> bool:
        """Marks a pending question as failed; returns whether it was pending."""

    def fail_known(self, question_id: str, reason: Reason, last_error: str, failed_at: datetime, /) -> bool:
        """Marks a pending question as failed, by its id; returns whether it was known and pending."""

    def keep_dead_letter(self, place: RecordPosition, letter: DeadLetter, question_id: str | None, /) -> bool:
        """Stores a rejected message; returns False when its question was deleted."""


class Answers(Protocol):
    """The answer cache."""

    def put(self, answer: Answer, /) -> None:
        """Stores an answer; does nothing while the cache is unavailable."""


class FinalHandler:
    """Handles `validated-responses`, `low-quality-responses` and `llm-responses-error-permanent`."""

    def __init__(self, records: Records, answers: Answers) -> None:
        self._records = records
        self._answers = answers

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Writes the content of a message; returns no outgoing messages.

        Raises:
            Unavailable: PostgreSQL is unavailable.
            InvalidMessage: PostgreSQL refuses the data, or the message has another type.
        """
        match incoming.message:
            case Validated() as validated:
                self._keep(validated)
            case LowQuality() as low:
                if self._records.note(low.model_copy(update={"best": best_of(low)})):
                    log.debug("recorded an attempt", question_id=low.question_id, attempt=low.processing_attempts)
            case FailedQuestion() as failed:
                self._fail(failed)
            case DeadLetter() as malformed:
                self._keep_dead_letter(incoming.source, malformed)
            case other:
                raise InvalidMessage(f"unexpected here: {type(other).__name__}")
        return ()

    def _keep(self, validated: Validated) -> None:
        answer = _answer(validated)
        if not self._records.complete(validated, answer):
            log.info("skipped an answer of a final, newer or deleted question", question_id=validated.question_id)
            return
        self._answers.put(answer)
        log.info(
            "kept an answer",
            question_id=validated.question_id,
            quality=answer.quality,
            score=answer.bert_score,
            attempts=answer.processing_attempts,
            ms=answer.total_processing_time_ms,
        )

    def _fail(self, failed: FailedQuestion) -> None:
        error = failed.error
        status = f" {error.status_code}" if error.status_code else ""
        if not self._records.fail(failed, failed.reason, f"{error.type}{status}: {error.message}", failed.failed_at):
            log.info("skipped a failure of a final, newer or deleted question", question_id=failed.question_id)
            return
        elapsed = failed.failed_at - failed.asked_at
        log.info(
            "failed a question",
            question_id=failed.question_id,
            reason=failed.reason,
            quality=None,
            score=failed.best.bert_score if failed.best else None,
            attempts=failed.processing_attempts,
            retries=failed.retry_count,
            ms=round(elapsed.total_seconds() * 1000),
        )

    def _keep_dead_letter(self, place: RecordPosition, malformed: DeadLetter) -> None:
        """Stores a rejected message, and marks its question as failed if its key is a question id.

        A rejected record of `low-quality-responses` does not fail its question, which continues in another topic.
        """
        question_id = _key(malformed)
        if not self._records.keep_dead_letter(place, malformed, question_id):
            log.info("dropped a dead letter of a deleted question", question_id=question_id)
            return
        failed = (
            question_id is not None
            and malformed.source.topic in _WORKING
            and self._records.fail_known(question_id, malformed.reason, malformed.error, malformed.failed_at)
        )
        log.info(
            "failed a question" if failed else "kept a dead letter",
            question_id=question_id,
            reason=malformed.reason,
            error=malformed.error,
            origin=malformed.source.model_dump(),
        )


def _answer(validated: Validated) -> Answer:
    def rounded(score: float | None) -> float | None:
        return None if score is None else round(score, SCORE_DIGITS)

    judgement = validated.judgement
    return Answer(
        question_id=validated.question_id,
        question_text=validated.question_text,
        original_answer=validated.original_answer,
        references=validated.references,
        llm_response=validated.llm_response,
        bert_score=rounded(validated.bert_score),
        bert_precision=rounded(validated.bert_precision),
        bert_recall=rounded(validated.bert_recall),
        bert_f1=rounded(validated.bert_f1),
        reference_index=validated.reference_index,
        quality=validated.quality,
        unscored_reason=validated.unscored_reason,
        warnings=list(validated.warnings),
        judge=judgement
        and Judge(probability=rounded(judgement.probability), problem=judgement.problem, model=judgement.model),
        rejected_by=validated.rejected_by,
        scorer=validated.scorer,
        model=validated.model,
        processing_attempts=validated.processing_attempts,
        total_processing_time_ms=validated.total_processing_time_ms,
        # Not the time of writing, so that a repeated message has the same result.
        created_at=validated.validated_at,
    )


def _key(malformed: DeadLetter) -> str | None:
    """Returns the question id in the key of an unreadable message; None if the key is not a question id."""
    try:
        return _QUESTION_ID.validate_python(base64.b64decode(malformed.key_base64 or "").decode())
    except ValueError:  # not base64, not UTF-8, not an id
        return None
