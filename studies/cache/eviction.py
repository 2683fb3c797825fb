"""Predicts the hit rate of a full cache for independent draws, by its eviction policy. Pure functions.

The caches hold a number of items of equal size. Item i is requested with probability p(i), its share of the weights,
independently of earlier requests (the independent reference model). All three predictions are for the steady state.
"""

import math
from collections.abc import Callable, Sequence

# Tolerance of the capacity, in items, and relative tolerance of the solution.
PRECISION = 1e-9


def lru_hit_rate(weights: Sequence[float], capacity: float) -> float:
    """Predicts the hit rate of a cache that evicts the least recently used item (LRU).

    Che's approximation: an item is cached if it was requested within the characteristic time T, which is the same for
    all items, so that the sum of 1 - exp(-p(i) T) is the capacity (Che, Tung, Wang: Hierarchical Web Caching Systems:
    Modeling, Design and Experimental Results, IEEE Journal on Selected Areas in Communications 20, 2002; its accuracy
    is explained by Fricker, Robert, Roberts: A Versatile and Accurate Approximation for LRU Cache Performance, ITC 24,
    2012).

    Args:
        weights: Above 0, one for each item, in any unit.
        capacity: Number of items that the cache holds.
    """
    shares = _shares(weights)
    if capacity >= len(shares):
        return 1.0
    draws = characteristic_draws(weights, capacity)
    return math.fsum(share * -math.expm1(-share * draws) for share in shares)


def characteristic_draws(weights: Sequence[float], capacity: float) -> float:
    """Returns Che's characteristic time of a cache, in draws: how long an item that is not requested stays cached.

    It is infinite for a cache that holds all items.
    """
    shares = _shares(weights)
    if capacity >= len(shares):
        return math.inf
    return _solve(lambda draws: math.fsum(-math.expm1(-share * draws) for share in shares), capacity)


def random_hit_rate(weights: Sequence[float], capacity: float) -> float:
    """Predicts the hit rate of a cache that evicts a random item.

    An item stays for T draws on average, so it is cached for p(i) T / (1 + p(i) T) of the time, with a T for which the
    sum of these is the capacity (Gelenbe: A Unified Approach to the Evaluation of a Class of Replacement Algorithms,
    IEEE Transactions on Computers C-22, 1973; in this form: Martina, Garetto, Leonardi: A Unified Approach to the
    Performance Analysis of Caching Systems, INFOCOM 2014).

    Args:
        weights: Above 0, one for each item, in any unit.
        capacity: Number of items that the cache holds.
    """
    shares = _shares(weights)
    if capacity >= len(shares):
        return 1.0
    draws = _solve(lambda draws: math.fsum(share * draws / (1 + share * draws) for share in shares), capacity)
    return math.fsum(share * share * draws / (1 + share * draws) for share in shares)


def most_popular_hit_rate(weights: Sequence[float], capacity: float) -> float:
    """Predicts the hit rate of a cache that holds only the most popular items.

    No policy that does not know the future is better for independent draws. Counting requests (LFU) approaches it over
    time.

    Args:
        weights: Above 0, one for each item, in any unit.
        capacity: Number of items that the cache holds; a fraction counts in proportion.
    """
    shares = sorted(_shares(weights), reverse=True)
    if capacity >= len(shares):
        return 1.0
    whole = int(capacity)
    return math.fsum(shares[:whole]) + (capacity - whole) * shares[whole]


def _shares(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _solve(filled: Callable[[float], float], capacity: float) -> float:
    """Returns the number of draws for which `filled`, an increasing function, equals the capacity."""
    most = 1.0
    while filled(most) < capacity - PRECISION:
        most *= 2
    least = 0.0
    while most - least > PRECISION * most:
        middle = (least + most) / 2
        if filled(middle) < capacity:
            least = middle
        else:
            most = middle
    return most
