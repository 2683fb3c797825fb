from decimal import Decimal

import pytest

from flink_job.client import Rejected
from flink_job.results import JUDGEMENT, SCORE
from pipeline.messages import Judgement
from pipeline.routing import BertScore, NoScore


@pytest.mark.parametrize(
    "result",
    [
        BertScore(0.1 + 0.2, -1.0, 1.0, 1e-9, "encoder/layer5", 3, ("truncated", "repetition")),
        BertScore(0.5, 0.5, 0.5, 0.5, "encoder"),
        NoScore("other_language", True, ("truncated",)),
        Rejected(422, 'no "words"\n\u2028'),
        None,
    ],
)
def test_a_score_is_the_same_after_it_was_sent_as_text(result):
    assert SCORE.load(SCORE.dump(result)) == result


@pytest.mark.parametrize(
    "result",
    [
        Judgement(probability=0.1 + 0.2, problem="wrong", model="a b", prompt_tokens=1, cost=Decimal("0.000000001")),
        Judgement(probability=None, problem="refused", model="m"),
        None,
    ],
)
def test_a_judgement_is_the_same_after_it_was_sent_as_text(result):
    assert JUDGEMENT.load(JUDGEMENT.dump(result)) == result
