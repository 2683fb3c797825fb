import asyncio
import json

import pytest

from flink_job.scoring import TIMEOUTS, parse
from tests.drills import scorer_proxy
from tests.drills.faults import ALL
from tests.drills.faults.network import SpoilScorer

GOOD = 0.5


@pytest.mark.parametrize("mode", ["nan", "range"])
def test_only_the_score_is_invalid_in_a_reply_that_the_proxy_changes(mode):
    body = asyncio.run(scorer_proxy.MODES[mode](None)).body
    with pytest.raises(ValueError, match="is not from -1 to 1"):
        parse(body)
    assert parse(json.dumps(json.loads(body) | {"score": GOOD}).encode()).score == GOOD


def test_a_slow_reply_comes_before_the_longest_timeout():
    assert scorer_proxy.SLOW_SECONDS == 30 < TIMEOUTS.longest_seconds


def test_every_mode_of_the_scorer_proxy_has_a_fault():
    assert {fault.mode for fault in ALL.values() if isinstance(fault, SpoilScorer)} == {*scorer_proxy.MODES}
