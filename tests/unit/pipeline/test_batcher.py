import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from pipeline.batcher import Batcher
from pipeline.errors import Unavailable

SECONDS = 10


class Work:
    """Doubles numbers; each call blocks until `go` is set."""

    def __init__(self, wrong=()):
        self.calls = []
        self.begun, self.go = threading.Event(), threading.Event()
        self._wrong = wrong

    def __call__(self, items):
        self.calls.append(list(items))
        self.begun.set()
        assert self.go.wait(SECONDS)
        for item in items:
            if item in self._wrong:
                raise self._wrong[item]
        return [item * 2 for item in items]


@pytest.fixture
def threads():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def run_queued(work, threads, items, most=64):
    """Queues items behind a first item 0, runs them, and returns the futures of all."""
    batcher = Batcher(work, most)
    futures = [threads.submit(batcher.do, 0)]
    assert work.begun.wait(SECONDS)
    for number, item in enumerate(items, 2):
        futures.append(threads.submit(batcher.do, item))
        deadline = time.monotonic() + SECONDS
        while len(batcher) < number:
            assert time.monotonic() < deadline, "it did not queue up"
    work.go.set()
    assert not wait(futures, SECONDS).not_done
    return futures


def test_a_single_caller_does_not_wait():
    work = Work()
    work.go.set()
    batcher = Batcher(work)
    assert [batcher.do(1), batcher.do(2)] == [2, 4]
    assert work.calls == [[1], [2]]


def test_items_that_arrive_during_a_batch_form_the_next_batch(threads):
    work = Work()
    futures = run_queued(work, threads, [1, 2, 3])
    assert [each.result() for each in futures] == [0, 2, 4, 6]
    assert work.calls == [[0], [1, 2, 3]]


def test_the_size_of_a_batch_is_limited(threads):
    work = Work()
    futures = run_queued(work, threads, [1, 2, 3], most=2)
    assert [each.result() for each in futures] == [0, 2, 4, 6]
    assert work.calls == [[0], [1, 2], [3]]


def test_an_error_is_raised_only_for_the_item_that_caused_it(threads):
    work = Work({2: ValueError("two")})
    _, one, two, three = run_queued(work, threads, [1, 2, 3])
    assert (one.result(), three.result()) == (2, 6)
    with pytest.raises(ValueError, match="two"):
        two.result()


def test_unavailable_is_raised_for_all_items_of_a_batch(threads):
    work = Work({2: Unavailable("down")})
    for each in run_queued(work, threads, [1, 2, 3])[1:]:
        with pytest.raises(Unavailable):
            each.result()
    assert work.calls == [[0], [1, 2, 3]]


def test_each_caller_gets_its_own_result_under_load(threads):
    with ThreadPoolExecutor(32) as many:
        batcher = Batcher(lambda items: [item + 1 for item in items], max_batch=5)
        assert list(many.map(batcher.do, range(5000))) == list(range(1, 5001))
    assert len(batcher) == 0
