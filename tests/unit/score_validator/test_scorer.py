import math

import pytest

from score_validator.encoder import EncoderError
from score_validator.scorer import Unscorable, checked, load_scorer
from score_validator.settings import ScorerSettings


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


@pytest.mark.parametrize(
    "other", [{"bertscore_layer": 6}, {"bertscore_model": "roberta-large"}, {"scorer_device": "cuda"}]
)
def test_int8_is_for_the_embedded_encoder_on_the_cpu(other):
    with pytest.raises(EncoderError, match="SCORER_PRECISION"):
        load_scorer(ScorerSettings(scorer_precision="int8", **other))
