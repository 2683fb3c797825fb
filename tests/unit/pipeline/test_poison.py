import threading

import pytest

from pipeline.poison import PoisonLimit, TooManyUnreadable


def test_more_rejections_in_a_row_than_the_limit_are_an_error():
    limit = PoisonLimit(2)
    limit.rejected("not JSON")
    limit.rejected("not JSON")
    with pytest.raises(TooManyUnreadable, match=r"3 of the last 3 messages could .* not JSON"):
        limit.rejected("not JSON")


@pytest.mark.parametrize("others", [1, 5])
def test_rejections_of_at_most_half_of_the_messages_are_tolerated(others):
    limit = PoisonLimit(10)
    for _ in range(1000):
        limit.rejected("empty value")
        for _ in range(others):
            limit.read()


def test_rejections_of_more_than_half_of_the_last_messages_are_an_error():
    limit = PoisonLimit(4)
    for _ in range(1000):
        limit.read()
    for good in (True, False, False, True, False, False):
        if good:
            limit.read()
        else:
            limit.rejected("empty value")
    with pytest.raises(TooManyUnreadable, match="5 of the last 8 messages"):
        limit.rejected("empty value")


def test_rejections_are_counted_separately_for_each_partition():
    limit = PoisonLimit(100)
    for _ in range(100):
        limit.rejected("bad deployment", "validated-responses/0")
        limit.read("low-quality-responses/0")
        limit.read("validated-responses/1")
    with pytest.raises(TooManyUnreadable, match="101 of the last 101 messages of validated-responses/0"):
        limit.rejected("bad deployment", "validated-responses/0")


def test_rejections_by_all_threads_are_counted():
    limit = PoisonLimit(8000)
    threads = [
        threading.Thread(target=lambda: [limit.rejected("bad", "t/0") for _ in range(1000)], daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(TooManyUnreadable, match="8001 of the last 8001"):
        limit.rejected("bad", "t/0")
