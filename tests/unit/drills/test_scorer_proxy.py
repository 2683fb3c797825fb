import asyncio
import json

import pytest

from flink_job.scoring import LONGEST_TIMEOUT_SECONDS, parse
from tests.drills import scorer_proxy
from tests.drills.faults import ALL
from tests.drills.faults.network import SpoilScorer

GOOD = 0.5


@pytest.mark.parametrize("mode", ["nan", "range"])
def test_in_a_spoilt_answer_nothing_but_the_score_is_wrong(mode):
    body = asyncio.run(scorer_proxy.MODES[mode](None)).body
    with pytest.raises(ValueError, match="is not from -1 to 1"):
        parse(body)
    assert parse(json.dumps(json.loads(body) | {"score": GOOD}).encode()).score == GOOD


def test_a_slow_answer_comes_after_the_first_time_outs_but_comes():
    assert scorer_proxy.SLOW_SECONDS == 30 < LONGEST_TIMEOUT_SECONDS


def test_every_way_to_spoil_the_scorer_is_drilled():
    assert {fault.mode for fault in ALL.values() if isinstance(fault, SpoilScorer)} == {*scorer_proxy.MODES}
