"""Confidence intervals against tabulated quantiles."""

import pytest

from viz_service.confidence import mean_interval, t_quantile


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (4, 2.776), (10, 2.228), (11, 2.201), (15, 2.131), (30, 2.042), (100, 1.984), (10_000, 1.960)],
)
def test_quantiles_equal_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=0.001)


def test_interval_lies_around_the_mean() -> None:
    low, high = mean_interval(0.1, 0.05, 100) or (0, 0)
    assert (low, high) == (pytest.approx(0.0901, abs=1e-4), pytest.approx(0.1099, abs=1e-4))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_values_have_no_interval(count: int) -> None:
    assert mean_interval(0.1, 0.0, count) is None
