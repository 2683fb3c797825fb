"""The one consumer loop of all services.

A handler is a function from a message to outgoing messages. Handlers run in a bounded pool while the loop polls. The
offset of a message is committed after every message that follows from it has been acknowledged by the broker, together
with what is finished out of order (`LowWatermark`): a crash repeats what was in flight and never loses a message.

There is one way to reject a message: raise `Unreadable`; the loop forwards its bytes to the permanent topic and goes
on. `Unavailable` makes the loop set the message aside and try it again until the neighbour is back; nothing is burnt,
and no handler is held up meanwhile. Any other exception is a fault of the service: the message is tried again a few
times, then rejected with the reason `internal_error`, or its question ends with the best answer that it has.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto

import confluent_kafka
import structlog
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from pipeline import messages, metrics, routing, sizes, topics
from pipeline.clock import Clock, time_of_day
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat, Standstill
from pipeline.kafka import client_config
from pipeline.messages import CallError, Malformed, Message, Question, Rejection, Source, Unreadable
from pipeline.offsets import LowWatermark, Progress
from pipeline.poison import PoisonLimit, TooManyUnreadable
from pipeline.producer import Outgoing, Producer
from pipeline.schedule import Schedule
from pipeline.settings import KafkaSettings
from pipeline.share import Share

log = structlog.get_logger()

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8)
"""Waits between tries while a neighbour is away; the last one repeats, and none is longer."""

FAULT_TRIES = 4
"""Tries of a message whose handler raises something unexpected, before it is rejected."""

COMMIT_INTERVAL_SECONDS = 1.0
COMMITTED_TIMEOUT_SECONDS = 5.0
LOOK_SECONDS = 5.0
"""Between two looks for partitions that the client does not read although it should."""
LAST_COMMIT_SECONDS = 3.0
"""For which a commit is tried again before partitions go."""

READ_AHEAD, READ_AHEAD_BYTES = 256, 1_048_576
"""Of a partition, at hand before they are begun; fetching of one that has so many messages or bytes is paused."""

READ_AT_ONCE = 32
"""Records at most before the loop looks after those that it has."""

FETCH_BYTES = 65_536
"""Of a partition at a time; a larger message comes alone. What was fetched of a paused partition is fetched again."""


@dataclass(frozen=True)
class Incoming:
    """A message that was read.

    Attributes:
        message: The message.
        source: Where it stood.
        now: The time of day, as it goes on since the message was read; setting the clock does not change it.
    """

    message: Message
    source: Source
    now: Callable[[], datetime] = field(default=time_of_day, repr=False, compare=False)


Handler = Callable[[Incoming], Sequence[Outgoing]]


@dataclass(frozen=True)
class Limits:
    """How much a loop takes on.

    Attributes:
        concurrency: Handlers at work at the same time.
        in_flight: Messages read and not yet done, those that wait for their due time included.
        of_group: Of these two, how many are those of the whole group: this member has its share of them.
        in_flight_bytes: The same in bytes of their values.
        stalled_seconds: A handler that runs longer ends the heartbeat, and so the process (`pipeline.health`).
        drain_seconds: Time for what is in flight when partitions are revoked or the service stops.
    """

    concurrency: int = 1
    in_flight: int = 64
    of_group: int = 0
    in_flight_bytes: int = 32 * 1024 * 1024
    stalled_seconds: float = 20
    drain_seconds: float = 8


class _State(Enum):
    QUEUED = auto()
    """Read, and waiting for a handler."""
    AT_WORK = auto()
    """In a handler."""
    WAITING = auto()
    """Set aside for another try; or some of what follows from it waits for its due time."""
    SENT = auto()
    """All that follows from it is on its way to the broker."""


_Key = tuple[str, int]
"""Topic and partition."""


@dataclass(eq=False)
class _Partition:
    """A partition while it is assigned to this member."""

    watermark: LowWatermark = field(default_factory=LowWatermark)
    closing: threading.Event = field(default_factory=threading.Event)
    """Nothing new is begun."""
    closed: bool = False
    """It belongs to another member; what still finishes here does not count."""
    committed: Progress | None = None
    ahead: deque[confluent_kafka.Message] = field(default_factory=deque)
    """Read and not begun."""
    ahead_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether enough is at hand."""
        return len(self.ahead) >= READ_AHEAD or self.ahead_bytes >= READ_AHEAD_BYTES

    def put(self, record: confluent_kafka.Message) -> None:
        """Keeps a record at hand."""
        self.ahead.append(record)
        self.ahead_bytes += len(record)

    def take(self) -> confluent_kafka.Message:
        """Returns the record at hand that is to be begun next."""
        record = self.ahead.popleft()
        self.ahead_bytes -= len(record)
        return record


