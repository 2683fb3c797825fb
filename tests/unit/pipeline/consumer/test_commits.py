import threading

import pytest
import structlog
from confluent_kafka import KafkaError

from pipeline.consumer.commits import INTERVAL_SECONDS, LAST_COMMIT_SECONDS, RETRY_SECONDS, Commits
from pipeline.consumer.partitions import Partition
from pipeline.offsets import Progress
from tests.unit.pipeline.consumer.fakes import PENDING, FakeConsumer, FakeTime, World, partition

KEY = (PENDING, 0)
REBALANCING = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)


@pytest.fixture
def client():
    return FakeConsumer(World())


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def partitions():
    return {KEY: Partition()}


@pytest.fixture
def commits(client, partitions, time):
    def sleep(seconds):
        time.seconds += seconds

    commits = Commits(client, partitions, threading.Condition(), time.monotonic, sleep)
    client.subscribe([PENDING], None, None, None, commits.on_commit)
    return commits


def finish(partitions, *offsets):
    for offset in offsets:
        partitions[KEY].watermark.start(offset)
    for offset in offsets:
        partitions[KEY].watermark.finish(offset)


def test_read_committed_returns_the_progress_of_earlier_members(client, commits):
    client.stored[KEY] = (5, "2+3")
    assert commits.read_committed([partition(0), partition(1)]) == {
        KEY: Progress(5, (range(7, 10),)),
        (PENDING, 1): None,
    }


def test_commits_at_most_once_per_interval(client, commits, partitions, time):
    finish(partitions, 0)
    commits.commit_finished()
    finish(partitions, 1)
    time.seconds += INTERVAL_SECONDS - 0.01
    commits.commit_finished()
    assert client.commits == [("async", {KEY: (1, "")})]
    time.seconds += 0.01
    commits.commit_finished()
    assert client.commits[1:] == [("async", {KEY: (2, "")})]


def test_committed_progress_is_not_committed_again(client, commits, partitions, time):
    finish(partitions, 0)
    commits.commit_finished()
    assert commits.uncommitted(partitions), "the result has not been reported yet"
    client.poll(0)
    assert commits.uncommitted(partitions) == []
    finish(partitions, 1)
    assert [each.offset for each in commits.uncommitted(partitions)] == [2]


def test_commit_results_of_removed_partitions_are_ignored(client, commits, partitions):
    finish(partitions, 0)
    commits.commit_finished()
    gone = partitions.pop(KEY)
    client.poll(0)
    assert gone.committed is None


def test_the_last_commit_is_retried_until_it_succeeds(client, commits, time):
    client.commit_errors += [REBALANCING] * 3
    commits.commit_last([partition(offset=7)])
    assert client.commits == [("sync", {KEY: (7, "")})] * 4
    assert client.stored == {KEY: (7, "")}
    assert time.seconds == pytest.approx(1000 + 3 * RETRY_SECONDS)


def test_retries_of_the_last_commit_end_after_a_time_limit(client, commits, time):
    client.commit_errors += [REBALANCING] * 100
    with structlog.testing.capture_logs() as logs:
        commits.commit_last([partition(offset=7)])
    assert client.stored == {}
    assert LAST_COMMIT_SECONDS < time.seconds - 1000 < LAST_COMMIT_SECONDS + 2 * RETRY_SECONDS
    assert [each["event"] for each in logs][-1] == "failed to commit; messages will be read again"
