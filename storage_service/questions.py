"""What storage-service does: asks, looks up, counts. Known answers come from Redis, then PostgreSQL; the rest is
recorded first and published then, so that no question is lost while Kafka is away."""

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
from pipeline.provider import ProviderStatus
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
"""How long a reply waits for the broker, unless it left the last question waiting. Later acknowledgements count as
well; without one storage-writer publishes the question again."""


class Records(Protocol):
    """The questions in the database; each method raises `Unavailable` when it is away."""

    def record(self, question: Question, outbox_limit: int | None, topic: str | None, /) -> Recorded:
        """Records that a question was asked, with its topic if that is its first, and tells what becomes of it.

        A new one is refused with `Unavailable` while `outbox_limit` questions are unpublished; None: no limit.
        """

    def retry(self, question_id: str, asked_at: datetime, outbox_limit: int | None, /) -> Retried | None:
        """Starts a failed question anew and tells what became of it; None for an unknown one."""

    def regenerate(
        self, question_id: str, original_answer: str | None, asked_at: datetime, outbox_limit: int | None, /
    ) -> Retried | None:
        """Starts a final question anew, with another reference if one is given; None for an unknown one."""

    def delete(self, question_id: str, /) -> bool:
        """Deletes a question and all that hangs on it; returns whether there was anything of it."""

    def failed(self, wanted: FailedFilter, /) -> FailedPage:
        """Returns a page of the failed questions."""

    def find(self, question_id: str, /) -> State | None:
        """Returns how a question stands, None for an unknown one."""

    def statistics(self) -> Stored:
        """Returns what the database knows in figures."""


class Answers(Protocol):
    """The answer cache; empty when it is away."""

    def get(self, question_id: str, /) -> Answer | None:
        """Returns an answer if it is there."""

    def put(self, answer: Answer, /) -> None:
        """Keeps an answer."""

    def invalidate(self, *question_ids: str) -> None:
        """Takes answers out; raises `Unavailable` when it is away."""

    def forget(self, question_id: str, /) -> None:
        """Takes out an answer and what is remembered of the calls for it; raises `Unavailable` when it is away."""


class Publisher(Protocol):
    """The way to Kafka."""

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
        """The last question was not acknowledged in time. Threads set and clear it without a lock: either value only
        chooses between two ways that are both right."""

    def ask(self, asked: Ask, wait_seconds: float = 0) -> Reply:
        """Answers a question if its answer is known, sends it on its way otherwise.

        The same question asked while it is pending joins the one in flight: its first reference stays. One that
        failed starts anew.

        Args:
            asked: The question.
            wait_seconds: How long to hold back the reply to a pending question.

        Raises:
            Unavailable: It is not in the cache and PostgreSQL is away; or it is new, Kafka is away and the outbox is
                full. Nothing was recorded.
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
        """Returns how a question stands, None for an unknown one.

        Args:
            question_id: Which.
            wait_seconds: How long to hold back the reply while it is pending.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        known = self._records.find(question_id)
        return known and self._watch.wait(known, wait_seconds)

    def retry(self, question_id: str) -> Pending | State | None:
        """Starts a failed question anew, as asking it again does.

        Returns:
            `Pending` if it had failed; how it stands if it is pending or completed, which it stays; None for an
            unknown one.

        Raises:
            Unavailable: PostgreSQL is away, or Kafka is and the outbox is full; nothing has changed.
        """
        retried = self._records.retry(question_id, _now(), self._limit())
        if retried is None:
            return None
        if retried.publish:
            self._publish(retried.publish)
            return Pending(question_id=question_id)
        return retried.state

    def regenerate(self, question_id: str, original_answer: str | None = None) -> Pending | State | None:
        """Starts a completed or failed question anew; its answer leaves the cache.

        Args:
            question_id: Which.
            original_answer: Takes the place of its reference; None: it keeps the one that it has.

        Returns:
            `Pending` if it was started; how it stands if it is pending, which it stays; None for an unknown one.

        Raises:
            Unavailable: PostgreSQL or Redis is away, or Kafka is and the outbox is full; nothing has changed.
        """
        self._answers.invalidate(question_id)
        restarted = self._records.regenerate(question_id, original_answer, _now(), self._limit())
        if restarted is None:
            return None
        if restarted.publish:
            log.info("started a question anew", question_id=question_id, new_reference=bool(original_answer))
            self._publish(restarted.publish)
            return Pending(question_id=question_id)
        return restarted.state

    def delete(self, question_id: str) -> bool:
        """Deletes a question, whatever its state, with its answer, history, failure, dead letters and what Redis has.

        Messages of it that are on their way change nothing any more. Asked again, it is a new question.

        Returns:
            Whether there was anything of it.

        Raises:
            Unavailable: PostgreSQL or Redis is away; the question is still there.
        """
        self._answers.forget(question_id)
        deleted = self._records.delete(question_id)
        if deleted:
            log.info("deleted a question", question_id=question_id)
        return deleted

    def failed(self, wanted: FailedFilter) -> FailedPage:
        """Returns a page of the failed questions.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        return self._records.failed(wanted)

    def events(self, known: State) -> Iterator[str]:
        """Yields server-sent events until the question is final."""
        return self._watch.stream(known)

    def statistics(self, providers: Sequence[ProviderStatus]) -> Statistics:
        """Returns the service in figures.

        Args:
            providers: How they stand; it is told among the figures.

        Raises:
            Unavailable: PostgreSQL is away.
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
        """Returns the limit of the outbox while it may fill: looking at it costs nothing otherwise."""
        return self._outbox_limit if self._broker_unavailable else None

    def _publish(self, question: Question) -> None:
        acknowledged = threading.Event()

        def delivered(error: confluent_kafka.KafkaError | None) -> None:
            self._broker_unavailable = error is not None
            if error is None:
                self._write_behind.published(question.question_id, question.asked_at, datetime.now(UTC))
            else:
                log.warning("left a question to storage-writer", question_id=question.question_id, error=error.str())
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
    """Returns the time in milliseconds, as messages carry it: so does the table, for the two are compared."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _question(asked: Ask) -> Question:
    return Question(
        question_id=question_id(asked.question_text, asked.question_context),
        question_text=asked.question_text,
        question_context=asked.question_context,
        original_answer=asked.original_answer,
        asked_at=_now(),
    )


def _reply(state: State) -> Reply:
    if state.result:
        return Completed(source="database", question_id=state.question_id, result=state.result)
    if state.error:
        return Failed(question_id=state.question_id, error=state.error)
    return Pending(question_id=state.question_id)
