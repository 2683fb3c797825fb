"""Messages that were started and are not finished yet."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from pipeline import metrics
from pipeline.clock import Clock
from pipeline.consumer.limits import Limits
from pipeline.consumer.partitions import Partition
from pipeline.consumer.schedule import Schedule
from pipeline.messages import RecordPosition
from pipeline.producer import Outgoing
from pipeline.share import Share


class State(Enum):
    """State of a message in flight."""

    QUEUED = auto()
    """It waits for a free handler."""
    RUNNING = auto()
    """Its handler runs."""
    WAITING = auto()
    """It waits for a retry, or for the due time of messages that follow from it."""
    SENT = auto()
    """It waits until the broker has acknowledged all messages that follow from it."""


@dataclass(eq=False)
class Ticket:
    """A message in flight.

    `InFlight.changed` guards `state`, `started`, `unsent` and `unacknowledged`. Only the handler thread that runs the
    current attempt reads and writes `attempts` and `faults`. The rest does not change.

    Attributes:
        source: Where the message came from.
        key: Its key.
        value: Its bytes.
        partition: The partition, as it was assigned when the message was started.
        now: Returns the time of day; setting the system clock after the message was started does not change it.
        state: Its state.
        started: Monotonic start time of the current attempt, in seconds.
        attempts: Calls of the handler so far.
        faults: Attempts that ended with an unexpected exception.
        unsent: Messages that follow from it and wait for their due time.
        unacknowledged: Messages that follow from it and that the broker has not acknowledged.
    """

    source: RecordPosition
    key: bytes | None
    value: bytes | None
    partition: Partition
    now: Callable[[], datetime]
    state: State = State.QUEUED
    started: float = 0
    attempts: int = 0
    faults: int = 0
    unsent: int = 0
    unacknowledged: int = 0

    @property
    def size(self) -> int:
        """Size of its value in bytes."""
        return len(self.value or b"")


class InFlight:
    """Tracks messages from the first attempt to the last acknowledgement, and schedules their waits.

    All threads call it: the polling thread starts messages and takes due ones, handler threads run attempts, and the
    producer's thread acknowledges. `changed` guards all its state, the tickets and the partitions (`Partition`). It is
    reentrant, and is notified whenever there may be more room, or less to drain.
    """

    def __init__(
        self, limits: Limits, share: Share, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._share = share
        self._clock = clock
        self._monotonic = monotonic
        self.changed = threading.Condition()
        self._tickets: set[Ticket] = set()
        self._bytes = 0
        self._running: set[Ticket] = set()
        self._schedule: Schedule[tuple[Ticket, Outgoing | None]] = Schedule()
        """Messages to send; None: the message of the ticket is retried."""

    def __len__(self) -> int:
        return len(self._tickets)

    def has_room(self) -> bool:
        """Returns whether another message may be started.

        The polling thread needs no lock for it: no other thread adds messages, so room cannot shrink meanwhile.
        """
        limits = self._limits
        most = limits.in_flight - limits.of_group + self._share.of(limits.of_group)
        return len(self._tickets) < most and self._bytes < limits.in_flight_bytes

    def wait_for_room(self, timeout_seconds: float) -> None:
        """Waits until there is room, or until the timeout."""
        with self.changed:
            self.changed.wait_for(self.has_room, timeout_seconds)

    def start(
        self, partition: Partition, source: RecordPosition, key: bytes | None, value: bytes | None
    ) -> Ticket | None:
        """Takes a message in; returns None when it was finished before the partition was assigned to this member."""
        with self.changed:
            if not partition.watermark.start(source.offset):
                return None
            ticket = Ticket(source, key, value, partition, self._clock.running())
            self._tickets.add(ticket)
            self._bytes += ticket.size
            metrics.IN_FLIGHT.set(len(self._tickets))
        return ticket

    def start_attempt(self, ticket: Ticket) -> None:
        """Records that the handler is called."""
        with self.changed:
            ticket.state, ticket.started = State.RUNNING, self._monotonic()
            ticket.attempts += 1
            self._running.add(ticket)

    def end_attempt(self, ticket: Ticket, retry_seconds: float | None) -> None:
        """Records that an attempt ended; schedules another one unless `retry_seconds` is None."""
        with self.changed:
            self._running.discard(ticket)
            if retry_seconds is not None:
                ticket.state = State.WAITING
                self._schedule.add(self._clock.elapsed() + retry_seconds, (ticket, None))
            self.changed.notify_all()

    def expect(self, ticket: Ticket, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Records all messages that follow from a message; returns those to send now and schedules the others."""
        waits = [(each.due_at - ticket.now()).total_seconds() if each.due_at else 0.0 for each in outgoing]
        at_once = [each for each, wait in zip(outgoing, waits, strict=True) if wait <= 0]
        with self.changed:
            ticket.unacknowledged = len(outgoing)
            ticket.unsent = len(outgoing) - len(at_once)
            ticket.state = State.WAITING if ticket.unsent else State.SENT
            for each, wait in zip(outgoing, waits, strict=True):
                if wait > 0:
                    self._schedule.add(self._clock.elapsed() + wait, (ticket, each))
        return at_once

    def take_due(self) -> list[tuple[Ticket, Outgoing | None]]:
        """Returns the messages to send now; None in place of a message: retry the message of the ticket."""
        with self.changed:
            due = [each for each in self._schedule.pop_due(self._clock.elapsed()) if not _is_closing(each[0])]
            for ticket, outgoing in due:
                if outgoing:
                    ticket.unsent -= 1
                if not ticket.unsent:
                    ticket.state = State.SENT if outgoing else State.QUEUED
        return due

    def acknowledge(self, ticket: Ticket) -> None:
        """Records an acknowledgement of one of the messages that follow; the last one finishes the ticket."""
        with self.changed:
            ticket.unacknowledged -= 1
            done = not ticket.unacknowledged
        if done:
            self.finish(ticket)

    def finish(self, ticket: Ticket) -> None:
        """Marks a message as finished, unless its partition is closed: then another member handles it."""
        with self.changed:
            if ticket in self._tickets:
                self._tickets.discard(ticket)
                self._bytes -= ticket.size
            metrics.IN_FLIGHT.set(len(self._tickets))
            self.changed.notify_all()
            if ticket.partition.closed:
                return
            ticket.partition.watermark.finish(ticket.source.offset)

    def longest_attempt_seconds(self) -> float:
        """Returns the age of the oldest running attempt in seconds; 0 when none runs."""
        with self.changed:
            oldest = min((ticket.started for ticket in self._running), default=self._monotonic())
        return self._monotonic() - oldest

    def drain(self, partitions: Collection[Partition], seconds: float, while_waiting: Callable[[], None]) -> bool:
        """Waits until no message of `partitions` is `active`.

        Args:
            partitions: Closing partitions, of which no further message is started.
            seconds: Maximum wait.
            while_waiting: Called about once a second.

        Returns:
            Whether everything has finished.
        """
        until = self._monotonic() + seconds
        with self.changed:
            while not self.changed.wait_for(
                lambda: not self.active(partitions), min(1.0, max(0.0, until - self._monotonic()))
            ):
                if self._monotonic() >= until:
                    return False
                while_waiting()
        return True

    def active(self, partitions: Collection[Partition]) -> list[Ticket]:
        """Returns messages that will finish soon.

        Those that wait for a retry or a due time are left to the next member.
        """
        return [
            ticket
            for ticket in self._tickets
            if ticket.partition in partitions and ticket.state in (State.RUNNING, State.SENT)
        ]

    def close(self, partitions: Collection[Partition]) -> None:
        """Forgets the messages of partitions that another member may have now."""
        with self.changed:
            for each in partitions:
                each.closing.set()
                each.closed = True
            self._tickets = {ticket for ticket in self._tickets if not ticket.partition.closed}
            self._bytes = sum(ticket.size for ticket in self._tickets)
            self.changed.notify_all()


def _is_closing(ticket: Ticket) -> bool:
    return ticket.partition.closing.is_set()
