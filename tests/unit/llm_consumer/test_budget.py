"""On a Redis in memory; the real one is tried in the system tests."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from llm_consumer.budget import DayBudget, Limits, NoBudget, tokens_at_most
from llm_consumer.prompt import prompts
from llm_consumer.spending import Spent, add_up
from pipeline import budget
from pipeline.messages import CallError, CallFailure, Failed, FailedCall, Malformed
from tests.unit import samples

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class FakeRedis:
    """Stands for Redis."""

    def __init__(self):
        self.hashes = {}
        self.away = False

    def attempt(self, call):
        return None if self.away else call(self)

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
    """Some llm-consumers with one Redis."""

    def __init__(self, count=2, spent=0, **limits):
        self.redis, self.clock, self.notes = FakeRedis(), Clock(), []
        self.limits = Limits.of(limits.get("tokens", 100), limits.get("cost"))
        self.each = [self.start(spent) for _ in range(count)]

    def start(self, spent=0):
        return DayBudget(self.redis, self.limits, Spent(self.clock.now.date(), spent), self.clock, self.notes.append)


def test_garbage_in_redis_stops_nobody():
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


def test_what_one_spends_counts_for_all():
    fleet = Replicas()
    first, second = fleet.each
    first.charge(60, None)
    assert second.closed_seconds() == 0
    second.charge(40, None)
    assert first.closed_seconds() == second.closed_seconds() == 12 * 3600


def test_costs_count_to_the_billionth():
    fleet = Replicas(tokens=None, cost=Decimal("0.000001"))
    first, second = fleet.each
    for _ in range(9):
        first.charge(10, Decimal("0.0000001"))
    assert second.closed_seconds() == 0
    second.charge(1, Decimal("0.0000001"))
    assert first.closed_seconds() > 0
    assert fleet.redis.read().spent_cost == Decimal("0.000001")


def test_the_next_day_begins_anew():
    fleet = Replicas(count=1)
    [only] = fleet.each
    only.charge(100, None)
    assert only.closed_seconds() > 0
    fleet.clock.now += timedelta(hours=12)
    assert only.closed_seconds() == 0
    assert fleet.redis.read(fleet.clock.now.date()).spent_tokens == 0


@pytest.mark.parametrize("away", [False, True])
def test_a_clock_that_is_set_over_midnight_and_back_forgets_nothing(away):
    fleet = Replicas(count=1, spent=60)
    fleet.redis.away = away
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
    assert only.closed_seconds() > 0, "the new day has not forgotten either"


def test_a_redis_that_comes_back_empty_has_forgotten_nothing():
    fleet = Replicas(tokens=200)
    first, second = fleet.each
    first.charge(60, None)
    second.charge(20, None)
    fleet.redis.away = True
    first.charge(7, None)
    second.charge(5, None)
    fleet.redis.away = False
    fleet.redis.hashes.clear()
    for each in (first, second, first):
        each.closed_seconds()
    assert fleet.redis.read().spent_tokens == 92


def test_without_redis_each_spends_what_was_left_at_most():
    fleet = Replicas()
    first, second = fleet.each
    first.charge(60, None)
    assert second.closed_seconds() == 0
    fleet.redis.away = True
    for each in (first, second):
        each.charge(39, None)
        assert each.closed_seconds() == 0
        each.charge(1, None)
        assert each.closed_seconds() > 0


def test_those_who_start_at_once_without_a_count_in_redis_take_it_up_once():
    fleet = Replicas(count=3, spent=60)
    for each in fleet.each:
        each.charge(10, None)
    assert fleet.redis.read().spent_tokens == 90


def test_a_start_without_redis_brings_what_the_answers_say_later():
    fleet = Replicas(count=1, spent=60)
    fleet.redis.away = True
    fleet.each[0].charge(10, None)
    fleet.redis.away = False
    assert fleet.start(spent=60).closed_seconds() == 0
    fleet.each[0].charge(10, None)
    assert fleet.redis.read().spent_tokens == 80


def test_a_start_takes_up_what_the_answers_say_unless_redis_knows_of_more():
    fleet = Replicas(count=1, spent=100)
    assert fleet.each[0].closed_seconds() > 0
    assert fleet.start(spent=0).closed_seconds() > 0


def test_a_raised_budget_goes_on():
    fleet = Replicas(count=1)
    fleet.each[0].charge(100, None)
    assert fleet.each[0].closed_seconds() > 0
    assert fleet.redis.read().paused
    fleet.limits = Limits.of(101, None)
    assert fleet.start().closed_seconds() == 0
    assert not fleet.redis.read().paused


def test_a_pause_is_told_once_with_its_end():
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
    assert [each["event"] for each in logs] == ["went on calling: there is budget left"]
    assert [bool(note) for note in fleet.notes] == [True, False]


def test_the_call_that_uses_it_up_tells_of_the_pause():
    """Whoever sees the pause in Redis finds it in the health check too."""
    fleet = Replicas(count=1)
    [only] = fleet.each
    only.charge(99, None)
    assert not fleet.notes
    only.charge(1, None)
    assert [bool(note) for note in fleet.notes] == [True]


def test_what_others_see():
    fleet = Replicas(count=1, tokens=100, cost=Decimal("0.5"))
    fleet.each[0].charge(99, Decimal("0.25"))
    seen = fleet.redis.read()
    assert (seen.spent_tokens, seen.budget_tokens, seen.spent_cost, seen.budget_cost) == (
        99,
        100,
        Decimal("0.25"),
        Decimal("0.5"),
    )
    assert (seen.paused, seen.resumes_at) == (False, None)
    fleet.each[0].charge(1, None)
    assert fleet.redis.read().resumes_at == datetime(2026, 1, 3, tzinfo=UTC)


def test_no_budget_is_no_limit():
    NoBudget().charge(10**12, Decimal(10**6))
    assert NoBudget().closed_seconds() == 0
    assert budget.read(NOON.date(), {}) == budget.Budget(day=NOON.date())


@pytest.mark.parametrize(("limits", "any_"), [((None, None), False), ((1, None), True), ((None, Decimal(1)), True)])
def test_limits_are_there_or_not(limits, any_):
    assert bool(Limits.of(*limits)) is any_


def test_no_token_is_shorter_than_a_byte():
    [made] = prompts(samples.question(), 0.7)
    assert tokens_at_most(made, "ä") - tokens_at_most(made, "") == 2


def test_answers_of_the_day_add_up_and_a_copy_was_paid_for_once():
    def answer(hours, cost=None, **changes):
        return samples.response(generated_at=samples.NOW + timedelta(hours=hours), cost=cost, **changes)

    one = answer(0, Decimal("0.0000001"))
    today = [one, one, answer(1, Decimal("0.0000002"), processing_attempts=2), answer(2)]
    spent = add_up(samples.NOW.date(), [*today, answer(24), answer(-4)])
    assert (spent.tokens, spent.nanocost) == (75, 300)


def test_an_empty_answer_adds_up_once_though_it_is_sent_on_as_failed():
    error = CallError(type="overload", message="empty answer", prompt_tokens=20, cost=Decimal("0.0000001"))
    earlier = CallFailure(attempt=1, retry=2, failed_at=samples.NOW, **error.model_dump())
    last = earlier.model_copy(update={"retry": 3, "failed_at": samples.NOW + timedelta(seconds=8)})
    asked = samples.question(retry_count=2)
    first = asked.become(FailedCall, errors=(earlier,), error=error, failed_at=earlier.failed_at)
    second = asked.become(FailedCall, errors=(earlier, last), error=error, failed_at=last.failed_at)
    given_up = second.become(Failed, reason="retries_exhausted", source=samples.SOURCE)
    unreadable = Malformed.of(None, b"x", samples.SOURCE, "no JSON", samples.NOW)
    spent = add_up(samples.NOW.date(), [first, second, given_up, unreadable, samples.question()])
    assert (spent.tokens, spent.nanocost) == (40, 200)
