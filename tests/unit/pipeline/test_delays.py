from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.delays import OVERLOAD, QUOTA
from tests.unit.samples import NOW


@pytest.mark.parametrize(
    ("delays", "retries", "asked", "seconds"),
    [
        (OVERLOAD, 0, None, 2),
        (OVERLOAD, 1, None, 4),
        (OVERLOAD, 2, None, 8),
        (OVERLOAD, 9, None, 8),
        (OVERLOAD, 0, 1, 2),
        (OVERLOAD, 0, 12.5, 12.5),
        (QUOTA, 0, None, 60),
        (QUOTA, 2, 30, 60),
        (QUOTA, 0, 90, 90),
        (QUOTA, 0, 86_400, 600),
    ],
)
def test_the_longer_wait_counts_from_the_failure(delays, retries, asked, seconds):
    assert delays.due_at(NOW, retries, asked, chance=0) == NOW + timedelta(seconds=seconds)


@given(
    st.sampled_from([OVERLOAD, QUOTA]),
    st.integers(0, 5),
    st.none() | st.floats(0, 1e9),
    st.floats(0, 1),
)
def test_a_retry_is_never_early_and_at_most_the_jitter_late(delays, retries, asked, chance):
    exact = delays.due_at(NOW, retries, asked, chance=0)
    late = (delays.due_at(NOW, retries, asked, chance) - exact).total_seconds()
    assert 0 <= late <= delays.jitter_seconds
    assert (exact - NOW).total_seconds() >= max(delays.seconds[0], min(asked or 0, 600))
