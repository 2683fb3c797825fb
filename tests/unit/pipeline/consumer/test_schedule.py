from hypothesis import given
from hypothesis import strategies as st

from pipeline.consumer.schedule import Schedule


def test_a_long_wait_does_not_delay_shorter_ones():
    schedule = Schedule()
    schedule.add(60, "long")
    schedule.add(2, "short")
    assert schedule.pop_due(1) == []
    assert schedule.pop_due(2) == ["short"]
    assert schedule.pop_due(60) == ["long"]
    assert len(schedule) == 0


@given(st.lists(st.integers(0, 100)), st.integers(0, 100))
def test_pop_due_returns_exactly_the_due_items_earliest_first(delays, elapsed):
    schedule = Schedule()
    for number, delay in enumerate(delays):
        schedule.add(delay, (delay, number))
    due = schedule.pop_due(elapsed)
    assert due == sorted((delay, number) for number, delay in enumerate(delays) if delay <= elapsed)
    assert len(schedule) == len(delays) - len(due)
