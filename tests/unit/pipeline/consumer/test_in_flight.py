import itertools
import threading
from datetime import timedelta

import pytest

from pipeline import metrics, topics
from pipeline.consumer import Limits
from pipeline.consumer.in_flight import InFlight, State
from pipeline.consumer.partitions import Partition
from pipeline.messages import RecordPosition
from pipeline.offsets import LowWatermark, Progress
from pipeline.producer import Outgoing
from pipeline.share import Share
from tests.unit import samples
from tests.unit.pipeline.consumer.fakes import PENDING, FakeTime


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def share():
    return Share()


@pytest.fixture
def partition():
    return Partition()


def in_flight_with(time, share=None, monotonic=None, **limits):
    return InFlight(Limits(**limits), share or Share(), time.clock, monotonic or time.monotonic)


@pytest.fixture
def in_flight(time):
    return in_flight_with(time)


def start(in_flight, partition, offset=0, value=b"12345"):
    return in_flight.start(partition, RecordPosition(topic=PENDING, partition=0, offset=offset), b"k", value)


def outgoing(time=None, seconds=0.0):
    due_at = time.clock.now() + timedelta(seconds=seconds) if time else None
    return Outgoing.of(topics.VALIDATED, samples.question(), due_at)


def test_a_message_takes_up_room_until_it_is_finished(time, share, partition):
    share.set([0], 4)
    in_flight = in_flight_with(time, share, in_flight=4, of_group=4)
    assert in_flight.has_room()
    ticket = start(in_flight, partition)
    assert (len(in_flight), in_flight.has_room()) == (1, False)
    in_flight.finish(ticket)
    assert (len(in_flight), in_flight.has_room()) == (0, True)
    assert partition.watermark.progress == Progress(1)


def test_the_bytes_of_messages_in_flight_are_limited(time, partition):
    in_flight = in_flight_with(time, in_flight_bytes=10)
    first = start(in_flight, partition, 0, b"123456789")
    assert in_flight.has_room()
    start(in_flight, partition, 1, b"1")
    assert not in_flight.has_room()
    in_flight.finish(first)
    assert in_flight.has_room()


def test_a_message_without_a_value_counts_as_zero_bytes(time, partition):
    in_flight = in_flight_with(time, in_flight_bytes=1)
    start(in_flight, partition, 0, None)
    assert in_flight.has_room()


def test_a_larger_share_of_the_group_limit_allows_more_messages(time, share, partition):
    share.set([0, 1], 4)
    in_flight = in_flight_with(time, share, in_flight=10, of_group=8)
    for offset in itertools.takewhile(lambda _: in_flight.has_room(), itertools.count()):
        start(in_flight, partition, offset)
    assert len(in_flight) == 2 + 4
    share.set([0, 1, 2, 3], 4)
    assert in_flight.has_room()


def test_messages_finished_before_the_assignment_are_not_started(in_flight):
    partition = Partition(LowWatermark(Progress(3, (range(4, 6),))))
    started = [offset for offset in range(3, 7) if start(in_flight, partition, offset)]
    assert started == [3, 6]
    assert len(in_flight) == 2


def test_a_message_is_finished_when_its_last_outgoing_message_is_acknowledged(in_flight, partition):
    ticket = start(in_flight, partition)
    messages = [outgoing(), outgoing()]
    assert in_flight.expect(ticket, messages) == messages
    assert ticket.state is State.SENT
    in_flight.acknowledge(ticket)
    assert len(in_flight) == 1
    in_flight.acknowledge(ticket)
    assert len(in_flight) == 0
    assert partition.watermark.progress == Progress(1)


def test_a_retry_is_due_after_its_wait(time, in_flight, partition):
    ticket = start(in_flight, partition)
    in_flight.start_attempt(ticket)
    assert (ticket.state, ticket.attempts) == (State.RUNNING, 1)
    in_flight.end_attempt(ticket, 2)
    assert ticket.state is State.WAITING
    time.seconds += 1.9
    assert in_flight.take_due() == []
    time.seconds += 0.1
    assert in_flight.take_due() == [(ticket, None)]
    assert ticket.state is State.QUEUED
    assert in_flight.take_due() == []


def test_each_outgoing_message_is_sent_when_it_is_due(time, in_flight, partition):
    ticket = start(in_flight, partition)
    now, soon, late = outgoing(), outgoing(time, 10), outgoing(time, 20)
    assert in_flight.expect(ticket, [late, now, soon]) == [now]
    assert ticket.state is State.WAITING
    time.seconds += 10
    assert in_flight.take_due() == [(ticket, soon)]
    assert ticket.state is State.WAITING
    time.seconds += 10
    assert in_flight.take_due() == [(ticket, late)]
    assert ticket.state is State.SENT


def test_an_overdue_outgoing_message_is_sent_at_once(time, in_flight, partition):
    ticket = start(in_flight, partition)
    time.seconds += 15
    message = outgoing(time, 10)
    assert in_flight.expect(ticket, [message]) == [message]


