"""Fakes of the Kafka clients and of the clocks, directed by a test. No broker is needed.

The loop runs in a thread, as in a service. Tests never sleep for a fixed time: they wait for a
condition, which is checked whenever something happens in a fake.
"""

import threading
import time
from collections import defaultdict, deque
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline import topics
from pipeline.clock import Clock
from pipeline.consumer import Clients, Consumer, Limits
from pipeline.poison import PoisonLimit
from pipeline.share import Share
from tests.unit import samples

PENDING = topics.QUESTIONS_PENDING
DEADLINE_SECONDS = 10
HELD = object()
"""Acknowledgement that the broker has not sent yet."""


def record(value=b"v", offset=0, partition=0, topic=PENDING, key=b"k"):
    return confluent_kafka.Message(topic=topic, partition=partition, offset=offset, key=key, value=value)


def error_record(code, fatal=False):
    return confluent_kafka.Message(error=KafkaError(code, "as the test says", fatal))


def partition(number=0, topic=PENDING, offset=confluent_kafka.OFFSET_INVALID, metadata=""):
    return TopicPartition(topic, number, offset, metadata)


class World:
    """Notifies tests that something happened in a fake."""

    def __init__(self):
        self._changed = threading.Condition()

    def notify(self):
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition, what="it did not happen"):
        until = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while not self._changed.wait_for(condition, 0.01):  # actions of the loop itself send no notification
                assert time.monotonic() < until, what

    def wait(self, seconds):
        with self._changed:
            self._changed.wait(seconds)


class FakeTime:
    """Clocks that stop until a test moves them."""

    def __init__(self):
        self.seconds = 1000.0
        self.clock = Clock(lambda: samples.NOW, lambda: self.seconds)

    def monotonic(self):
        return self.seconds


