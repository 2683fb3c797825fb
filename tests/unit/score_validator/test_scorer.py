import math

import pytest

from score_validator.scorer import Unscorable, checked, scorer_name


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


def test_names(tmp_path):
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    assert scorer_name("", 5) == "all-MiniLM-L6-v2/layer5-idf"
    assert scorer_name("", 6) == "all-MiniLM-L6-v2/layer6"
    assert scorer_name(f"{folder}/", 3) == "my-encoder/layer3"
    assert scorer_name("microsoft/deberta-xlarge-mnli", 40) == "microsoft/deberta-xlarge-mnli/layer40"