def test_retries_of_a_closing_partition_are_not_due(time, in_flight, partition):
    other = Partition()
    tickets = [start(in_flight, each) for each in (partition, other)]
    for ticket in tickets:
        in_flight.start_attempt(ticket)
        in_flight.end_attempt(ticket, 1)
    partition.closing.set()
    time.seconds += 1
    assert in_flight.take_due() == [(tickets[1], None)]


def test_longest_attempt_seconds_counts_only_running_handlers(time, in_flight, partition):
    assert in_flight.longest_attempt_seconds() == 0
    first, second = start(in_flight, partition, 0), start(in_flight, partition, 1)
    in_flight.start_attempt(first)
    time.seconds += 3
    in_flight.start_attempt(second)
    time.seconds += 1
    assert in_flight.longest_attempt_seconds() == 4
    in_flight.end_attempt(first, None)
    assert in_flight.longest_attempt_seconds() == 1
    in_flight.end_attempt(second, 5)
    time.seconds += 100
    assert in_flight.longest_attempt_seconds() == 0, "a waiting message is not a hanging one"


def test_running_and_sent_messages_are_active(in_flight, partition):
    queued, running, waiting, sent, elsewhere = (
        start(in_flight, each, offset) for offset, each in enumerate([partition] * 4 + [Partition()])
    )
    in_flight.start_attempt(running)
    in_flight.start_attempt(elsewhere)
    in_flight.start_attempt(waiting)
    in_flight.end_attempt(waiting, 1)
    in_flight.expect(sent, [outgoing()])
    assert queued.state is State.QUEUED
    assert set(in_flight.active([partition])) == {running, sent}


def test_drain_without_active_messages_does_not_wait(in_flight, partition):
    start(in_flight, partition)
    assert in_flight.drain([partition], 0, pytest.fail)


def test_drain_ends_when_the_last_active_message_is_finished(in_flight, partition):
    ticket = start(in_flight, partition)
    in_flight.start_attempt(ticket)

    def finish():
        in_flight.expect(ticket, [])
        in_flight.finish(ticket)

    # The message cannot finish before drain waits, because drain holds the lock.
    with in_flight.changed:
        thread = threading.Thread(target=finish, daemon=True)
        thread.start()
        assert in_flight.drain([partition], 8, pytest.fail)
    thread.join(10)
    assert partition.watermark.progress == Progress(1)


def test_drain_times_out_and_calls_back_while_it_waits(time, partition):
    waits = []
    # Read alternately for the remaining wait and for the timeout.
    seconds = iter([100, 107.999, 107.999, 107.9999, 108])
    in_flight = in_flight_with(time, monotonic=lambda: next(seconds))
    ticket = start(in_flight, partition)
    in_flight.expect(ticket, [outgoing()])
    assert not in_flight.drain([partition], 8, lambda: waits.append(True))
    assert waits == [True]


def test_closing_a_partition_frees_the_room_of_its_messages(time, partition):
    in_flight, other = in_flight_with(time, in_flight_bytes=10), Partition()
    ticket = start(in_flight, partition, 0, b"1234567890")
    kept = start(in_flight, other, 0, b"12345")
    assert not in_flight.has_room()
    in_flight.close([partition])
    assert (partition.closed, partition.closing.is_set(), other.closed) == (True, True, False)
    assert (len(in_flight), in_flight.has_room()) == (1, True)
    in_flight.finish(ticket)
    assert partition.watermark.progress == Progress(0), "it finished too late"
    in_flight.finish(kept)
    assert len(in_flight) == 0


def test_close_wakes_threads_that_wait_for_room(time, partition):
    in_flight = in_flight_with(time, in_flight_bytes=1)
    start(in_flight, partition)
    woken = threading.Event()

    def wait():
        in_flight.wait_for_room(10)
        woken.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    in_flight.close([partition])
    assert woken.wait(5)
    assert in_flight.has_room()


def test_waiting_for_room_times_out(time, partition):
    in_flight = in_flight_with(time, in_flight_bytes=1)
    start(in_flight, partition)
    in_flight.wait_for_room(0.001)
    assert not in_flight.has_room()


def test_the_metric_counts_messages_in_flight(in_flight, partition):
    ticket = start(in_flight, partition)
    assert metrics.IN_FLIGHT._value.get() == 1
    in_flight.finish(ticket)
    assert metrics.IN_FLIGHT._value.get() == 0


def test_several_threads_can_finish_messages_concurrently(in_flight, partition):
    tickets = [start(in_flight, partition, offset) for offset in range(4000)]

    def run(mine):
        for ticket in mine:
            in_flight.start_attempt(ticket)
            in_flight.expect(ticket, [outgoing()])
            in_flight.acknowledge(ticket)
            in_flight.end_attempt(ticket, None)

    threads = [threading.Thread(target=run, args=(tickets[number::4],), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(in_flight), in_flight.longest_attempt_seconds()) == (0, 0)
    assert partition.watermark.progress == Progress(4000)
