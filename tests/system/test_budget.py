"""The count of the day's budget in the fleet's Redis, of which llm-consumers without a budget know nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from llm_consumer.budget import DayBudget, Limits
from llm_consumer.settings import LlmSettings
from llm_consumer.spending import Spent, spent_on
from pipeline import budget
from pipeline.volatile import Volatile

DAY = date(1999, 12, 31)


@pytest.fixture
def redis():
    redis = Volatile(LlmSettings(), "tests")
    redis.ping()
    redis.attempt(lambda client: client.delete(budget.key(DAY)))
    yield redis
    redis.attempt(lambda client: client.delete(budget.key(DAY)))


def replica(redis, spent=0):
    noon = datetime(1999, 12, 31, 12, tzinfo=UTC)
    limits = Limits.of(1_000, Decimal(900_000))
    return DayBudget(redis, limits, Spent(DAY, spent), lambda: noon, lambda note: None)


def test_replicas_share_a_count_that_stays_exact_and_outlives_its_key(redis):
    first, second = replica(redis, spent=100), replica(redis, spent=100)
    first.charge(10, Decimal("800000.000000001"))
    second.charge(20, Decimal("0.000000001"))
    seen = budget.read(DAY, redis.attempt(lambda client: client.hgetall(budget.key(DAY))))
    assert (seen.spent_tokens, seen.spent_cost) == (130, Decimal("800000.000000002"))
    assert (seen.budget_tokens, seen.budget_cost, seen.paused) == (1_000, Decimal(900_000), False)
    assert redis.attempt(lambda client: client.ttl(budget.key(DAY))) > 86_400
    redis.attempt(lambda client: client.delete(budget.key(DAY)))
    assert second.closed_seconds() == 0
    first.charge(870, None)
    assert second.closed_seconds() == 12 * 3600


def test_none_is_lost_when_many_count_at_once(redis):
    replicas = [replica(redis) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: replicas[number % 4].charge(1, None), range(200)))
    seen = budget.read(DAY, redis.attempt(lambda client: client.hgetall(budget.key(DAY))))
    assert seen.spent_tokens == 200


def test_what_was_spent_today_stands_in_the_topics(fleet):
    """All that the tables know of; they know less after a question was started anew."""
    today = datetime.now(UTC).date()
    spent = spent_on(today, LlmSettings(), threading.Event())
    [known] = fleet.sql(
        "SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens FROM attempts "
        "WHERE (generated_at AT TIME ZONE 'UTC')::date = (now() AT TIME ZONE 'UTC')::date"
    )
    assert spent.day == today
    assert spent.tokens >= known["tokens"]
