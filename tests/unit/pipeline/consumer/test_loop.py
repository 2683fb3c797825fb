"""Tests of the whole loop in a thread, with fake clients."""

import base64
import threading
from datetime import timedelta

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException

from pipeline import topics
from pipeline.consumer import FAULT_TRIES, Limits
from pipeline.consumer.prefetch import MAX_RECORDS
from pipeline.errors import Unavailable
from pipeline.poison import TooManyUnreadable
from pipeline.producer import Outgoing
from tests.unit import samples
from tests.unit.pipeline.consumer.fakes import HELD, PENDING, Loop

P0, P1, P2 = (PENDING, 0), (PENDING, 1), (PENDING, 2)
ROOM_FOR_ONE_OF_EACH_PARTITION = Limits(concurrency=4, in_flight=4, of_group=4)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
NO_BROKER = KafkaError(KafkaError._TRANSPORT)


def to(topic, seconds=None, count=1):
    """Returns a step of a handler that sends `count` messages to a topic, due after `seconds`."""

    def step(incoming):
        due_at = None if seconds is None else incoming.now() + timedelta(seconds=seconds)
        return [Outgoing.of(topic, samples.question(question_text=f"Follows {each}?"), due_at) for each in range(count)]

    return step


def events(logs, event):
    return [each for each in logs if each["event"] == event]


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as logs:
        yield logs


# --- assignment ------------------------------------------------------------------------------------------------------


def test_reads_from_the_committed_offset_and_skips_messages_finished_out_of_order():
    loop = Loop()
    loop.client.ask("a", "b", "c", "d")
    loop.client.stored[P0] = (1, "1+1")
    with loop.running(0):
        loop.wait_for_started("b", "d")
        loop.wait_for_in_flight(0)
    assert loop.client.stored[P0] == (4, "")


def test_repeats_messages_finished_out_of_order_when_committed_progress_cannot_be_read(logs):
    loop = Loop()
    loop.client.ask("a", "b", "c")
    loop.client.stored[P0] = (1, "1+1")
    loop.client.committed_error = NO_BROKER
    with loop.running(0):
        loop.wait_for_started("b", "c")
    assert len(events(logs, "failed to read committed progress; finished messages will be repeated")) == 1


def test_commits_nothing_when_all_progress_is_committed():
    loop = Loop()
    loop.client.ask("a")
    loop.client.stored[P0] = (1, "")
    with loop.running(0):
        loop.pass_time(1)
    assert loop.client.commits == []


def test_commits_nothing_for_a_partition_without_messages():
    loop = Loop()
    with loop.running(0):
        loop.pass_time(1)
    assert loop.client.commits == []


def test_share_is_the_fraction_of_the_partitions_of_the_first_topic():
    loop = Loop(subscribed=(PENDING, topics.VALIDATED))
    with loop.running(0, 3):
        loop.client.assign(1, topic=topics.VALIDATED)
        assert loop.share.fraction == 0.5
        loop.client.revoke(3)
        assert loop.share.fraction == 0.25
        loop.client.lose(0)
        assert loop.share.fraction == 0
    assert loop.client.subscribed == [PENDING, topics.VALIDATED]


@pytest.mark.parametrize(("known", "fraction"), [(None, 1 / 6), (4, 1 / 6), (8, 1 / 8)])
def test_partition_count_is_the_larger_of_metadata_and_assigned_numbers(known, fraction):
    loop = Loop()
    loop.client.partitions = known
    with loop.running(5):
        assert loop.share.fraction == fraction


def test_partition_count_is_read_at_each_assignment():
    loop = Loop()
    with loop.running(0):
        loop.client.partitions = 8
        loop.client.assign(1)
        assert loop.share.fraction == 2 / 8
        loop.client.partitions = None
        loop.client.assign(2)
        assert loop.share.fraction == 3 / 8, "the count is kept when the broker does not answer"


def test_only_the_polling_thread_calls_the_client():
    loop = Loop(a=to(topics.VALIDATED), b=Unavailable("down"))
    with loop.running(0):
        loop.client.ask("a", "b")
        loop.wait_for_started("a", "b")
        loop.pass_time(1)
        loop.client.revoke(0)
    assert loop.client.threads == {loop.thread}


