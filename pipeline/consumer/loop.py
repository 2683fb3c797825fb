"""The loop that ties the parts of a consumer together."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import confluent_kafka
import structlog
from confluent_kafka import KafkaError

from pipeline import topics
from pipeline.clock import Clock
from pipeline.consumer.assignment import Assignment
from pipeline.consumer.clients import Clients, Sender
from pipeline.consumer.commits import Commits
from pipeline.consumer.in_flight import InFlight, Ticket
from pipeline.consumer.limits import Limits
from pipeline.consumer.partitions import Partition, PartitionKey, source_of
from pipeline.consumer.prefetch import Prefetcher
from pipeline.consumer.processing import Handler, Processor
from pipeline.consumer.stall import StallDetector
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat
from pipeline.poison import PoisonLimit, TooManyUnreadable
from pipeline.producer import Outgoing
from pipeline.share import Share

log = structlog.get_logger()

POLL_SECONDS = 0.05
"""Maximum wait for a record, or for room, in one round of the loop."""

MAX_READ = 32
"""Maximum number of records that one round of the loop reads."""


class Consumer:
    """Reads topics as a member of a group and hands each message to a handler.

    Three kinds of threads run its methods:

    - The polling thread, which calls `run`. It alone calls the Kafka clients, and librdkafka makes the callbacks of
      `Assignment` and `Commits` in it. It owns `_partitions`, `_prefetcher`, `_commits`, `_assignment` and `_stall`.
    - Handler threads, which run `_work`.
    - The producer's thread, which calls `delivered` of `_send`. When the producer refuses a message at once, the thread
      that sends it calls `delivered`.

    They share `_in_flight`. Its condition `changed` also guards the partitions and writes of `_failure`, which `run`
    reads without the lock.
    """

    def __init__(
        self,
        clients: Clients,
        subscribed: Sequence[str],
        handler: Handler,
        producer: Sender,
        poison: PoisonLimit,
        limits: Limits = Limits(),
        heartbeat: Heartbeat | None = None,
        share: Share | None = None,
        clock: Clock = Clock(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the parts; nothing is read before `run`.

        Args:
            clients: A member of the group that has not subscribed (`pipeline.consumer.connect`); `run` closes it.
            subscribed: Topics to read.
            handler: Turns a message into outgoing messages.
            producer: Sends the outgoing messages.
            poison: How many messages of a partition may be rejected.
            limits: Limits of the loop.
            heartbeat: Touched while the loop makes progress.
            share: Updated with the part of the first topic that this member has.
            clock: Clock for retries and due times.
            monotonic: Clock for everything else, in seconds.
        """
        self._subscribed = list(subscribed)
        self._producer = producer
        self._limits = limits
        self._heartbeat = heartbeat or Heartbeat()
        share = share or Share()
        self._client = clients.consumer
        self._pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="handler")
        self._partitions: dict[PartitionKey, Partition] = {}
        """The partitions that are assigned to this member."""
        self._prefetcher = Prefetcher(self._client)
        self._in_flight = InFlight(limits, share, clock, monotonic)
        self._processor = Processor(handler, poison)
        self._commits = Commits(self._client, self._partitions, self._in_flight.changed, monotonic)
        self._assignment = Assignment(
            self._client,
            self._subscribed[0],
            self._partitions,
            self._prefetcher,
            self._in_flight,
            self._commits,
            share,
            limits.drain_seconds,
            self._beat,
        )
        self._stall = StallDetector(clients, monotonic)
        self._failure: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Reads until `stop` is set, then drains the messages in flight, commits and leaves the group.

        Raises:
            TooManyUnreadable: More messages of a partition had to be rejected than `POISON_LIMIT` allows.
            KafkaException: The client met an error from which it cannot recover.
        """
        self._client.subscribe(
            self._subscribed,
            on_assign=self._assignment.on_assign,
            on_revoke=self._assignment.on_revoke,
            on_lost=self._assignment.on_lost,
            on_commit=self._commits.on_commit,
        )
        log.info("started to consume", topics=self._subscribed)
        try:
            while not stop.is_set():
                if self._failure:
                    raise self._failure
                self._run_due()
                self._commits.commit_finished()
                self._check_for_stall()
                self._beat()
                self._start()
                self._prefetcher.pause_and_resume()
                self._read()
        finally:
            self._stop()

    def _read(self) -> None:
        """Waits a moment for a record, then reads further records that have already arrived."""
        timeout = POLL_SECONDS
        if self._prefetcher.has_records():  # do not wait for new records while there are records to start
            self._in_flight.wait_for_room(POLL_SECONDS)
            timeout = 0
        for _ in range(MAX_READ):
            record = self._client.poll(timeout)
            if record is None:
                return
            error = record.error()
            if error is None:
                self._prefetcher.put(record)
            elif error.fatal():
                raise confluent_kafka.KafkaException(error)
            else:
                log.warning("met a Kafka error", error=error.str())
            timeout = 0

    def _check_for_stall(self) -> None:
        if self._stall.is_due():
            self._stall.check(self._prefetcher.idle() if self._in_flight.has_room() else set())

    def _beat(self) -> None:
        """Touches the heartbeat, unless a handler hangs or a partition is not read."""
        if self._in_flight.longest_attempt_seconds() < self._limits.stalled_seconds and not self._stall.stalled:
            self._heartbeat.beat()

    # --- from a record to the messages that follow from it ----------------------------------------------------

    def _start(self) -> None:
        """Starts prefetched messages while there is room."""
        while self._in_flight.has_room() and (taken := self._prefetcher.take()):
            key, record = taken
            ticket = self._in_flight.start(self._partitions[key], source_of(record), record.key(), record.value())
            if ticket:
                self._pool.submit(self._work, ticket)

    def _work(self, ticket: Ticket) -> None:
        """Makes one attempt to handle a message."""
        if ticket.partition.closing.is_set():
            return
        self._in_flight.start_attempt(ticket)
        retry_seconds = None
        try:
            self._dispatch(ticket, self._processor.process(ticket))
        except Unavailable as error:
            retry_seconds = self._processor.retry_seconds(ticket, error)
        except BaseException as error:  # the pool would swallow it
            self._fail(error)
        finally:
            self._in_flight.end_attempt(ticket, retry_seconds)

    def _dispatch(self, ticket: Ticket, outgoing: Sequence[Outgoing]) -> None:
        at_once = self._in_flight.expect(ticket, outgoing)
        if not outgoing:
            self._in_flight.finish(ticket)
        for each in at_once:
            self._send(ticket, each)

    def _run_due(self) -> None:
        """Retries and sends the messages that are due."""
        for ticket, outgoing in self._in_flight.take_due():
            if outgoing:
                self._send(ticket, outgoing)
            else:
                self._pool.submit(self._work, ticket)

    def _send(self, ticket: Ticket, unsized: Outgoing) -> None:
        outgoing = self._processor.fit(ticket, unsized)

        def delivered(error: KafkaError | None) -> None:
            too_large = error and error.code() == KafkaError.MSG_SIZE_TOO_LARGE
            if too_large and outgoing.topic != topics.PERMANENT:  # the topic's limit is lower than MAX_MESSAGE_BYTES
                why = f"the broker finds what follows too large for {outgoing.topic}"
                try:
                    self._send(ticket, self._processor.reject(ticket, why, "internal_error"))
                except TooManyUnreadable as too_many:
                    self._fail(too_many)
            elif error:
                self._fail(confluent_kafka.KafkaException(error))
            else:
                self._in_flight.acknowledge(ticket)

        self._producer.send(outgoing, delivered)

    def _fail(self, error: BaseException) -> None:
        """Makes the polling thread raise an error of another thread; only the first error is raised."""
        with self._in_flight.changed:
            self._failure = self._failure or error
            self._in_flight.changed.notify_all()

    def _stop(self) -> None:
        log.info("stopped reading; draining messages in flight", count=len(self._in_flight))
        self._client.close()  # revokes, and so drains and commits
        self._pool.shutdown(wait=False, cancel_futures=True)
        log.info("left the group")
