"""Handler of failed calls: the question is asked again at its due time, or given up. Pure except log and jitter."""

import random
from collections.abc import Callable, Sequence

import structlog

from pipeline import routing, topics
from pipeline.consumer import Incoming
from pipeline.delays import Delays
from pipeline.messages import MAX_RETRIES, Question, RetryableFailure
from pipeline.producer import Outgoing

log = structlog.get_logger()


class RetryHandler:
    """Applies one strategy."""

    def __init__(
        self, delays: Delays, max_retries: int = MAX_RETRIES, chance: Callable[[], float] = random.random
    ) -> None:
        """Makes a handler.

        Args:
            delays: The strategy.
            max_retries: Retries after which a question is given up; only failures that count as a retry are counted.
            chance: Returns a random number from 0 to 1, the share of the jitter.
        """
        self._delays = delays
        self._max_retries = max_retries
        self._chance = chance

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of an error topic."""
        failed = incoming.message
        assert isinstance(failed, RetryableFailure)
        about = log.bind(question_id=failed.question_id, attempt=failed.processing_attempts, retry=failed.retry_count)
        charged = failed.error.counts_as_retry
        if charged and failed.retry_count >= self._max_retries:
            # The time of the failure, not the current time, so that a repeated message has the same result.
            ended = routing.give_up(failed, failed.error, "retries_exhausted", incoming.source, failed.failed_at)
            about.warning("gave up", error=failed.error.message, kept_attempt=failed.best and failed.best.attempt)
            return [Outgoing.of(ended.topic, ended.message)]
        due_at = self._delays.due_at(failed, self._chance())
        about.info("scheduled a retry", due_at=due_at.isoformat(timespec="milliseconds"), counts=charged)
        last = (each.model_copy(update={"due_at": due_at}) for each in failed.errors[-1:])
        again = failed.convert_to(
            Question, retry_count=failed.retry_count + charged, errors=(*failed.errors[:-1], *last)
        )
        return [Outgoing.of(topics.QUESTIONS_PENDING, again, due_at)]