# --- revocation ------------------------------------------------------------------------------------------------------


def test_revoke_waits_for_a_running_handler_and_commits():
    loop = Loop()
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
        with loop.revoking(0):
            assert P0 in loop.client.assigned
            assert loop.client.commits == []
            loop.handler.release("a")
    assert loop.client.commits == [("sync", {P0: (1, "")})]


def test_revoke_waits_for_acknowledgements():
    loop = Loop(a=to(topics.VALIDATED, count=2))
    loop.producer.answer = lambda _: HELD
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for(lambda: len(loop.producer.sent) == 2)
        with loop.revoking(0):
            loop.producer.answer_held()
            assert loop.client.commits == []
            loop.producer.answer_held()
    assert loop.client.commits == [("sync", {P0: (1, "")})]


def test_revoke_leaves_queued_messages_to_the_next_member():
    loop = Loop(Limits(concurrency=1))
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a", "b", "c")
        loop.wait_for_in_flight(3)
        with loop.revoking(0):
            loop.handler.release("a")
        loop.wait_for_in_flight(0)
        loop.turn()
    assert loop.handler.started == ["a"]
    assert loop.client.stored[P0] == (1, "")


def test_revoke_does_not_wait_for_retries_and_due_times():
    loop = Loop(a=Unavailable("down"), b=to(topics.VALIDATED, seconds=60))
    with loop.running(0):
        loop.client.ask("a", "b", "c")
        loop.wait_for_scheduled(2)
        loop.wait_for_started("a", "b", "c")
        loop.wait_for_in_flight(2)
        loop.client.revoke(0)
        assert loop.client.stored[P0] == (0, "2+1")
        loop.pass_time(100)
    assert loop.handler.started.count("a") == 1
    assert loop.producer.sent == []


def test_revoke_stops_waiting_after_drain_seconds(logs):
    loop = Loop(Limits(concurrency=2, drain_seconds=0))
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a", "b")
        loop.wait_for_started("a", "b")
        loop.wait_for_in_flight(1)
        loop.client.revoke(0)
        assert loop.client.stored[P0] == (0, "1+1")
        loop.wait_for_in_flight(0)
        loop.handler.release("a")
        loop.wait_for(lambda: "a" in loop.handler.finished)
        loop.pass_time(1)
    assert loop.error is None
    assert [each["count"] for each in events(logs, "left messages unfinished; they will be read again")] == [1]
    assert loop.client.stored[P0] == (0, "1+1"), "it finished too late"


def test_a_partition_assigned_again_is_read_from_its_committed_offset():
    loop = Loop(Limits(concurrency=2, drain_seconds=0))
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a", "b")
        loop.wait_for_in_flight(1)
        loop.client.revoke(0)
        loop.client.assign(0)
        loop.wait_for_started("a", "a", "b")
        loop.handler.release("a")
        loop.wait_for_in_flight(0)
    assert loop.client.stored[P0] == (2, "")


def test_kept_partitions_are_processed_during_and_after_a_cooperative_rebalance():
    loop = Loop(Limits(concurrency=2))
    loop.handler.hold("a")
    with loop.running(0, 1):
        loop.client.ask("a", partition=1)
        loop.wait_for_started("a")
        loop.client.revoke(0)
        assert loop.client.assigned == [P1]
        loop.client.assign(2)
        loop.client.ask("b", partition=2)
        loop.wait_for_started("a", "b")
        loop.handler.release("a")
        loop.wait_for_in_flight(0)
        loop.pass_time(1)
        loop.wait_for(lambda: loop.client.stored == {P1: (1, ""), P2: (1, "")})


def test_prefetched_records_of_a_revoked_partition_are_dropped():
    loop = Loop(ROOM_FOR_ONE_OF_EACH_PARTITION)
    loop.handler.hold("a", "b")
    with loop.running(0, 1):
        loop.client.ask("a", "b", partition=1)
        loop.wait_for_started("a", "b")
        loop.client.ask("c", "d", partition=0)
        loop.wait_for(lambda: loop.client.positions[P0] == 2)
        loop.client.revoke(0)
        loop.handler.release_all()
        loop.client.ask("e", partition=1)
        loop.wait_for_started("a", "b", "e")
    assert P0 not in loop.client.stored


