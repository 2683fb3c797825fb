import pytest

from flink_job import results
from flink_job.scoring import Rejected
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
def test_a_result_is_the_same_after_it_was_sent_as_text(result):
    assert results.load(results.dump(result)) == result
