"""The day's budget, shared by all llm-consumers. When it is used up, calls pause until the next day or a higher budget.

The counts are in Redis, which may lose them. Each llm-consumer increments only its own count and keeps a copy of all
counts. Two versions are merged by taking the higher value of each count, so the counts survive a Redis that comes back
empty (a grow-only counter: Shapiro et al. 2011, https://inria.hal.science/inria-00555588). After a restart of all
llm-consumers, the counts are computed from the topics of answers and errors (`llm_consumer/spending.py`).

The day is a calendar day, so it follows the clock. If the clock is set back over midnight, the counts of the day before
are used again.

The spending may exceed the budget by:
- the calls in flight when it is used up: `LLM_CONCURRENCY` in each replica;
- while Redis is unavailable, the remaining budget once for each replica but one, because they do not see each other;
- calls that were given up, which a provider may charge without reporting them.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog

from pipeline import budget, health, metrics
from pipeline.best_effort_redis import BestEffortRedis

log = structlog.get_logger()

_TTL_SECONDS = 2 * 86_400

_KINDS = (budget.TOKENS, budget.NANOCOST)

_DAYS = 3
"""Number of days whose counts are kept, in case the clock is set back."""


@dataclass(frozen=True)
class Limits:
    """Limits of the calls of a day.

    Attributes:
        tokens: Tokens of prompts and answers together; None: no limit.
        nanocost: Cost in billionths of a currency unit; None: no limit.
    """

    tokens: int | None = None
    nanocost: int | None = None

    @classmethod
    def of(cls, tokens: int | None, cost: Decimal | None) -> "Limits":
        """Makes limits from the settings."""
        return cls(tokens, None if cost is None else int(cost * budget.NANO))

    def __bool__(self) -> bool:
        return self.tokens is not None or self.nanocost is not None


@dataclass(frozen=True)
class Spending:
    """Spending of calls on a day.

    Attributes:
        day: The day (UTC).
        tokens: Tokens of prompts and answers together.
        nanocost: Cost in billionths of a currency unit.
    """

    day: date
    tokens: int = 0
    nanocost: int = 0


@dataclass
class _Day:
    """Counts of a day.

    Attributes:
        counts: Counts of all replicas, by kind and replica.
        floor: Spending before the start of this replica, by kind; empty once it is in Redis.
    """

    counts: dict[str, int] = field(default_factory=dict)
    floor: Mapping[str, int] = field(default_factory=dict)


class NoBudget:
    """A budget without limits; it counts nothing."""

    def closed_seconds(self) -> float:
        """Returns 0: calls never have to wait."""
        return 0

    def charge(self, tokens: int, cost: Decimal | None) -> None:
        """Does nothing."""


class DayBudget:
    """Counts the spending of calls, and pauses them when the budget is used up. Safe to use from several threads."""

    def __init__(
        self,
        redis: BestEffortRedis,
        limits: Limits,
        spent: Spending,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        note: Callable[[str | None], None] = health.note,
    ) -> None:
        """Makes a budget.

        Args:
            redis: Shares the counts.
            limits: Limits of a day.
            spent: Known spending of its day; the actual spending may be higher.
            clock: Returns the time in UTC.
            note: Sets the note of the health check while calls are paused, and removes it (None).
        """
        self._redis = redis
        self._limits = limits
        self._clock = clock
        self._note = note
        self._lock = threading.Lock()  # guards the attributes below
        self._replica = uuid.uuid4().hex[:12]
        self._days = {spent.day: _Day(floor={budget.TOKENS: spent.tokens, budget.NANOCOST: spent.nanocost})}
        self._paused = False

    def closed_seconds(self) -> float:
        """Returns how long calls have to wait, in seconds; 0 while the budget is not used up."""
        with self._lock:
            now = self._clock()
            self._add(now.date(), 0, 0)
            return (budget.next_day(now.date()) - now).total_seconds() if self._paused else 0

    def charge(self, tokens: int, cost: Decimal | None) -> None:
        """Counts the tokens and the cost of a call."""
        with self._lock:
            self._add(self._clock().date(), tokens, int((cost or 0) * budget.NANO))

    def _add(self, today: date, tokens: int, nanocost: int) -> None:
        """Adds to this replica's counts, and pauses or resumes calls according to the totals of all replicas."""
        if today not in self._days:
            self._days = dict(list(self._days.items())[1 - _DAYS :]) | {today: _Day()}
        day = self._days[today]
        for kind, more in zip(_KINDS, (tokens, nanocost), strict=True):
            own = f"{kind}:{self._replica}"
            day.counts[own] = day.counts.get(own, 0) + more
        shared = self._redis.attempt(lambda client: self._exchange(client, today, day))
        if shared is None:
            known = totals(merged({}, day.counts, self._replica, day.floor))
        else:
            day.counts, day.floor = shared, {}
            known = totals(shared)
        limits = (self._limits.tokens, self._limits.nanocost)
        for name, spent, limit in zip(("tokens", "cost"), known, limits, strict=True):
            if limit is not None:
                metrics.LLM_BUDGET_USED.labels(name).set(spent / limit)
        self._log_change(today, budget.is_used_up(*known, *limits), *known)

    def _exchange(self, client: Any, today: date, day: _Day) -> dict[str, int]:
        key = budget.key(today)
        counts: dict[str, int] = client.transaction(
            lambda transaction: self._share(transaction, key, day), key, value_from_callable=True
        )
        return counts

    def _share(self, transaction: Any, key: str, day: _Day) -> dict[str, int]:
        """Merges the counts of Redis and of this replica, in a transaction that is repeated on a conflict."""
        stored = {name.decode(errors="replace"): budget.count(text) for name, text in transaction.hgetall(key).items()}
        shared = {name: number for name, number in stored.items() if ":" in name and number is not None}
        counts = merged(shared, day.counts, self._replica, day.floor)
        limits = ("" if each is None else each for each in (self._limits.tokens, self._limits.nanocost))
        fields = dict(zip(_KINDS, totals(counts), strict=True)) | dict(
            zip((budget.LIMIT_TOKENS, budget.LIMIT_NANOCOST), limits, strict=True)
        )
        transaction.multi()
        transaction.hset(key, mapping=counts | fields)
        transaction.expire(key, _TTL_SECONDS)
        return counts

    def _log_change(self, today: date, used_up: bool, tokens: int, nanocost: int) -> None:
        if used_up == self._paused:
            return
        self._paused = used_up
        metrics.LLM_BUDGET_PAUSED.set(used_up)
        spent = {"tokens": tokens, "cost": f"{Decimal(nanocost) / budget.NANO:f}"}
        until = budget.next_day(today).isoformat()
        if used_up:
            log.warning("paused calls: the day's budget is used up", until=until, **spent)
            self._note(f"calls are paused until {until}: the day's budget is used up")
        else:
            log.info("resumed calls: there is budget left", **spent)
            self._note(None)


