import math

import pytest

from score_validator.scorer import Unscorable, checked


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(3))
def test_a_score_that_is_no_number_is_never_sent(wrong, place):
    numbers = [0.5, 0.5, 0.5]
    numbers[place] = wrong
    result = checked(*numbers, ())
    assert isinstance(result, Unscorable)
    assert "cannot be scored" in str(result)


def test_a_negative_score_is_a_score():
    assert checked(-0.1, 0.2, -0.4, ("reference",)).truncated == ("reference",)
