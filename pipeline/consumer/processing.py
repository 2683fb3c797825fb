"""Processing of one message: it ends with outgoing messages, a retry, or a dead letter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from pipeline import messages, metrics, routing, sizes, topics
from pipeline.clock import time_of_day
from pipeline.consumer.in_flight import Ticket
from pipeline.errors import Unavailable
from pipeline.messages import DeadLetter, InvalidMessage, Message, ProviderError, Question, RecordPosition, Rejection
from pipeline.poison import PoisonLimit
from pipeline.producer import Outgoing

log = structlog.get_logger()

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8)
"""Waits between attempts while a dependency is unavailable; the last one repeats, and is the maximum."""

FAULT_TRIES = 4
"""Attempts of a message whose handler raises an unexpected exception, before it is rejected."""


@dataclass(frozen=True)
class Incoming:
    """A message for a handler.

    Attributes:
        message: The message.
        source: Where it came from.
        now: Returns the time of day; setting the system clock after the message was started does not change it.
    """

    message: Message
    source: RecordPosition
    now: Callable[[], datetime] = field(default=time_of_day, repr=False, compare=False)


Handler = Callable[[Incoming], Sequence[Outgoing]]


class Processor:
    """Calls the handler and turns what it returns or raises into outgoing messages.

    Handler threads call it, each for its own ticket. The polling thread and the producer's thread call it for messages
    that are too large. Its only state is the poison limit, which has its own lock.
    """

    def __init__(self, handler: Handler, poison: PoisonLimit) -> None:
        self._handler = handler
        self._poison = poison

    def process(self, ticket: Ticket) -> Sequence[Outgoing]:
        """Returns the messages that follow from a message.

        Raises:
            Unavailable: The message has to be retried later.
            TooManyUnreadable: More messages were rejected than the poison limit allows.
        """
        topic = ticket.source.topic
        message: Message | None = None
        try:
            message = messages.read(topic, ticket.key, ticket.value)
            with metrics.HANDLING.labels(topic).time():
                outgoing = self._handler(Incoming(message, ticket.source, ticket.now))
            metrics.MESSAGES.labels(topic, "handled").inc()
            self._poison.read(_place(ticket.source))
            return outgoing
        except Unavailable:
            raise
        except InvalidMessage as error:
            return [self.reject(ticket, str(error), "malformed")]
        except Exception as error:
            ticket.faults += 1
            log.exception("failed to handle a message", faults=ticket.faults, **ticket.source.model_dump())
            why = f"{type(error).__name__}: {error}"
            if ticket.faults < FAULT_TRIES:  # the fault may be temporary
                raise Unavailable(why, already_logged=True) from error
            if isinstance(message, Question) and message.best:  # the best answer is always kept
                self._poison.rejected(why, _place(ticket.source))
                return [self._end(ticket, why)]
            return [self.reject(ticket, why, "internal_error")]

    def retry_seconds(self, ticket: Ticket, error: Unavailable) -> float:
        """Returns after how many seconds a message is retried."""
        wait: float = BACKOFF_SECONDS[min(ticket.attempts, len(BACKOFF_SECONDS)) - 1]
        if error.wait_seconds is not None:
            wait = min(error.wait_seconds, BACKOFF_SECONDS[-1])
        metrics.MESSAGES.labels(ticket.source.topic, "retried").inc()
        write = log.debug if error.already_logged else log.warning
        write(
            "scheduled a retry",
            error=str(error),
            wait_seconds=wait,
            attempts=ticket.attempts,
            **ticket.source.model_dump(),
        )
        return wait

    def reject(self, ticket: Ticket, why: str, reason: Rejection) -> Outgoing:
        """Returns the dead letter of a message.

        Raises:
            TooManyUnreadable: More messages of the partition were rejected than the poison limit allows.
        """
        metrics.MESSAGES.labels(ticket.source.topic, "rejected").inc()
        log.warning("rejected a message", reason=reason, error=why, **ticket.source.model_dump())
        self._poison.rejected(why, _place(ticket.source))
        now = datetime.now(UTC)
        rejected = DeadLetter.of(ticket.key, ticket.value, ticket.source, why, now, reason)
        if not sizes.fits(topics.PERMANENT, ticket.key, rejected.to_bytes()):
            why = f"{why} (too large to forward: see its source)"
            rejected = DeadLetter.of(ticket.key, None, ticket.source, why, now, reason)
        return Outgoing(topics.PERMANENT, rejected, ticket.key)

    def fit(self, ticket: Ticket, outgoing: Outgoing) -> Outgoing:
        """Returns a message that fits its topic: unchanged, with a shorter history, or the end of the question."""
        if sizes.fits(outgoing.topic, outgoing.key, outgoing.value):
            return outgoing
        shorter = replace(outgoing, message=sizes.with_short_history(outgoing.message))
        if sizes.fits(shorter.topic, shorter.key, shorter.value):
            log.warning(
                "cut the history of a question to fit its topic",
                outgoing_topic=shorter.topic,
                **ticket.source.model_dump(),
            )
            return shorter
        return self._end(ticket, f"what follows is too large for {outgoing.topic}")

    def _end(self, ticket: Ticket, why: str) -> Outgoing:
        """Returns the final message of a question that cannot continue."""
        question = messages.read(ticket.source.topic, ticket.key, ticket.value)
        if not isinstance(question, Question):
            return self.reject(ticket, why, "internal_error")
        now = datetime.now(UTC)
        error = ProviderError(type="permanent", message=why)
        question = question.model_copy(update={"errors": question.errors_with(error, now)})
        ended = routing.give_up(question, error, "not_retryable", ticket.source, now)
        outgoing = Outgoing(ended.topic, sizes.with_short_history(ended.message), ticket.key)
        if not sizes.fits(outgoing.topic, outgoing.key, outgoing.value):
            return self.reject(ticket, why, "internal_error")
        log.warning("ended a question", error=why, question_id=question.question_id, **ticket.source.model_dump())
        return outgoing


def _place(source: RecordPosition) -> str:
    return f"{source.topic}/{source.partition}"