def test_the_last_commit_is_retried_while_the_group_rebalances(logs):
    loop = Loop()
    loop.client.commit_errors += [KafkaError(KafkaError.REBALANCE_IN_PROGRESS)]
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(0)
        loop.client.revoke(0)
    assert loop.client.commits == [("sync", {P0: (1, "")})] * 2
    assert loop.client.stored == {P0: (1, "")}
    assert len(events(logs, "failed to commit; trying again")) == 1


# --- lost partitions -------------------------------------------------------------------------------------------------


def test_lost_partitions_are_neither_drained_nor_committed(logs):
    loop = Loop()
    loop.handler.hold("b")
    with loop.running(0):
        loop.client.ask("a", "b")
        loop.wait_for_started("a", "b")
        loop.client.lose(0)
        loop.wait_for_in_flight(0)
        loop.handler.release("b")
        loop.wait_for(lambda: "b" in loop.handler.finished)
        loop.pass_time(1)
    assert loop.error is None
    assert loop.client.commits == []
    assert [each["partitions"] for each in events(logs, "lost partitions")] == [[f"{PENDING}/0"]]


def test_acknowledgements_of_a_lost_partition_are_ignored():
    loop = Loop(a=to(topics.VALIDATED))
    loop.producer.answer = lambda _: HELD
    with loop.running(0, 1):
        loop.client.ask("a")
        loop.wait_for(lambda: loop.producer.sent)
        loop.client.lose(0)
        loop.producer.answer_held()
        loop.client.ask("b", partition=1)
        loop.wait_for(lambda: "b" in loop.handler.started)
        loop.wait_for_in_flight(0)
    assert loop.error is None
    assert loop.client.stored == {P1: (1, "")}


def test_revoking_or_losing_unassigned_partitions_changes_nothing():
    loop = Loop()
    with loop.running(0):
        loop.client.revoke(2)
        loop.client.lose(3)
        loop.client.ask("a")
        loop.wait_for_started("a")
    assert loop.client.stored == {P0: (1, "")}


# --- commits ---------------------------------------------------------------------------------------------------------


def test_commits_in_the_background_once_a_second():
    loop = Loop()
    with loop.running(0):
        loop.pass_time(1)
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(0)
        loop.turn()
        assert loop.client.commits == []
        loop.pass_time(1)
        assert loop.client.commits == [("async", {P0: (1, "")})]
        loop.pass_time(1)
        assert len(loop.client.commits) == 1, "nothing new"


def test_commits_messages_that_finish_out_of_order():
    loop = Loop(Limits(concurrency=4))
    loop.handler.hold("a", "c")
    with loop.running(0):
        loop.client.ask("a", "b", "c", "d")
        loop.wait_for_started("a", "b", "c", "d")
        loop.wait_for_in_flight(2)
        loop.pass_time(1)
        assert loop.client.stored == {P0: (0, "1+1,1+1")}
        loop.handler.release("a")
        loop.wait_for_in_flight(1)
        loop.pass_time(1)
        assert loop.client.stored == {P0: (2, "1+1")}
        loop.handler.release("c")
        loop.wait_for_in_flight(0)
        loop.pass_time(1)
        assert loop.client.stored == {P0: (4, "")}


def test_a_message_is_finished_when_all_its_outgoing_messages_are_acknowledged():
    loop = Loop(a=to(topics.VALIDATED, count=2))
    loop.producer.answer = lambda _: HELD
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for(lambda: len(loop.producer.sent) == 2)
        loop.producer.answer_held()
        loop.pass_time(1)
        assert loop.client.stored == {P0: (0, "")}
        loop.producer.answer_held()
        loop.pass_time(1)
        assert loop.client.stored == {P0: (1, "")}


