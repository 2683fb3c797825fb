"""Predictions of full caches, against what is known of them and against exact caches."""

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.cache.eviction import characteristic_draws, lru_hit_rate, most_popular_hit_rate, random_hit_rate

ZIPF = [1 / rank for rank in range(1, 501)]
RULES: list[Callable[[Sequence[float], float], float]] = [lru_hit_rate, random_hit_rate, most_popular_hit_rate]
weights = st.lists(st.floats(min_value=0.01, max_value=100), min_size=2, max_size=40)


def exact(weights: Sequence[float], capacity: int, drop: Callable[[OrderedDict[int, None]], int]) -> float:
    """Runs a cache that drops exactly what `drop` says of its keys, in the order of their last use."""
    drawn = random.Random(1).choices(range(len(weights)), weights, k=60_000)
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for place, number in enumerate(drawn):
        if number in cache:
            hits += place >= 10_000
            cache.move_to_end(number)
            continue
        if len(cache) == capacity:
            del cache[drop(cache)]
        cache[number] = None
    return hits / 50_000


def test_lru_is_as_an_exact_one() -> None:
    assert lru_hit_rate(ZIPF, 50) == pytest.approx(exact(ZIPF, 50, lambda cache: next(iter(cache))), abs=0.01)


def test_random_is_as_an_exact_one() -> None:
    chance = random.Random(2)
    measured = exact(ZIPF, 50, lambda cache: chance.choice(list(cache)))
    assert random_hit_rate(ZIPF, 50) == pytest.approx(measured, abs=0.01)


def test_the_most_popular_are_counted() -> None:
    assert most_popular_hit_rate([1, 5, 4], 1) == pytest.approx(0.5)
    assert most_popular_hit_rate([1, 5, 4], 1.5) == pytest.approx(0.7)


@pytest.mark.parametrize("rule", RULES)
def test_equal_chances_leave_the_share_that_is_held(rule) -> None:
    assert rule([3.0] * 200, 50) == pytest.approx(0.25)


@pytest.mark.parametrize("rule", RULES)
def test_a_cache_that_holds_all_never_misses(rule) -> None:
    assert rule([1, 2], 2) == 1
    assert characteristic_draws([1, 2], 2) == math.inf


@given(weights, st.floats(min_value=0.05, max_value=0.95))
def test_knowing_more_is_never_worse(weights: list[float], share: float) -> None:
    capacity = share * len(weights)
    by_rule = [rule(weights, capacity) for rule in (random_hit_rate, lru_hit_rate, most_popular_hit_rate)]
    assert by_rule == sorted(by_rule) or by_rule == pytest.approx(sorted(by_rule), abs=1e-6)
