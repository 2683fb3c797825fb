from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.delays import OVERLOAD, QUOTA
from tests.unit.samples import NOW, failed_call


def seconds_until_due(delays, failed, chance=0.0):
    return (delays.due_at(failed, chance) - NOW).total_seconds()


@pytest.mark.parametrize(
    ("delays", "retries", "asked", "seconds"),
    [
        (OVERLOAD, 0, None, 2),
        (OVERLOAD, 1, None, 4),
        (OVERLOAD, 2, None, 8),
        (OVERLOAD, 3, None, 8),
        (OVERLOAD, 0, 1, 2),
        (OVERLOAD, 0, 12.5, 12.5),
        (QUOTA, 0, None, 60),
        (QUOTA, 2, 30, 60),
        (QUOTA, 0, 90, 90),
        (replace(QUOTA, longest_seconds=600), 0, 86_400, 600),
    ],
)
def test_the_longer_of_delay_and_requested_wait_counts_from_the_failure(delays, retries, asked, seconds):
    assert seconds_until_due(delays, failed_call(retry_count=retries, retry_after=asked)) == seconds


@pytest.mark.parametrize(
    ("delays", "times", "seconds"),
    [(OVERLOAD, 1, 2), (OVERLOAD, 3, 8), (OVERLOAD, 6, 60), (OVERLOAD, 99, 60), (QUOTA, 1, 60), (QUOTA, 9, 60)],
)
def test_calls_that_use_no_retry_are_repeated_at_growing_intervals(delays, times, seconds):
    assert seconds_until_due(delays, failed_call(counts=False, times=times)) == seconds


@pytest.mark.parametrize(("waited", "seconds"), [(0, 3600), (3000, 600), (9999, 60)])
def test_a_wait_is_limited_by_the_remaining_patience(waited, seconds):
    failed = failed_call("quota", counts=False, retry_after=7200, waiting_since=NOW - timedelta(seconds=waited))
    assert seconds_until_due(replace(QUOTA, patience_seconds=3600), failed) == seconds


@given(
    st.sampled_from([OVERLOAD, QUOTA]),
    st.integers(0, 3),
    st.none() | st.floats(0, 1e9),
    st.floats(0, 1),
)
def test_a_retry_is_never_early_and_at_most_the_jitter_late(delays, retries, asked, chance):
    failed = failed_call(retry_count=retries, retry_after=asked)
    exact = seconds_until_due(delays, failed)
    assert 0 <= round(seconds_until_due(delays, failed, chance) - exact, 3) <= delays.jitter_seconds
    assert exact >= max(delays.seconds[0], min(asked or 0, delays.longest_seconds)) - 1e-3