@dataclass(eq=False)
class _Ticket:
    """A message in flight."""

    source: Source
    key: bytes | None
    value: bytes | None
    partition: _Partition
    now: Callable[[], datetime]
    """The time of day, as it goes on since the message was read."""
    state: _State = _State.QUEUED
    since: float = 0
    """Monotonic time of the current try, in seconds."""
    tries: int = 0
    faults: int = 0
    """Tries that ended with an unexpected exception."""
    unsent: int = 0
    unacknowledged: int = 0

    @property
    def size(self) -> int:
        """Bytes of its value."""
        return len(self.value or b"")


class Consumer:
    """Reads topics as a member of a group and hands each message to a handler."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        subscribed: Sequence[str],
        handler: Handler,
        producer: Producer,
        limits: Limits = Limits(),
        heartbeat: Heartbeat | None = None,
        share: Share | None = None,
        clock: Clock = Clock(),
    ) -> None:
        self._share = share or Share()
        self._clock = clock
        self._handler = handler
        self._subscribed = list(subscribed)
        self._producer = producer
        self._limits = limits
        self._poison = PoisonLimit(settings.poison_limit)
        self._heartbeat = heartbeat or Heartbeat()
        self._pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="handler")
        # These two belong to the thread that polls, which also makes the callbacks.
        self._partitions: dict[_Key, _Partition] = {}
        """Those that are served next come first."""
        self._topic_partitions = 1
        """Of the first topic."""
        self._paused: set[_Key] = set()
        """librdkafka keeps a partition paused that goes and comes back."""
        self._standstill: Standstill[_Key] = Standstill()
        self._unread = False
        """Whether a partition stands still."""
        self._look_at = 0.0
        self._ends: dict[_Key, Future[ListOffsetsResultInfo]] = {}
        """Of partitions that ought to be read, as the broker was asked at the last look."""
        # On connections of its own: on the consumer's it would wait for the fetch that is under way, 0.4 s. What is
        # wrong with the broker the consumer tells.
        self._admin = AdminClient(client_config(settings, group) | {"error_cb": lambda _: None})
        self._changed = threading.Condition()  # guards all that follows
        self._in_flight: set[_Ticket] = set()
        self._in_flight_bytes = 0
        self._at_work: set[_Ticket] = set()
        self._waiting: Schedule[tuple[_Ticket, Outgoing | None]] = Schedule()  # None: try the message again
        self._commit_at = 0.0
        self._failure: BaseException | None = None
        self._client = confluent_kafka.Consumer(
            client_config(settings, group)
            | {
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "on_commit": self._committed,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "fetch.message.max.bytes": FETCH_BYTES,
                "queued.max.messages.kbytes": 16_384,
                "topic.metadata.refresh.interval.ms": 10_000,
                # A member that drains does not poll; beyond this time the group would take it for dead.
                "max.poll.interval.ms": max(300_000, round(limits.drain_seconds + 60) * 1000),
            }
        )

    def run(self, stop: threading.Event) -> None:
        """Reads until `stop` is set, then finishes what is in flight, commits and leaves the group.

        Raises:
            TooManyUnreadable: More messages of a partition had to be rejected than `POISON_LIMIT` allows.
            KafkaException: The client met an error from which it cannot recover.
        """
        self._client.subscribe(self._subscribed, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        log.info("started to consume", topics=self._subscribed)
        try:
            while not stop.is_set():
                if self._failure:
                    raise self._failure
                self._resume_due()
                self._commit_finished()
                self._look_for_standstill()
                self._beat()
                self._take()
                self._pause_and_resume()
                self._read()
        finally:
            self._stop()

    def _has_room(self) -> bool:
        limits = self._limits
        most = limits.in_flight - limits.of_group + self._share.of(limits.of_group)
        return len(self._in_flight) < most and self._in_flight_bytes < limits.in_flight_bytes

    def _read(self) -> None:
        """Waits a moment for a record, and takes those that have come with it."""
        patience = self._patience()
        for _ in range(READ_AT_ONCE):
            record = self._client.poll(patience)
            if record is None:
                return
            error = record.error()
            if error is None:
                self._partitions[_key(record)].put(record)
            elif error.fatal():
                raise confluent_kafka.KafkaException(error)
            else:
                log.warning("met a Kafka error", error=error.str())
            patience = 0

    def _patience(self) -> float:
        """Returns for how long the next message may be waited for, in seconds; what is at hand waits for room first."""
        if not any(each.ahead for each in self._partitions.values()):
            return 0.05
        with self._changed:
            self._changed.wait_for(self._has_room, timeout=0.05)
        return 0

    def _pause_and_resume(self) -> None:
        """Pauses partitions of which enough is at hand, and resumes those of which nothing is.

        Each by itself: of several with a backlog librdkafka would give the first in its list again and again, for
        pausing all throws away what it has fetched of the others (librdkafka#2177).
        """
        full = {key for key, each in self._partitions.items() if each.full} - self._paused
        empty = {key for key in self._paused if key in self._partitions and not self._partitions[key].ahead}
        if full:
            self._client.pause([confluent_kafka.TopicPartition(*key) for key in full])
        if empty:
            self._client.resume([confluent_kafka.TopicPartition(*key) for key in empty])
        self._paused = (self._paused | full) - empty

    def _look_for_standstill(self) -> None:
        """Compares positions with the ends that the broker was asked for at the look before, and asks anew.

        A client can look well and yet not read one of its partitions. Nothing but a new one helps then: the heartbeat
        ends.
        """
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        wanting = {key for key, each in self._partitions.items() if key not in self._paused and not each.ahead}
        if not self._has_room():
            wanting.clear()
        ends = {
            key: future.result().offset
            for key, future in self._ends.items()
            if key in wanting and future.done() and not future.exception()
        }
        positions = self._client.position([confluent_kafka.TopicPartition(*key) for key in ends])
        found = {(each.topic, each.partition): each.offset for each in positions}
        unread = self._standstill.look({key: (found[key], end) for key, end in ends.items()})
        if unread and not self._unread:
            log.error("read nothing of partitions that grow", partitions=[f"{topic}/{each}" for topic, each in unread])
        self._unread = bool(unread)
        asked = {confluent_kafka.TopicPartition(*key): OffsetSpec.latest() for key in wanting}  # type: ignore[no-untyped-call]
        committed = confluent_kafka.IsolationLevel.READ_COMMITTED  # of an open transaction nobody may read
        futures = (
            self._admin.list_offsets(asked, isolation_level=committed, request_timeout=LOOK_SECONDS) if asked else {}
        )
        self._ends = {(each.topic, each.partition): future for each, future in futures.items()}

    def _beat(self) -> None:
        with self._changed:
            oldest = min((ticket.since for ticket in self._at_work), default=time.monotonic())
        if time.monotonic() - oldest < self._limits.stalled_seconds and not self._unread:
            self._heartbeat.beat()

    # --- the way of one message ------------------------------------------------------------------------------

    def _take(self) -> None:
        """Begins with messages at hand while there is room, one of each partition in turn."""
        while self._has_room():
            key = next((key for key, each in self._partitions.items() if each.ahead), None)
            if key is None:
                return
            partition = self._partitions.pop(key)
            self._partitions[key] = partition
            self._begin(partition, partition.take())

    def _begin(self, partition: _Partition, record: confluent_kafka.Message) -> None:
        source = _source(record)
        with self._changed:
            if not partition.watermark.start(source.offset):
                return
            ticket = _Ticket(source, record.key(), record.value(), partition, self._clock.running())
            self._in_flight.add(ticket)
            self._in_flight_bytes += ticket.size
            metrics.IN_FLIGHT.set(len(self._in_flight))
        self._pool.submit(self._work, ticket)

    def _work(self, ticket: _Ticket) -> None:
        if ticket.partition.closing.is_set():
            return
        with self._changed:
            ticket.state, ticket.since = _State.AT_WORK, time.monotonic()
            ticket.tries += 1
            self._at_work.add(ticket)
        wait = None
        try:
            self._dispatch(ticket, self._handle(ticket))
        except Unavailable as error:
            wait = self._wait_seconds(ticket, error)
        except BaseException as error:  # the pool would swallow it
            self._fail(error)
        finally:
            with self._changed:
                self._at_work.discard(ticket)
                if wait is not None:
                    ticket.state = _State.WAITING
                    self._waiting.add(self._clock.elapsed() + wait, (ticket, None))
                self._changed.notify_all()

    def _handle(self, ticket: _Ticket) -> Sequence[Outgoing]:
        """Returns what follows from a message."""
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
        except Unreadable as error:
            return [self._reject(ticket, str(error), "malformed")]
        except Exception as error:
            ticket.faults += 1
            log.exception("failed to handle a message", faults=ticket.faults, **ticket.source.model_dump())
            why = f"{type(error).__name__}: {error}"
            if ticket.faults < FAULT_TRIES:  # it may pass
                raise Unavailable(why, told=True) from error
            if isinstance(message, Question) and message.best:  # which is kept, whatever happens after it
                self._poison.rejected(why, _place(ticket.source))
                return [self._end(ticket, why)]
            return [self._reject(ticket, why, "internal_error")]

    def _wait_seconds(self, ticket: _Ticket, error: Unavailable) -> float:
        """Returns after how many seconds a message is tried again."""
        wait: float = BACKOFF_SECONDS[min(ticket.tries, len(BACKOFF_SECONDS)) - 1]
        if error.wait_seconds is not None:
            wait = min(error.wait_seconds, BACKOFF_SECONDS[-1])
        metrics.MESSAGES.labels(ticket.source.topic, "retried").inc()
        tell = log.debug if error.told else log.warning
        tell(
            "set a message aside", error=str(error), wait_seconds=wait, tries=ticket.tries, **ticket.source.model_dump()
        )
        return wait

    def _reject(self, ticket: _Ticket, why: str, reason: Rejection) -> Outgoing:
        metrics.MESSAGES.labels(ticket.source.topic, "rejected").inc()
        log.warning("rejected a message", reason=reason, error=why, **ticket.source.model_dump())
        self._poison.rejected(why, _place(ticket.source))
        now = datetime.now(UTC)
        rejected = Malformed.of(ticket.key, ticket.value, ticket.source, why, now, reason)
        if not sizes.fits(topics.PERMANENT, ticket.key, rejected.to_bytes()):
            why = f"{why} (too large to forward: see its source)"
            rejected = Malformed.of(ticket.key, None, ticket.source, why, now, reason)
        return Outgoing(topics.PERMANENT, rejected, ticket.key)

    def _dispatch(self, ticket: _Ticket, outgoing: Sequence[Outgoing]) -> None:
        waits = [(each.due_at - ticket.now()).total_seconds() if each.due_at else 0.0 for each in outgoing]
        at_once = [each for each, wait in zip(outgoing, waits, strict=True) if wait <= 0]
        with self._changed:
            ticket.unacknowledged = len(outgoing)
            ticket.unsent = len(outgoing) - len(at_once)
            ticket.state = _State.WAITING if ticket.unsent else _State.SENT
            for each, wait in zip(outgoing, waits, strict=True):
                if wait > 0:
                    self._waiting.add(self._clock.elapsed() + wait, (ticket, each))
        if not outgoing:
            self._finish(ticket)
        for each in at_once:
            self._send(ticket, each)

    def _sized(self, ticket: _Ticket, outgoing: Outgoing) -> Outgoing:
        """Returns a message that fits its topic: itself, with its history cut, or the end of its question."""
        if sizes.fits(outgoing.topic, outgoing.key, outgoing.value):
            return outgoing
        shorter = replace(outgoing, message=sizes.with_short_history(outgoing.message))
        if sizes.fits(shorter.topic, shorter.key, shorter.value):
            log.warning(
                "cut the history of a question to fit its topic", topic=shorter.topic, **ticket.source.model_dump()
            )
            return shorter
        return self._end(ticket, f"what follows is too large for {outgoing.topic}")

    def _end(self, ticket: _Ticket, why: str) -> Outgoing:
        """Ends the question of a message from which nothing can follow."""
        question = messages.read(ticket.source.topic, ticket.key, ticket.value)
        if not isinstance(question, Question):
            return self._reject(ticket, why, "internal_error")
        now = datetime.now(UTC)
        error = CallError(type="permanent", message=why)
        question = question.model_copy(update={"errors": question.errors_with(error, now)})
        ended = routing.give_up(question, error, "not_retryable", ticket.source, now)
        outgoing = Outgoing(ended.topic, sizes.with_short_history(ended.message), ticket.key)
        if not sizes.fits(outgoing.topic, outgoing.key, outgoing.value):
            return self._reject(ticket, why, "internal_error")
        log.warning("ended a question", error=why, question_id=question.question_id, **ticket.source.model_dump())
        return outgoing

    def _resume_due(self) -> None:
        with self._changed:
            due = [
                each for each in self._waiting.pop_due(self._clock.elapsed()) if not each[0].partition.closing.is_set()
            ]
            for ticket, outgoing in due:
                if outgoing:
                    ticket.unsent -= 1
                if not ticket.unsent:
                    ticket.state = _State.SENT if outgoing else _State.QUEUED
        for ticket, outgoing in due:
            if outgoing:
                self._send(ticket, outgoing)
            else:
                self._pool.submit(self._work, ticket)

    def _send(self, ticket: _Ticket, unsized: Outgoing) -> None:
        outgoing = self._sized(ticket, unsized)

        def delivered(error: confluent_kafka.KafkaError | None) -> None:
            too_large = error and error.code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
            if too_large and outgoing.topic != topics.PERMANENT:  # the topic has a lower limit than we know of
                why = f"the broker finds what follows too large for {outgoing.topic}"
                try:
                    self._send(ticket, self._reject(ticket, why, "internal_error"))
                except TooManyUnreadable as too_many:
                    self._fail(too_many)
                return
            if error:
                self._fail(confluent_kafka.KafkaException(error))
                return
            with self._changed:
                ticket.unacknowledged -= 1
                done = not ticket.unacknowledged
            if done:
                self._finish(ticket)

        self._producer.send(outgoing, delivered)

    def _finish(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._in_flight:
                self._in_flight.discard(ticket)
                self._in_flight_bytes -= ticket.size
            metrics.IN_FLIGHT.set(len(self._in_flight))
            self._changed.notify_all()
            if ticket.partition.closed:
                return
            ticket.partition.watermark.finish(ticket.source.offset)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    # --- partitions come and go ------------------------------------------------------------------------------

    def _assigned(self, _client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        log.info("got partitions", partitions=_names(partitions))
        try:
            committed = {
                (each.topic, each.partition): _progress(each)
                for each in self._client.committed(partitions, COMMITTED_TIMEOUT_SECONDS)
            }
        except confluent_kafka.KafkaException as error:
            log.warning("failed to learn what is finished ahead; it will be done again", error=str(error))
            committed = {}
        with self._changed:
            for each in partitions:
                progress = committed.get((each.topic, each.partition))
                self._partitions[each.topic, each.partition] = _Partition(LowWatermark(progress), committed=progress)
        self._count_partitions()
        self._note_share()

    def _count_partitions(self) -> None:
        """Learns how many partitions the first topic has; more may have come since the last time."""
        topic = self._subscribed[0]
        try:
            self._topic_partitions = len(
                self._client.list_topics(topic, COMMITTED_TIMEOUT_SECONDS).topics[topic].partitions
            )
        except (confluent_kafka.KafkaException, KeyError) as error:
            log.warning("failed to learn how many partitions there are", topic=topic, error=str(error))

    def _note_share(self) -> None:
        """Notes which part of the first topic this member has."""
        mine = [number for topic, number in self._partitions if topic == self._subscribed[0]]
        # Its own numbers tell at least as many.
        self._share.set(mine, max([self._topic_partitions, *(number + 1 for number in mine)]))

    def _revoked(self, _client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        log.info("gave partitions back", partitions=_names(partitions))
        revoked = self._taken_out(partitions)
        mine = list(revoked.values())
        with self._changed:
            for each in mine:
                each.closing.set()
            if not self._drain(mine):
                log.warning("left messages unfinished; they will be read again", count=len(self._busy(mine)))
            offsets = _uncommitted(revoked)
        if offsets:
            self._commit_now(offsets)
        self._close(mine)
        self._note_share()

    def _drain(self, mine: list[_Partition]) -> bool:
        """Waits for what is in flight, for `drain_seconds` at most; returns whether it is done."""
        until = time.monotonic() + self._limits.drain_seconds
        while not self._changed.wait_for(lambda: not self._busy(mine), min(1.0, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                return False
            self._beat()
        return True

    def _lost(self, _client: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        log.warning("lost partitions", partitions=_names(partitions))
        self._close(list(self._taken_out(partitions).values()))
        self._note_share()

    def _taken_out(self, partitions: list[confluent_kafka.TopicPartition]) -> dict[_Key, _Partition]:
        keys = [(each.topic, each.partition) for each in partitions]
        with self._changed:
            return {key: self._partitions.pop(key) for key in keys if key in self._partitions}

    def _busy(self, partitions: list[_Partition]) -> list[_Ticket]:
        """Returns what is worth waiting for; what waits for a due time is left to the partition's next member."""
        return [
            ticket
            for ticket in self._in_flight
            if ticket.partition in partitions and ticket.state in (_State.AT_WORK, _State.SENT)
        ]

    def _close(self, partitions: list[_Partition]) -> None:
        with self._changed:
            for each in partitions:
                each.closing.set()
                each.closed = True
            self._in_flight = {ticket for ticket in self._in_flight if not ticket.partition.closed}
            self._in_flight_bytes = sum(ticket.size for ticket in self._in_flight)
            self._changed.notify_all()

    def _commit_finished(self) -> None:
        if time.monotonic() < self._commit_at:
            return
        self._commit_at = time.monotonic() + COMMIT_INTERVAL_SECONDS
        with self._changed:
            offsets = _uncommitted(self._partitions)
        if offsets:
            self._client.commit(offsets=offsets, asynchronous=True)

    def _commit_now(self, offsets: list[confluent_kafka.TopicPartition]) -> None:
        """Commits before partitions go; a group that is finding its members anew refuses it for a moment."""
        until = time.monotonic() + LAST_COMMIT_SECONDS
        while True:
            try:
                self._client.commit(offsets=offsets, asynchronous=False)
                return
            except confluent_kafka.KafkaException as error:
                if time.monotonic() > until:
                    log.warning("failed to commit; messages will be read again", error=str(error))
                    return
                log.info("failed to commit; trying again", error=str(error))
                time.sleep(0.2)

    def _committed(
        self, error: confluent_kafka.KafkaError | None, partitions: list[confluent_kafka.TopicPartition]
    ) -> None:
        if error:
            log.warning("failed to commit; trying again", error=error.str())
            return
        with self._changed:
            for each in partitions:
                partition = self._partitions.get((each.topic, each.partition))
                if partition and not each.error:
                    partition.committed = _progress(each)

    def _stop(self) -> None:
        log.info("stopped reading; finishing what is in flight", count=len(self._in_flight))
        self._client.close()  # revokes, and so drains and commits
        self._pool.shutdown(wait=False, cancel_futures=True)
        log.info("left the group")


def _uncommitted(partitions: dict[_Key, _Partition]) -> list[confluent_kafka.TopicPartition]:
    return [
        confluent_kafka.TopicPartition(topic, number, progress.position, progress.metadata)
        for (topic, number), partition in partitions.items()
        if (progress := partition.watermark.progress) and progress != partition.committed
    ]


def _progress(committed: confluent_kafka.TopicPartition) -> Progress | None:
    return Progress.of(committed.offset, committed.metadata or "") if committed.offset >= 0 else None


def _names(partitions: list[confluent_kafka.TopicPartition]) -> list[str]:
    return [f"{each.topic}/{each.partition}" for each in partitions]


def _place(source: Source) -> str:
    return f"{source.topic}/{source.partition}"


def _key(record: confluent_kafka.Message) -> _Key:
    topic, partition = record.topic(), record.partition()
    # A record without error has both.
    assert topic is not None
    assert partition is not None
    return topic, partition


def _source(record: confluent_kafka.Message) -> Source:
    topic, partition = _key(record)
    offset = record.offset()
    assert offset is not None
    return Source(topic=topic, partition=partition, offset=offset)