def test_a_failed_commit_is_repeated_with_the_next_one(logs):
    loop = Loop()
    loop.client.commit_errors += [NO_BROKER, None]
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(0)
        loop.pass_time(1)
        loop.pass_time(1)
        loop.pass_time(1)
    failed = [each for each in loop.client.commits if each[1] == {P0: (1, "")}]
    assert failed == [("async", {P0: (1, "")})] * len(failed)
    assert loop.client.stored == {P0: (1, "")}
    assert len(events(logs, "failed to commit; trying again")) == 1


def test_a_commit_that_failed_for_one_partition_is_repeated_for_it_only():
    loop = Loop()
    loop.client.partition_errors = {P1}
    with loop.running(0, 1):
        loop.pass_time(1)
        loop.client.ask("a", partition=0)
        loop.client.ask("b", partition=1)
        loop.wait_for_started("a", "b")
        loop.wait_for_in_flight(0)
        loop.pass_time(1)
        assert loop.client.commits == [("async", {P0: (1, ""), P1: (1, "")})]
        loop.client.partition_errors.clear()
        loop.pass_time(1)
        assert loop.client.commits[1:] == [("async", {P1: (1, "")})]
        loop.pass_time(1)
    assert len(loop.client.commits) == 2


# --- room, prefetching and fairness ----------------------------------------------------------------------------------


def test_starts_as_many_messages_as_there_is_room_for():
    loop = Loop(ROOM_FOR_ONE_OF_EACH_PARTITION)
    loop.handler.hold("a", "b")
    with loop.running(0, 1):
        loop.client.ask("a", "b", "c")
        loop.wait_for_started("a", "b")
        loop.turn()
        assert sorted(loop.handler.started) == ["a", "b"]
        loop.handler.release("a")
        loop.wait_for_started("a", "b", "c")


def test_starts_messages_until_the_limit_of_bytes_is_reached():
    size = len(samples.question(question_text="a").to_bytes())
    loop = Loop(Limits(concurrency=4, in_flight_bytes=size + 1))
    loop.handler.hold("a", "b")
    with loop.running(0):
        loop.client.ask("a", "b", "c")
        loop.wait_for_started("a", "b")
        loop.turn()
        assert sorted(loop.handler.started) == ["a", "b"], "the last one may exceed the limit"
        loop.handler.release("a")
        loop.handler.release("b")
        loop.wait_for_started("a", "b", "c")


def test_messages_waiting_for_a_retry_take_up_room_but_no_thread():
    loop = Loop(Limits(concurrency=1, in_flight=4, of_group=4), a=Unavailable("down"))
    loop.handler.hold("b")
    with loop.running(0, 1):
        loop.client.ask("a", "b", "c")
        loop.wait_for_started("a", "b")
        loop.turn()
        assert loop.handler.started == ["a", "b"]
        loop.handler.release("b")
        loop.wait_for_started("a", "b", "c")


def test_the_group_limit_is_shared_in_proportion_to_the_partitions():
    loop = Loop(Limits(concurrency=9, in_flight=5, of_group=4))
    texts = [f"q{number}" for number in range(9)]
    loop.handler.hold(*texts)
    with loop.running(0, 1):
        loop.client.ask(*texts, partition=0)
        loop.wait_for_in_flight(3)  # one of the member's own limit, and two of the four of the group
        loop.turn()
        assert len(loop.handler.started) == 3
        loop.client.assign(2)
        loop.wait_for_in_flight(4)


def test_partitions_with_a_backlog_are_served_in_turn():
    loop = Loop(Limits(concurrency=1, in_flight=4, of_group=4))
    loop.handler.hold(*(f"first {number}" for number in range(4)))
    for number in range(3):
        loop.client.write(
            *[samples.question().to_bytes()] * 5, partition=number, key=samples.question().question_id.encode()
        )
    with loop.running(3):
        loop.client.ask(*(f"first {number}" for number in range(4)), partition=3)
        loop.wait_for_in_flight(1)
        loop.client.assign(0, 1, 2)
        loop.wait_for_in_flight(4)
        loop.wait_for(lambda: all(loop.client.positions[PENDING, number] == 5 for number in range(3)))
        loop.handler.release_all()
        loop.wait_for(lambda: len(loop.handler.sources) == 19)
    served = [each.partition for each in loop.handler.sources if each.partition != 3]
    assert all(set(served[turn : turn + 3]) == {0, 1, 2} for turn in range(0, 15, 3)), served


