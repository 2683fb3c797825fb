"""Use cases of questions. Known answers come from Redis, then PostgreSQL. Other questions are recorded before they are
published, so that no question is lost while Kafka is unavailable."""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import confluent_kafka
import structlog

from pipeline import metrics, topics
from pipeline.cache import Answer
from pipeline.messages import Question
from pipeline.producer import Delivered, Outgoing
from pipeline.provider_status import ProviderStatus
from pipeline.question import question_id
from storage_service.events import QuestionWaiter
from storage_service.schemas import (
    Ask,
    BySource,
    Completed,
    Failed,
    FailedFilter,
    FailedPage,
    Pending,
    Reply,
    State,
    Statistics,
    Stored,
)
from storage_service.store import Recorded, Retried
from storage_service.write_behind import WriteBehind

log = structlog.get_logger()

ACKNOWLEDGED_SECONDS = 2.0
"""Maximum wait of a reply for the broker; it does not wait if the last question was not acknowledged in time. Later
acknowledgements are recorded as well. Without one, storage-writer publishes the question again."""


class Records(Protocol):
    """The questions in the database; each method raises `Unavailable` when it is unavailable."""

    def record(self, question: Question, outbox_limit: int | None, topic: str | None, /) -> Recorded:
        """Records that a question was asked, with its topic if it has none yet.

        Raises `Unavailable` for a new question while `outbox_limit` questions are unpublished; None: no limit.
        """

    def retry(self, question_id: str, asked_at: datetime, outbox_limit: int | None, /) -> Retried | None:
        """Restarts a failed question; returns None for an unknown question."""

    def regenerate(
        self, question_id: str, references: Sequence[str], asked_at: datetime, outbox_limit: int | None, /
    ) -> Retried | None:
        """Restarts a final question, with other references if some are given; None for an unknown question."""

    def delete(self, question_id: str, /) -> bool:
        """Deletes a question and all its data; returns whether there were any."""

    def failed(self, wanted: FailedFilter, /) -> FailedPage:
        """Returns a page of the failed questions."""

    def find(self, question_id: str, /) -> State | None:
        """Returns the state of a question; None for an unknown question."""

    def statistics(self) -> Stored:
        """Returns statistics of the database."""


class Answers(Protocol):
    """The answer cache; empty when it is unavailable."""

    def get(self, question_id: str, /) -> Answer | None:
        """Returns an answer if it is cached."""

    def put(self, answer: Answer, /) -> None:
        """Stores an answer."""

    def invalidate(self, *question_ids: str) -> None:
        """Removes answers; raises `Unavailable` when the cache is unavailable."""

    def forget(self, question_id: str, /) -> None:
        """Removes an answer and the cached calls of its question; raises `Unavailable` when Redis is unavailable."""


class Publisher(Protocol):
    """Sends messages to Kafka."""

    def send(self, outgoing: Outgoing, delivered: Delivered, /) -> None:
        """Sends a message; `delivered` gets None once it is acknowledged, or the error."""


