"""The daily budget on an in-memory fake of Redis; the system tests use a real one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from pipeline import budget
from pipeline.providers.day_budget import DayBudget, Limits, NoBudget, Spending, tokens_at_most

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class FakeRedis:
    """Fake Redis."""

    def __init__(self):
        self.hashes = {}
        self.unavailable = False

    def attempt(self, call):
        return None if self.unavailable else call(self)

    def transaction(self, share, key, value_from_callable):
        assert value_from_callable
        return share(self)

    def hgetall(self, key):
        fields = self.hashes.get(key, {})
        return {name.encode(): str(value).encode() for name, value in fields.items()}

    def multi(self):
        """Begins the commands of the transaction."""

    def hset(self, key, mapping):
        self.hashes.setdefault(key, {}).update(mapping)

    def expire(self, key, seconds):
        assert seconds > 86_400

    def read(self, day=NOON.date()):
        return budget.read(day, self.hgetall(budget.key(day)))


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


class Replicas:
    """Several llm-consumers that share one Redis."""

    def __init__(self, count=2, spent=0, **limits):
        self.redis, self.clock, self.notes = FakeRedis(), Clock(), []
        self.limits = Limits.of(limits.get("tokens", 100), limits.get("cost"))
        self.each = [self.start(spent) for _ in range(count)]

    def start(self, spent=0):
        return DayBudget(self.redis, self.limits, Spending(self.clock.now.date(), spent), self.clock, self.notes.append)


def test_invalid_values_in_redis_are_ignored():
    replicas = Replicas()
    replicas.redis.hashes[budget.key(NOON.date())] = {
        "tokens:other": "many",
        "tokens": "-",
        "limit_tokens": "x",
        "é": "1",
    }
    replicas.each[0].charge(60, None)
    assert replicas.each[1].closed_seconds() == 0
    replicas.each[0].charge(60, None)
    assert replicas.each[1].closed_seconds() > 0


def test_spending_of_one_replica_counts_for_all():
    fleet = Replicas()
    first, second = fleet.each
    first.charge(60, None)
    assert second.closed_seconds() == 0
    second.charge(40, None)
    assert first.closed_seconds() == second.closed_seconds() == 12 * 3600


def test_costs_are_counted_to_a_billionth():
    fleet = Replicas(tokens=None, cost=Decimal("0.000001"))
    first, second = fleet.each
    for _ in range(9):
        first.charge(10, Decimal("0.0000001"))
    assert second.closed_seconds() == 0
    second.charge(1, Decimal("0.0000001"))
    assert first.closed_seconds() > 0
    assert fleet.redis.read().spent_cost == Decimal("0.000001")


def test_the_next_day_starts_with_the_full_budget():
    fleet = Replicas(count=1)
    [only] = fleet.each
    only.charge(100, None)
    assert only.closed_seconds() > 0
    fleet.clock.now += timedelta(hours=12)
    assert only.closed_seconds() == 0
    assert fleet.redis.read(fleet.clock.now.date()).spent_tokens == 0


@pytest.mark.parametrize("unavailable", [False, True])
def test_moving_the_clock_over_midnight_and_back_loses_no_spending(unavailable):
    fleet = Replicas(count=1, spent=60)
    fleet.redis.unavailable = unavailable
    [only] = fleet.each
    fleet.clock.now = NOON.replace(hour=23, minute=58)
    only.charge(40, None)
    assert only.closed_seconds() == 120
    fleet.clock.now += timedelta(minutes=5)
    only.charge(70, None)
    assert only.closed_seconds() == 0
    fleet.clock.now -= timedelta(minutes=5)
    fleet.redis.hashes.clear()
    assert only.closed_seconds() == 120
    fleet.clock.now += timedelta(minutes=5)
    only.charge(30, None)
    assert only.closed_seconds() > 0, "the spending of the new day is lost"


def test_spending_is_restored_when_redis_returns_empty():
    fleet = Replicas(tokens=200)
    first, second = fleet.each
    first.charge(60, None)
    second.charge(20, None)
    fleet.redis.unavailable = True
    first.charge(7, None)
    second.charge(5, None)
    fleet.redis.unavailable = False
    fleet.redis.hashes.clear()
    for each in (first, second, first):
        each.closed_seconds()
    assert fleet.redis.read().spent_tokens == 92


def test_without_redis_each_replica_spends_at_most_the_remaining_budget():
    fleet = Replicas()
    first, second = fleet.each
    first.charge(60, None)
    assert second.closed_seconds() == 0
    fleet.redis.unavailable = True
    for each in (first, second):
        each.charge(39, None)
        assert each.closed_seconds() == 0
        each.charge(1, None)
        assert each.closed_seconds() > 0


def test_replicas_that_start_together_count_earlier_spending_once():
    fleet = Replicas(count=3, spent=60)
    for each in fleet.each:
        each.charge(10, None)
    assert fleet.redis.read().spent_tokens == 90


def test_earlier_spending_reaches_redis_when_redis_was_unavailable_at_the_start():
    fleet = Replicas(count=1, spent=60)
    fleet.redis.unavailable = True
    fleet.each[0].charge(10, None)
    fleet.redis.unavailable = False
    assert fleet.start(spent=60).closed_seconds() == 0
    fleet.each[0].charge(10, None)
    assert fleet.redis.read().spent_tokens == 80


def test_a_start_counts_the_larger_of_earlier_spending_and_the_count_in_redis():
    fleet = Replicas(count=1, spent=100)
    assert fleet.each[0].closed_seconds() > 0
    assert fleet.start(spent=0).closed_seconds() > 0


def test_calls_resume_when_the_budget_is_raised():
    fleet = Replicas(count=1)
    fleet.each[0].charge(100, None)
    assert fleet.each[0].closed_seconds() > 0
    assert fleet.redis.read().paused
    fleet.limits = Limits.of(101, None)
    assert fleet.start().closed_seconds() == 0
    assert not fleet.redis.read().paused


def test_a_pause_is_logged_once_with_its_end():
    fleet = Replicas(count=1)
    [only] = fleet.each
    with structlog.testing.capture_logs() as logs:
        only.charge(100, None)
        for _ in range(3):
            only.closed_seconds()
    assert [(each["event"], each["until"]) for each in logs] == [
        ("paused calls: the day's budget is used up", "2026-01-03T00:00:00+00:00")
    ]
    fleet.clock.now += timedelta(days=1)
    with structlog.testing.capture_logs() as logs:
        only.closed_seconds()
    assert [each["event"] for each in logs] == ["resumed calls: there is budget left"]
    assert [bool(note) for note in fleet.notes] == [True, False]


def test_the_call_that_uses_up_the_budget_notes_the_pause():
    """A pause is in the health check as soon as it is in Redis."""
    fleet = Replicas(count=1)
    [only] = fleet.each
    only.charge(99, None)
    assert not fleet.notes
    only.charge(1, None)
    assert [bool(note) for note in fleet.notes] == [True]


def test_redis_holds_the_spending_the_limits_and_the_end_of_the_pause():
    fleet = Replicas(count=1, tokens=100, cost=Decimal("0.5"))
    fleet.each[0].charge(99, Decimal("0.25"))
    stored = fleet.redis.read()
    assert (stored.spent_tokens, stored.budget_tokens, stored.spent_cost, stored.budget_cost) == (
        99,
        100,
        Decimal("0.25"),
        Decimal("0.5"),
    )
    assert (stored.paused, stored.resumes_at) == (False, None)
    fleet.each[0].charge(1, None)
    assert fleet.redis.read().resumes_at == datetime(2026, 1, 3, tzinfo=UTC)


def test_without_a_budget_there_is_no_limit():
    NoBudget().charge(10**12, Decimal(10**6))
    assert NoBudget().closed_seconds() == 0
    assert budget.read(NOON.date(), {}) == budget.Budget(day=NOON.date())


@pytest.mark.parametrize(("limits", "any_"), [((None, None), False), ((1, None), True), ((None, Decimal(1)), True)])
def test_limits_are_true_when_at_least_one_is_set(limits, any_):
    assert bool(Limits.of(*limits)) is any_


def test_the_upper_bound_of_tokens_counts_one_per_byte():
    assert tokens_at_most(100, "ä") == 102