def test_a_partition_is_paused_while_its_buffer_is_full_so_that_others_are_read():
    loop = Loop(Limits(concurrency=1, in_flight=1))
    loop.handler.hold("first")
    with loop.running(0, 1):
        loop.client.ask("first", *["more"] * (2 * MAX_RECORDS), partition=0)
        loop.client.ask("other", partition=1)
        loop.wait_for(lambda: loop.client.positions[P1] == 1, "partition 1 starves")
        assert loop.client.paused == {P0}
        assert MAX_RECORDS < loop.client.positions[P0] < 2 * MAX_RECORDS
        loop.handler.release("first")
        loop.wait_for(lambda: len(loop.handler.started) == 2 * MAX_RECORDS + 2)
        loop.turn()
        assert loop.client.paused == set()
    assert loop.client.stored == {P0: (2 * MAX_RECORDS + 1, ""), P1: (1, "")}


# --- retries and faults ----------------------------------------------------------------------------------------------


def test_retries_an_unavailable_dependency_until_it_is_back():
    waits = [0.5, 1, 2, 4, 8, 8]
    loop = Loop(a=[Unavailable("down")] * len(waits) + [to(topics.VALIDATED)])
    with loop.running(0):
        loop.client.ask("a")
        for number, wait in enumerate(waits, 1):
            loop.wait_for_started(*["a"] * number)
            loop.wait_for_scheduled(1)
            loop.pass_time(wait - 0.01)
            assert loop.handler.started == ["a"] * number, "too early"
            loop.pass_time(0.01)
        loop.wait_for(lambda: loop.producer.sent)
        loop.wait_for_in_flight(0)
    assert [each.topic for each in loop.producer.sent] == [topics.VALIDATED]
    assert loop.client.stored == {P0: (1, "")}


def test_a_waiting_message_does_not_block_others():
    loop = Loop(Limits(concurrency=1), a=Unavailable("down", 8))
    with loop.running(0):
        loop.client.ask("a", "b", "c")
        loop.wait_for_started("a", "b", "c")
        loop.wait_for_in_flight(1)
    assert loop.client.stored == {P0: (0, "1+2")}


def test_a_message_that_always_crashes_the_handler_is_rejected_after_several_attempts():
    loop = Loop(a=KeyError("a bug"))
    with loop.running(0):
        [_] = loop.client.ask("a")
        for number in range(1, FAULT_TRIES + 1):
            loop.wait_for_started(*["a"] * number)
            if number < FAULT_TRIES:
                loop.wait_for_scheduled(1)
            loop.pass_time(8)
        loop.wait_for(lambda: loop.producer.sent)
        loop.wait_for_in_flight(0)
    [outgoing] = loop.producer.sent
    assert (outgoing.topic, outgoing.message.reason) == (topics.PERMANENT, "internal_error")
    assert outgoing.message.error == "KeyError: 'a bug'"
    assert loop.client.stored == {P0: (1, "")}


def test_a_system_exit_in_a_handler_ends_the_loop():
    loop = Loop(Limits(drain_seconds=0), a=SystemExit(3))
    with loop.running(0):
        loop.client.ask("a")
        assert isinstance(loop.wait_until_ended(), SystemExit)
    assert loop.client.closed
    assert loop.client.stored == {P0: (0, "")}


def test_an_unreadable_message_is_forwarded_with_its_bytes():
    loop = Loop()
    with loop.running(0):
        loop.client.write(b"{not json")
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(0)
    [outgoing] = loop.producer.sent
    assert (outgoing.topic, outgoing.key, outgoing.message.reason) == (topics.PERMANENT, b"k", "malformed")
    assert base64.b64decode(outgoing.message.value_base64) == b"{not json"
    assert (outgoing.message.source.partition, outgoing.message.source.offset) == (0, 0)
    assert loop.client.stored == {P0: (2, "")}