def merged(
    shared: Mapping[str, int], known: Mapping[str, int], replica: str, floor: Mapping[str, int]
) -> dict[str, int]:
    """Merges two versions of the counts. Pure.

    Args:
        shared: One version, by `KIND:REPLICA`.
        known: The other version, that of `replica`.
        replica: The replica to which `floor` belongs.
        floor: Spending of all before the start of `replica`, by kind; empty: unknown.

    Returns:
        The higher value of each count, and a count for the part of the floor that the other counts do not cover.
    """
    counts = {name: max(shared.get(name, 0), known.get(name, 0)) for name in {**shared, **known}}
    for kind, spent in floor.items():
        others = sum(
            n for name, n in counts.items() if name.startswith(f"{kind}:") and not name.endswith(f":{replica}")
        )
        if spent > others:
            counts[f"{kind}:before-{replica}"] = spent - others
    return counts


def totals(counts: Mapping[str, int]) -> tuple[int, int]:
    """Returns the sums of all counts: tokens, and cost in billionths of a currency unit. Pure."""
    tokens, nanocost = (sum(n for name, n in counts.items() if name.startswith(f"{kind}:")) for kind in _KINDS)
    return tokens, nanocost


def tokens_at_most(request_bytes: int, text: str) -> int:
    """Returns the maximum number of tokens of a call, for a provider without usage: a token has at least one byte."""
    return request_bytes + len(text.encode())
