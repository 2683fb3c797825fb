"""From a failed call to the question asked again at its due time, or given up. Pure but for the log and the jitter."""

import random
from collections.abc import Callable, Sequence

import structlog

from pipeline import topics
from pipeline.consumer import Incoming
from pipeline.delays import Delays
from pipeline.messages import MAX_RETRIES, Failed, FailedCall, Question
from pipeline.producer import Outgoing

log = structlog.get_logger()


class RetryHandler:
    """Applies one strategy."""

    def __init__(self, delays: Delays, chance: Callable[[], float] = random.random) -> None:
        """Makes a handler.

        Args:
            delays: The strategy.
            chance: Draws the share of the jitter, from 0 to 1.
        """
        self._delays = delays
        self._chance = chance

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of an error topic."""
        failed = incoming.message
        assert isinstance(failed, FailedCall)
        about = log.bind(question_id=failed.question_id, attempt=failed.processing_attempts, retry=failed.retry_count)
        if failed.retry_count >= MAX_RETRIES:
            about.warning("gave up", error=failed.error.message)
            given_up = failed.become(Failed, reason="retries_exhausted", source=incoming.source)
            return [Outgoing.of(topics.PERMANENT, given_up)]
        due_at = self._delays.due_at(
            failed.failed_at, failed.retry_count, failed.error.retry_after_seconds, self._chance()
        )
        about.info("scheduled a retry", due_at=due_at.isoformat(timespec="milliseconds"))
        last = (each.model_copy(update={"due_at": due_at}) for each in failed.errors[-1:])
        again = failed.become(Question, retry_count=failed.retry_count + 1, errors=(*failed.errors[:-1], *last))
        return [Outgoing.of(topics.QUESTIONS_PENDING, again, due_at)]