class FakeConsumer:
    """A group with one member and a log for each partition; callbacks run within `poll`, `commit` and `close`."""

    def __init__(self, world):
        self._world = world
        self.logs = defaultdict(list)
        self.partitions = 4
        """Number of partitions of each topic in the metadata; None if the broker does not answer."""
        self.stored = {}
        """Committed offset and metadata by partition."""
        self.commits = []
        """All commits in order, failed ones included: `async` or `sync`, and the offsets."""
        self.commit_errors = deque()
        """Errors of the next commits."""
        self.partition_errors = set()
        """Partitions whose commits fail while those of the others succeed."""
        self.committed_error = None
        self.assigned = []
        self.positions = {}
        self.paused = set()
        self.calls = []
        """Calls of `pause` and `resume`."""
        self.threads = set()
        self.polls = 0
        self.closed = False
        self.subscribed = None
        self._actions = deque()
        self._results = deque()

    # --- called by tests ---

    def write(self, *values, partition=0, topic=PENDING, key=b"k"):
        """Appends messages, and returns their offsets."""
        log = self.logs[topic, partition]
        first = len(log)
        log += [record(value, first + number, partition, topic, key) for number, value in enumerate(values)]
        self._world.notify()
        return range(first, len(log))

    def ask(self, *texts, partition=0):
        """Appends questions, and returns their offsets."""
        offsets = []
        for text in texts:
            question = samples.question(question_text=text)
            offsets += self.write(question.to_bytes(), partition=partition, key=question.question_id.encode())
        return offsets

    def inject(self, code, fatal=False):
        """Makes `poll` return an error."""
        self._actions.append(lambda: error_record(code, fatal))
        self._world.notify()

    def assign(self, *numbers, topic=PENDING):
        self._rebalance(self._assign, [partition(number, topic) for number in numbers])

    def revoke(self, *numbers, topic=PENDING, wait=True):
        self._rebalance(self._revoke, [partition(number, topic) for number in numbers], wait)

    def lose(self, *numbers, topic=PENDING):
        self._rebalance(self._lose, [partition(number, topic) for number in numbers])

    def _rebalance(self, callback, partitions, wait=True):
        done = []

        def action():
            try:
                callback(partitions)
            finally:
                done.append(True)
                self._world.notify()

        self._actions.append(action)
        self._world.notify()
        if wait:
            self._world.wait_for(lambda: done, "the rebalance does not end")

    # --- called by the loop ---

    def subscribe(self, topics, on_assign, on_revoke, on_lost, on_commit):
        self.subscribed = topics
        self._on_assign, self._on_revoke, self._on_lost, self._on_commit = on_assign, on_revoke, on_lost, on_commit

    def poll(self, timeout):
        self._note()
        self.polls += 1
        self._world.notify()
        self._report_commits()
        if self._actions:
            return self._actions.popleft()()
        for key in self.assigned:
            position = self.positions[key]
            if key not in self.paused and position < len(self.logs[key]):
                self.positions[key] += 1
                return self.logs[key][position]
        if timeout:
            self._world.wait(0.001)
        return None

    def pause(self, partitions):
        self._note()
        self.paused |= _keys(partitions)
        self.calls.append(("pause", _keys(partitions)))

    def resume(self, partitions):
        self._note()
        self.paused -= _keys(partitions)
        self.calls.append(("resume", _keys(partitions)))

    def position(self, partitions):
        self._note()
        return [partition(each.partition, each.topic, self.positions[_key(each)]) for each in partitions]

    def committed(self, partitions, timeout):
        self._note()
        if self.committed_error:
            raise KafkaException(self.committed_error)
        return [
            partition(each.partition, each.topic, *self.stored.get(_key(each), (confluent_kafka.OFFSET_INVALID, "")))
            for each in partitions
        ]

    def commit(self, *, offsets, asynchronous):
        self._note()
        self.commits.append(("async" if asynchronous else "sync", _values(offsets)))
        error = self.commit_errors.popleft() if self.commit_errors else None
        if not error:
            self.stored |= _values([each for each in offsets if _key(each) not in self.partition_errors])
        self._world.notify()
        if asynchronous:
            self._results.append((error, offsets))
        elif error:
            raise KafkaException(error)

    def list_topics(self, topic, timeout):
        self._note()
        if self.partitions is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=dict.fromkeys(range(self.partitions)))})

    def close(self):
        self._note()
        self._report_commits()
        if self.assigned:
            self._revoke([partition(number, topic) for topic, number in self.assigned])
        self.closed = True
        self._world.notify()

    def _note(self):
        assert not self.closed
        self.threads.add(threading.current_thread())

    def _report_commits(self):
        while self._results:
            error, offsets = self._results.popleft()
            failed = [
                SimpleNamespace(
                    topic=each.topic,
                    partition=each.partition,
                    offset=each.offset,
                    metadata=each.metadata,
                    error=_key(each) in self.partition_errors,
                )
                for each in offsets
            ]
            self._on_commit(error, failed)

    def _assign(self, partitions):
        for each in partitions:
            self.assigned.append(_key(each))
            self.positions[_key(each)] = self.stored.get(_key(each), (0, None))[0]
        self._on_assign(self, partitions)

    def _revoke(self, partitions):
        self._on_revoke(self, partitions)
        self._unassign(partitions)

    def _lose(self, partitions):
        self._on_lost(self, partitions)
        self._unassign(partitions)

    def _unassign(self, partitions):
        self.assigned = [key for key in self.assigned if key not in _keys(partitions)]


