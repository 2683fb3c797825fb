from decimal import Decimal

from judge_service.cache import TTL_SECONDS, JudgementCache
from pipeline.messages import Judgement
from tests.unit.judge_service.fakes import FakeRedis

JUDGEMENT = Judgement(
    probability=0.25, problem="wrong", model="m", prompt_tokens=210, completion_tokens=1, cost=Decimal("0.000214000")
)


def test_a_judgement_is_kept_for_an_hour_with_its_tokens_and_cost():
    redis = FakeRedis()
    cache = JudgementCache(redis)
    cache.put("a", JUDGEMENT)
    assert cache.get("a") == JUDGEMENT
    assert cache.get("b") is None
    assert redis.seconds == [TTL_SECONDS]


def test_an_entry_of_another_version_is_ignored():
    redis = FakeRedis()
    cache = JudgementCache(redis)
    cache.put("a", JUDGEMENT)
    redis.stored = dict.fromkeys(redis.stored, b'{"chance": 1}')
    assert cache.get("a") is None
