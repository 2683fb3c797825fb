import math

import pytest

from studies.reporting.statistics import bootstrap, percentile, spearman


class TestPercentile:
    def test_nearest_rank(self):
        values = [float(number) for number in range(100, 0, -1)]
        assert [percentile(values, share) for share in (0.01, 0.5, 0.99, 1)] == [1, 50, 99, 100]
        assert percentile([7.0], 0.99) == 7

    @pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0), ([1.0], 1.1)])
    def test_there_is_none_of_nothing(self, values, share):
        with pytest.raises(ValueError, match="no percentile"):
            percentile(values, share)


def test_rank_correlation():
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_one_unit_has_no_interval():
    assert bootstrap(["q"], len) == (1, 1, 1)