def test_too_many_unreadable_messages_of_a_partition_end_the_loop():
    loop = Loop(Limits(drain_seconds=0), poison_limit=3)
    with loop.running(0, 1):
        loop.client.ask("a", "b", "c", "d", partition=1)
        loop.wait_for_started("a", "b", "c", "d")
        loop.client.write(*[b"{not json"] * 4)
        error = loop.wait_until_ended()
    assert isinstance(error, TooManyUnreadable)
    assert len(loop.producer.sent) == 3, "the last one is left unfinished"
    assert loop.client.stored == {P0: (3, ""), P1: (4, "")}


def test_messages_due_later_are_sent_when_they_are_due():
    loop = Loop(a=to(topics.VALIDATED, seconds=60, count=2))
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_scheduled(2)
        loop.pass_time(59.5)
        assert loop.producer.sent == []
        loop.pass_time(0.5)
        assert len(loop.producer.sent) == 2
        loop.wait_for_in_flight(0)
    assert loop.client.stored == {P0: (1, "")}


# --- delivery --------------------------------------------------------------------------------------------------------


def test_a_failed_delivery_ends_the_loop_and_its_message_is_not_committed():
    loop = Loop(Limits(drain_seconds=0), b=to(topics.VALIDATED))
    loop.producer.answer = lambda _: KafkaError(KafkaError._MSG_TIMED_OUT)
    with loop.running(0):
        loop.client.ask("a", "b", "c")
        error = loop.wait_until_ended()
    assert isinstance(error, KafkaException)
    assert error.args[0].code() == KafkaError._MSG_TIMED_OUT
    assert loop.client.closed
    assert loop.client.stored[P0][0] == 1


def test_the_first_of_several_failures_is_raised():
    loop = Loop(Limits(drain_seconds=0), a=to(topics.VALIDATED, count=2))
    errors = iter([KafkaError(KafkaError._MSG_TIMED_OUT), NO_BROKER])
    loop.producer.answer = lambda _: next(errors)
    with loop.running(0):
        loop.client.ask("a")
        error = loop.wait_until_ended()
    assert error.args[0].code() == KafkaError._MSG_TIMED_OUT


def test_a_message_that_the_broker_finds_too_large_becomes_a_dead_letter():
    loop = Loop(a=to(topics.VALIDATED))
    loop.producer.answer = lambda outgoing: None if outgoing.topic == topics.PERMANENT else TOO_LARGE
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for(lambda: len(loop.producer.sent) == 2)
        loop.wait_for_in_flight(0)
    assert [each.topic for each in loop.producer.sent] == [topics.VALIDATED, topics.PERMANENT]
    letter = loop.producer.sent[1].message
    assert letter.reason == "internal_error"
    assert topics.VALIDATED in letter.error
    assert loop.client.stored == {P0: (1, "")}


def test_a_dead_letter_that_the_broker_finds_too_large_ends_the_loop():
    loop = Loop(Limits(drain_seconds=0))
    loop.producer.answer = lambda _: TOO_LARGE
    with loop.running(0):
        loop.client.write(b"{not json")
        error = loop.wait_until_ended()
    assert error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert loop.client.stored == {P0: (0, "")}


def test_too_many_messages_that_the_broker_finds_too_large_end_the_loop():
    loop = Loop(Limits(drain_seconds=0), poison_limit=1, a=to(topics.VALIDATED, count=2))
    loop.producer.answer = lambda outgoing: None if outgoing.topic == topics.PERMANENT else TOO_LARGE
    with loop.running(0):
        loop.client.ask("a")
        assert isinstance(loop.wait_until_ended(), TooManyUnreadable)
    assert loop.client.stored == {P0: (0, "")}


# --- errors of the client --------------------------------------------------------------------------------------------


def test_a_fatal_error_of_the_client_ends_the_loop():
    loop = Loop()
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(0)
        loop.client.inject(KafkaError._FATAL, fatal=True)
        error = loop.wait_until_ended()
    assert isinstance(error, KafkaException)
    assert loop.client.closed
    assert loop.client.stored == {P0: (1, "")}


