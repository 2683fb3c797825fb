from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.offsets import LowWatermark
from pipeline.schedule import Schedule
from tests.unit.samples import NOW


def test_nothing_is_committed_past_a_message_in_flight():
    watermark = LowWatermark()
    for offset in (5, 6, 7):
        watermark.start(offset)
    assert watermark.finish(7) is None
    assert watermark.finish(6) is None
    assert watermark.finish(5) == 8
    assert len(watermark) == 0


@given(st.permutations(list(range(0, 24, 2))), st.integers(0, 12))
def test_the_watermark_is_the_first_unfinished_offset(order, count):
    watermark = LowWatermark()
    for offset in sorted(order):  # gaps, as in a compacted or transactional topic
        watermark.start(offset)
    committed = 0
    for offset in order[:count]:
        committed = watermark.finish(offset) or committed
    unfinished = set(order[count:])
    assert all(offset >= committed for offset in unfinished)
    finished_head = [o for o in sorted(order) if o < min(unfinished, default=99)]
    assert committed == (finished_head[-1] + 1 if finished_head else 0)


def test_a_long_wait_delays_nobody():
    schedule = Schedule()
    schedule.add(NOW + timedelta(seconds=60), "long")
    schedule.add(NOW + timedelta(seconds=2), "short")
    assert schedule.pop_due(NOW + timedelta(seconds=1)) == []
    assert schedule.pop_due(NOW + timedelta(seconds=2)) == ["short"]
    assert schedule.pop_due(NOW + timedelta(seconds=60)) == ["long"]
    assert len(schedule) == 0


@given(st.lists(st.integers(0, 100)), st.integers(0, 100))
def test_exactly_the_due_leave_earliest_first(delays, elapsed):
    schedule = Schedule()
    for number, delay in enumerate(delays):
        schedule.add(NOW + timedelta(seconds=delay), (delay, number))
    due = schedule.pop_due(NOW + timedelta(seconds=elapsed))
    assert due == sorted((delay, number) for number, delay in enumerate(delays) if delay <= elapsed)
    assert len(schedule) == len(delays) - len(due)