class Questions:
    """The use cases."""

    def __init__(
        self,
        records: Records,
        answers: Answers,
        publisher: Publisher,
        write_behind: WriteBehind,
        watch: QuestionWaiter,
        outbox_limit: int,
    ) -> None:
        self._records = records
        self._answers = answers
        self._publisher = publisher
        self._write_behind = write_behind
        self._watch = watch
        self._outbox_limit = outbox_limit
        self._broker_unavailable = False
        """Whether the last question was not acknowledged in time. Threads set it without a lock, because either value
        leads to a correct result."""

    def ask(self, asked: Ask, wait_seconds: float = 0) -> Reply:
        """Answers a question if its answer is known; otherwise publishes it.

        A question that is already pending is not published again, and keeps its first references. A failed question is
        restarted.

        Args:
            asked: The question.
            wait_seconds: Maximum wait for the answer to a pending question.

        Raises:
            Unavailable: The answer is not cached and PostgreSQL is unavailable; or the question is new, Kafka is
                unavailable and the outbox is full. Nothing was recorded.
        """
        reply = self._ask(asked, time.monotonic() + wait_seconds)
        metrics.ANSWERS.labels(reply.source if isinstance(reply, Completed) else reply.status).inc()
        return reply

    def _ask(self, asked: Ask, until: float) -> Reply:
        question = _question(asked)
        cached = self._answers.get(question.question_id)
        if cached:
            self._write_behind.asked(question.question_id)
            return Completed(source="cache", question_id=question.question_id, result=cached)
        recorded = self._records.record(question, self._limit(), asked.topic)
        if recorded.answer:
            self._answers.put(recorded.answer)
            return Completed(source="database", question_id=question.question_id, result=recorded.answer)
        if recorded.publish:
            self._publish(recorded.publish)
        pending = State(
            question_id=question.question_id,
            status="pending",
            question_text=question.question_text,
            asked_at=(recorded.publish or question).asked_at,
        )
        return _reply(self._watch.wait(pending, until - time.monotonic()))

    def status(self, question_id: str, wait_seconds: float = 0) -> State | None:
        """Returns the state of a question; None for an unknown question.

        Args:
            question_id: Id of the question.
            wait_seconds: Maximum wait while it is pending.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        known = self._records.find(question_id)
        return known and self._watch.wait(known, wait_seconds)

    def retry(self, question_id: str) -> Pending | State | None:
        """Restarts a failed question, as asking it again does.

        Returns:
            `Pending` if it had failed; the unchanged state of a pending or completed question; None for an unknown
            question.

        Raises:
            Unavailable: PostgreSQL is unavailable, or Kafka is and the outbox is full; nothing has changed.
        """
        retried = self._records.retry(question_id, _now(), self._limit())
        if retried is None:
            return None
        if retried.publish:
            self._publish(retried.publish)
            return Pending(question_id=question_id)
        return retried.state

    def regenerate(self, question_id: str, references: Sequence[str] = ()) -> Pending | State | None:
        """Restarts a completed or failed question; its answer is removed from the cache.

        Args:
            question_id: Id of the question.
            references: New references; empty: it keeps its references.

        Returns:
            `Pending` if it was restarted; the unchanged state of a pending question; None for an unknown question.

        Raises:
            Unavailable: PostgreSQL or Redis is unavailable, or Kafka is and the outbox is full; nothing has changed.
        """
        self._answers.invalidate(question_id)
        restarted = self._records.regenerate(question_id, references, _now(), self._limit())
        if restarted is None:
            return None
        if restarted.publish:
            log.info("restarted a question", question_id=question_id, new_reference=bool(references))
            self._publish(restarted.publish)
            return Pending(question_id=question_id)
        return restarted.state

    def delete(self, question_id: str) -> bool:
        """Deletes a question in any state, with its answer, history, failure, dead letters and data in Redis.

        Its messages in the topics no longer have an effect. When it is asked again, it is a new question.

        Returns:
            Whether there were any data of the question.

        Raises:
            Unavailable: PostgreSQL or Redis is unavailable; the question is still there.
        """
        self._answers.forget(question_id)
        deleted = self._records.delete(question_id)
        if deleted:
            log.info("deleted a question", question_id=question_id)
        return deleted

    def failed(self, wanted: FailedFilter) -> FailedPage:
        """Returns a page of the failed questions.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return self._records.failed(wanted)

    def events(self, known: State) -> Iterator[str]:
        """Yields server-sent events until the question is final."""
        return self._watch.stream(known)

    def statistics(self, providers: Sequence[ProviderStatus]) -> Statistics:
        """Returns statistics of the service.

        Args:
            providers: State of the providers, to be included.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        replies = {
            sample.labels["source"]: int(sample.value)
            for metric in metrics.ANSWERS.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
        return Statistics(
            **dict(self._records.statistics()),
            replies=BySource.model_validate(replies),
            providers=list(providers),
        )

    def _limit(self) -> int | None:
        """Returns the limit of the outbox while Kafka may be unavailable; otherwise None, which saves a query."""
        return self._outbox_limit if self._broker_unavailable else None

    def _publish(self, question: Question) -> None:
        acknowledged = threading.Event()

        def delivered(error: confluent_kafka.KafkaError | None) -> None:
            self._broker_unavailable = error is not None
            if error is None:
                self._write_behind.published(question.question_id, question.asked_at, datetime.now(UTC))
            else:
                log.warning("left publication to storage-writer", question_id=question.question_id, error=error.str())
            acknowledged.set()

        self._publisher.send(Outgoing.of(topics.QUESTIONS_PENDING, question), delivered)
        if self._broker_unavailable:
            log.debug("did not wait for the broker", question_id=question.question_id)
        elif acknowledged.wait(ACKNOWLEDGED_SECONDS):
            log.debug("published a question", question_id=question.question_id)
        else:
            self._broker_unavailable = True
            log.warning("replied before the broker acknowledged", question_id=question.question_id)


def _now() -> datetime:
    """Returns the time with a precision of milliseconds, as in messages, so that the two can be compared."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _question(asked: Ask) -> Question:
    references = asked.all_references
    return Question(
        question_id=question_id(asked.question_text, asked.question_context),
        question_text=asked.question_text,
        question_context=asked.question_context,
        original_answer=references[0] if references else None,
        references=references[1:],
        asked_at=_now(),
    )


def _reply(state: State) -> Reply:
    if state.result:
        return Completed(source="database", question_id=state.question_id, result=state.result)
    if state.error:
        return Failed(question_id=state.question_id, error=state.error)
    return Pending(question_id=state.question_id)