def test_other_errors_of_the_client_are_logged(logs):
    loop = Loop()
    with loop.running(0):
        loop.client.inject(KafkaError._ALL_BROKERS_DOWN)
        loop.client.ask("a")
        loop.wait_for_started("a")
    assert loop.error is None
    assert [each["error"] for each in events(logs, "met a Kafka error")] == ["as the test says"]


# --- health ----------------------------------------------------------------------------------------------------------


def test_the_heartbeat_continues_while_there_are_no_messages():
    loop = Loop()
    with loop.running(0):
        beats = loop.heartbeat.beats
        loop.wait_for(lambda: loop.heartbeat.beats > beats)


def test_the_heartbeat_stops_while_a_handler_hangs():
    loop = Loop(Limits(stalled_seconds=20))
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
        loop.turn()
        loop.pass_time(19)
        beats = loop.heartbeat.beats
        loop.wait_for(lambda: loop.heartbeat.beats > beats)
        loop.pass_time(1)
        beats = loop.heartbeat.beats
        loop.turn()
        assert loop.heartbeat.beats == beats
        loop.handler.release("a")
        loop.wait_for(lambda: loop.heartbeat.beats > beats)


def test_the_heartbeat_stops_while_a_growing_partition_is_not_read(logs):
    loop = Loop()
    with loop.running(0, 1):
        loop.admin.ends = {P0: 0, P1: 0}
        for end in (0, 1, 2):
            loop.admin.ends[P0] = end
            loop.pass_time(5)
        loop.pass_time(5)
        beats = loop.heartbeat.beats
        loop.turn()
        assert loop.heartbeat.beats == beats
        loop.client.ask("a", "b")
        loop.wait_for_started("a", "b")
        loop.wait_for_in_flight(0)
        loop.pass_time(5)
        loop.wait_for(lambda: loop.heartbeat.beats > beats)
    stalled = events(logs, "read nothing of partitions that grow")
    assert [each["partitions"] for each in stalled] == [[f"{PENDING}/0"]]


def test_a_partition_that_is_not_read_because_of_the_in_flight_limit_is_not_stalled():
    loop = Loop(Limits(concurrency=2, in_flight=4, of_group=4, stalled_seconds=1000))
    loop.handler.hold("a", "b")
    with loop.running(0, 1):
        loop.client.ask("a", "b", partition=1)
        loop.wait_for_started("a", "b")
        loop.turn()
        for end in range(5):
            loop.admin.ends = {P0: end, P1: end}
            loop.pass_time(5)
        beats = loop.heartbeat.beats
        loop.wait_for(lambda: loop.heartbeat.beats > beats)


# --- shutdown --------------------------------------------------------------------------------------------------------


def test_stop_finishes_messages_in_flight_commits_and_leaves(logs):
    loop = Loop()
    loop.handler.hold("a")
    with loop.running(0):
        loop.client.ask("a", "b")
        loop.wait_for_started("a")
        loop.wait_for_in_flight(2)
        loop.stop.set()
        loop.wait_for(lambda: events(logs, "gave partitions back"))
        assert not loop.client.closed
    assert loop.client.closed
    assert loop.handler.started == ["a"]
    assert loop.client.commits[-1] == ("sync", {P0: (1, "")})
    assert [each["event"] for each in logs[-3:]] == [
        "stopped reading; draining messages in flight",
        "gave partitions back",
        "left the group",
    ]


def test_stop_leaves_messages_that_are_not_due_yet_to_the_next_member():
    loop = Loop(a=to(topics.VALIDATED, seconds=60))
    with loop.running(0):
        loop.client.ask("a")
        loop.wait_for_started("a")
    assert loop.producer.sent == []
    assert loop.client.stored.get(P0, (0, "")) == (0, "")


def test_stop_before_the_first_assignment_commits_nothing():
    loop = Loop()
    loop.stop.set()
    with loop.running():
        pass
    assert loop.error is None
    assert loop.client.closed
    assert loop.client.commits == []


def test_a_new_loop_calls_no_client_and_starts_no_thread():
    threads = threading.active_count()
    loop = Loop()
    assert (loop.client.threads, loop.client.subscribed, loop.admin.asked) == (set(), None, [])
    assert threading.active_count() == threads
