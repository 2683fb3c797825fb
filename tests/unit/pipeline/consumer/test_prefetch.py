import pytest

from pipeline.consumer.prefetch import MAX_BYTES, MAX_RECORDS, Prefetcher
from tests.unit.pipeline.consumer.fakes import PENDING, FakeConsumer, World, record

P0, P1, P2 = ((PENDING, number) for number in range(3))


@pytest.fixture
def client():
    return FakeConsumer(World())


@pytest.fixture
def prefetcher(client):
    prefetcher = Prefetcher(client)
    for key in (P0, P1, P2):
        prefetcher.add(key)
    return prefetcher


def fill(prefetcher, number, count=MAX_RECORDS, size=1):
    for offset in range(count):
        prefetcher.put(record(b"x" * size, offset, number))


def take_all(prefetcher):
    taken = []
    while each := prefetcher.take():
        taken.append((each[0][1], each[1].offset()))
    return taken


def test_a_new_prefetcher_has_no_records_and_all_partitions_are_idle(prefetcher):
    assert not prefetcher.has_records()
    assert prefetcher.take() is None
    assert prefetcher.idle() == {P0, P1, P2}


def test_partitions_take_turns_and_keep_their_order(prefetcher):
    fill(prefetcher, 0, 4)
    fill(prefetcher, 1, 1)
    fill(prefetcher, 2, 2)
    assert prefetcher.has_records()
    assert take_all(prefetcher) == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (0, 3)]


def test_the_partition_served_most_recently_comes_last(prefetcher):
    fill(prefetcher, 0, 1)
    assert take_all(prefetcher) == [(0, 0)]
    fill(prefetcher, 0, 1)
    fill(prefetcher, 1, 1)
    assert take_all(prefetcher) == [(1, 0), (0, 0)]


@pytest.mark.parametrize(
    ("count", "size", "paused"),
    [(MAX_RECORDS - 1, 1, False), (MAX_RECORDS, 1, True), (8, MAX_BYTES // 8 - 1, False), (8, MAX_BYTES // 8, True)],
)
def test_a_partition_is_paused_when_its_buffer_is_full(client, prefetcher, count, size, paused):
    fill(prefetcher, 1, count, size)
    prefetcher.pause_and_resume()
    assert client.calls == ([("pause", {P1})] if paused else [])


def test_a_partition_is_resumed_when_its_buffer_is_empty(client, prefetcher):
    fill(prefetcher, 1)
    fill(prefetcher, 2)
    prefetcher.pause_and_resume()
    prefetcher.pause_and_resume()
    assert client.calls == [("pause", {P1, P2})], "paused only once"
    for _ in range(2 * MAX_RECORDS - 2):
        prefetcher.take()
    prefetcher.pause_and_resume()
    assert client.calls[1:] == []
    prefetcher.take()
    prefetcher.pause_and_resume()
    assert client.calls[1:] == [("resume", {P1})]
    prefetcher.take()
    prefetcher.pause_and_resume()
    assert client.calls[2:] == [("resume", {P2})]


def test_bytes_of_records_are_counted_until_they_are_taken(client, prefetcher):
    fill(prefetcher, 0, 2, MAX_BYTES // 2)
    prefetcher.pause_and_resume()
    take_all(prefetcher)
    prefetcher.pause_and_resume()
    fill(prefetcher, 0, 1, MAX_BYTES // 2)
    prefetcher.pause_and_resume()
    assert client.calls == [("pause", {P0}), ("resume", {P0})]


def test_a_partition_removed_while_paused_is_resumed_when_it_is_added_again(client, prefetcher):
    fill(prefetcher, 0)
    prefetcher.pause_and_resume()
    prefetcher.remove([P0])
    prefetcher.pause_and_resume()
    assert client.calls == [("pause", {P0})], "a removed partition is not resumed"
    prefetcher.add(P0)
    assert P0 not in prefetcher.idle()
    prefetcher.pause_and_resume()
    assert client.calls[1:] == [("resume", {P0})]
    assert P0 in prefetcher.idle()


def test_idle_partitions_are_not_paused_and_have_no_records(prefetcher):
    fill(prefetcher, 0)
    fill(prefetcher, 1, 1)
    prefetcher.pause_and_resume()
    assert prefetcher.idle() == {P2}
    take_all(prefetcher)
    assert prefetcher.idle() == {P1, P2}, "still paused"


def test_records_of_a_removed_partition_are_dropped(prefetcher):
    fill(prefetcher, 0, 2)
    fill(prefetcher, 1, 1)
    prefetcher.remove([P0, (PENDING, 9)])
    assert take_all(prefetcher) == [(1, 0)]
    with pytest.raises(KeyError):
        prefetcher.put(record(partition=0))
