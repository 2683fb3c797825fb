from datetime import timedelta

import pytest

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
    assert delays.due_at(NOW, retries, asked) == NOW + timedelta(seconds=seconds)