class FakeAdmin:
    """Answers at once with `ends`; without an entry it fails, and with None it does not answer."""

    def __init__(self):
        self.ends = {}
        self.asked = []

    def list_offsets(self, asked, **options):
        self.asked.append((_keys(asked), options))
        futures = {each: Future() for each in asked}
        for each, future in futures.items():
            end = self.ends.get(_key(each), KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            if isinstance(end, Exception):
                future.set_exception(end)
            elif end is not None:
                future.set_result(SimpleNamespace(offset=end))
        return futures


class FakeProducer:
    """Reports for each message the result of `answer`: None (acknowledged), an error, or `HELD`."""

    def __init__(self, world, answer=lambda outgoing: None):
        self._world = world
        self.answer = answer
        self.sent = []
        self._held = deque()

    def send(self, outgoing, delivered):
        answer = self.answer(outgoing)
        if answer is HELD:
            self._held.append(delivered)
        self.sent.append(outgoing)
        self._world.notify()
        if answer is not HELD:
            delivered(answer)

    def answer_held(self, error=None):
        """Reports the result of the first held message, in the thread of the test."""
        self._held.popleft()(error)


class Handler:
    """Runs the steps of each question: an exception, a function, or nothing. The last step repeats.

    A question in `held` waits in its handler until it is released.
    """

    def __init__(self, world, **steps):
        self._world = world
        self.steps = {text: deque(each if isinstance(each, list) else [each]) for text, each in steps.items()}
        self.started = []
        self.finished = []
        self.sources = []
        self._held = {}

    def hold(self, *texts):
        for text in texts:
            self._held[text] = threading.Event()

    def release(self, text):
        self._held.pop(text).set()

    def release_all(self):
        for text in list(self._held):
            self.release(text)

    def __call__(self, incoming):
        text = incoming.message.question_text
        self.started.append(text)
        self.sources.append(incoming.source)
        self._world.notify()
        if text in self._held:
            self._held[text].wait(6 * DEADLINE_SECONDS)
        steps = self.steps.get(text, deque([None]))
        step = steps.popleft() if len(steps) > 1 else steps[0]
        self.finished.append(text)
        self._world.notify()
        if isinstance(step, BaseException):
            raise step
        return step(incoming) if step else []


class FakeHeartbeat:
    def __init__(self, world):
        self._world = world
        self.beats = 0

    def beat(self):
        self.beats += 1
        self._world.notify()


class Loop:
    """A loop with fakes of all its dependencies."""

    def __init__(self, limits=Limits(), subscribed=(PENDING,), poison_limit=100, **steps):
        self.world = World()
        self.time = FakeTime()
        self.client, self.admin = FakeConsumer(self.world), FakeAdmin()
        self.producer = FakeProducer(self.world)
        self.handler = Handler(self.world, **steps)
        self.heartbeat = FakeHeartbeat(self.world)
        self.share = Share()
        self.stop = threading.Event()
        self.error = None
        """Exception that ended the loop."""
        self.consumer = Consumer(
            Clients(self.client, self.admin),
            subscribed,
            self.handler,
            self.producer,
            PoisonLimit(poison_limit),
            limits,
            self.heartbeat,
            self.share,
            self.time.clock,
            self.time.monotonic,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.consumer.run(self.stop)
        except BaseException as error:
            self.error = error
        finally:
            self.world.notify()

    @contextmanager
    def running(self, *numbers):
        """Runs the loop with partitions of `PENDING`, and stops it at the end."""
        self.thread.start()
        try:
            if numbers:
                self.client.assign(*numbers)
            yield self
        finally:
            self.stop.set()
            self.handler.release_all()
            self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive(), "it did not stop"

    def wait_for(self, condition, what="it did not happen"):
        self.world.wait_for(condition, what)

    def wait_for_in_flight(self, count):
        self.wait_for(lambda: len(self.consumer._in_flight) == count, f"not {count} messages in flight")

    def wait_for_started(self, *texts):
        self.wait_for(lambda: sorted(self.handler.started) == sorted(texts), f"other than {texts} were started")

    def turn(self, turns=2):
        """Waits until the loop has completed another turn."""
        until = self.client.polls + turns
        self.wait_for(lambda: self.client.polls >= until, "the loop does not turn")

    def wait_for_scheduled(self, count):
        self.wait_for(lambda: len(self.consumer._in_flight._schedule) == count, f"not {count} waits")

    @contextmanager
    def revoking(self, number):
        """Context that revokes a partition: its body runs while the loop drains, and the rebalance ends after it."""
        closing = self.consumer._partitions[PENDING, number].closing
        self.client.revoke(number, wait=False)
        self.wait_for(closing.is_set, "the loop does not drain")
        yield
        self.wait_for(lambda: (PENDING, number) not in self.client.assigned, "the rebalance does not end")

    def pass_time(self, seconds):
        self.time.seconds += seconds
        self.turn()

    def wait_until_ended(self):
        self.wait_for(lambda: self.error is not None, "the loop has not ended")
        self.thread.join(DEADLINE_SECONDS)
        return self.error


def _key(each):
    return each.topic, each.partition


def _keys(partitions):
    return {_key(each) for each in partitions}


def _values(offsets):
    return {_key(each): (each.offset, each.metadata or "") for each in offsets}
