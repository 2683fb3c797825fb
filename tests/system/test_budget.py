"""The daily budget: its count in Redis and in the topics, and the pause of calls when it is used up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from llm_consumer.settings import LlmSettings
from llm_consumer.spending import Spending, spending_on
from pipeline import budget
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.providers.day_budget import DayBudget, Limits
from tests.fleet import API, eventually
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

DAY = date(1999, 12, 31)


@pytest.fixture
def redis():
    redis = BestEffortRedis(LlmSettings(), "tests")
    redis.ping()
    redis.attempt(lambda client: client.delete(budget.key(DAY)))
    yield redis
    redis.attempt(lambda client: client.delete(budget.key(DAY)))


def replica(redis, spent=0):
    noon = datetime(1999, 12, 31, 12, tzinfo=UTC)
    limits = Limits.of(1_000, Decimal(900_000))
    return DayBudget(redis, limits, Spending(DAY, spent), lambda: noon, lambda note: None)


def test_replicas_share_an_exact_count_that_survives_the_loss_of_its_key(redis):
    first, second = replica(redis, spent=100), replica(redis, spent=100)
    first.charge(10, Decimal("800000.000000001"))
    second.charge(20, Decimal("0.000000001"))
    stored = budget.read(DAY, redis.attempt(lambda client: client.hgetall(budget.key(DAY))))
    assert (stored.spent_tokens, stored.spent_cost) == (130, Decimal("800000.000000002"))
    assert (stored.budget_tokens, stored.budget_cost, stored.paused) == (1_000, Decimal(900_000), False)
    assert redis.attempt(lambda client: client.ttl(budget.key(DAY))) > 86_400
    redis.attempt(lambda client: client.delete(budget.key(DAY)))
    assert second.closed_seconds() == 0
    first.charge(870, None)
    assert second.closed_seconds() == 12 * 3600


def test_concurrent_charges_are_all_counted(redis):
    replicas = [replica(redis) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: replicas[number % 4].charge(1, None), range(200)))
    stored = budget.read(DAY, redis.attempt(lambda client: client.hgetall(budget.key(DAY))))
    assert stored.spent_tokens == 200


def test_the_spending_of_today_is_read_from_the_topics(fleet):
    """The topics have at least the spending in the tables, which lose attempts of regenerated questions."""
    today = datetime.now(UTC).date()
    spent = spending_on(today, LlmSettings(), threading.Event())
    [known] = fleet.sql(
        "SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens FROM attempts "
        "WHERE (generated_at AT TIME ZONE 'UTC')::date = (now() AT TIME ZONE 'UTC')::date"
    )
    assert spent.day == today
    assert spent.tokens >= known["tokens"]


def spent_today(redis):
    """Returns the tokens that count as spent: those in the topics or in Redis, whichever are more."""
    today = datetime.now(UTC).date()
    counted = redis.attempt(lambda client: client.hget(budget.key(today), budget.TOKENS))
    return max(spending_on(today, LlmSettings(), threading.Event()).tokens, int(counted or 0))


def test_a_used_up_budget_pauses_calls_until_it_is_raised(fleet, redis, unique):
    provider = ScriptedProvider()
    spent = spent_today(redis)
    # A call to the scripted provider takes 15 tokens: the third one uses 40 up.
    settings = {"LLM_CONCURRENCY": "1", "LLM_TIMEOUT": "5", "LLM_BUDGET_TOKENS": str(spent + 40)}
    try:
        with Workers(fleet, provider.base_url, settings) as workers:
            ids = [fleet.ask(unique(f"budget {number}")).json()["question_id"] for number in range(8)]

            def paused():
                budget_state = API.get("/budget", dict)
                return budget_state if budget_state["paused"] else None

            budget_state = eventually(paused, "calls are paused", 60)
            assert budget_state["spent_tokens"] >= budget_state["budget_tokens"] == spent + 40
            health = workers.containers[0].exec_run(["python", "-m", "pipeline.health"]).output.decode()
            assert health.startswith("healthy; calls are paused until "), health
            calls = sum(provider.counts().values())
            assert calls == 3
            waiting = [each for each in ids if fleet.status(each)["status"] == "pending"]
            assert len(waiting) >= 5
            workers.change({"LLM_BUDGET_TOKENS": str(spent + 10_000)})
            assert {fleet.finish(each)["status"] for each in ids} == {"completed"}
        assert sum(provider.counts().values()) == 8, "each question must take exactly one call"
        usage = fleet.status(ids[0])["usage"]
        assert (usage["attempts"], usage["prompt_tokens"], usage["completion_tokens"], usage["cost"]) == (
            1,
            10,
            5,
            None,
        )
    finally:
        provider.close()
