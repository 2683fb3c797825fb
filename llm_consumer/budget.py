"""The day's budget, shared by all llm-consumers: used up, calls pause until the next day, or until it is raised.

They count in Redis, which may vanish. Each llm-consumer has a count of its own, which it alone raises, and keeps a copy
of all; two versions are merged by the higher of each count, so that a Redis that comes back empty is told again what
was spent (a grow-only counter: Shapiro et al. 2011, https://inria.hal.science/inria-00555588). What nobody remembers,
since all started anew, is counted from the topics that answers and errors went to (`llm_consumer/spending.py`).

The day is that of the calendar, so it goes by the clock. One that is set back over midnight finds the day before again,
with all that was spent on it.

How much more than the budget may be spent:
- the calls in flight when it is used up: `LLM_CONCURRENCY` in each replica;
- while Redis is away, what was left of it once more for each replica beyond the first, for they do not see each other;
- calls that were given up, which a provider may charge without anybody here knowing.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog

from llm_consumer.prompt import Prompt
from llm_consumer.spending import Spending
from pipeline import budget, health, metrics
from pipeline.best_effort_redis import BestEffortRedis

log = structlog.get_logger()

_TTL_SECONDS = 2 * 86_400

_KINDS = (budget.TOKENS, budget.NANOCOST)

_DAYS = 3
"""Days whose counts are remembered: a clock that is set back finds what was spent on the day before."""


@dataclass(frozen=True)
class Limits:
    """What calls may take on a day.

    Attributes:
        tokens: Of prompts and answers together; None: no limit.
        nanocost: In billionths of a currency unit; None: no limit.
    """

    tokens: int | None = None
    nanocost: int | None = None

    @classmethod
    def of(cls, tokens: int | None, cost: Decimal | None) -> "Limits":
        """Makes limits of the settings."""
        return cls(tokens, None if cost is None else int(cost * budget.NANO))

    def __bool__(self) -> bool:
        return self.tokens is not None or self.nanocost is not None


@dataclass
class _Day:
    """What is known of a day.

    Attributes:
        counts: Of all replicas, by kind and replica.
        floor: What was spent before this replica began, by kind, until Redis knows of it.
    """

    counts: dict[str, int] = field(default_factory=dict)
    floor: Mapping[str, int] = field(default_factory=dict)


class NoBudget:
    """Calls without a limit; nothing is counted."""

    def closed_seconds(self) -> float:
        """Returns 0: there is always some left."""
        return 0

    def charge(self, tokens: int, cost: Decimal | None) -> None:
        """Does nothing."""


class DayBudget:
    """Counts what calls take, and tells when it is used up. Safe to use from several threads."""

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
            redis: Where the count is shared.
            limits: What calls may take on a day.
            spent: What is known to have been spent at least, on its day.
            clock: The time, in UTC.
            note: Tells the health check that calls are paused, or not (None).
        """
        self._redis = redis
        self._limits = limits
        self._clock = clock
        self._note = note
        self._lock = threading.Lock()  # guards all that follows
        self._replica = uuid.uuid4().hex[:12]
        self._days = {spent.day: _Day(floor={budget.TOKENS: spent.tokens, budget.NANOCOST: spent.nanocost})}
        self._paused = False

    def closed_seconds(self) -> float:
        """Returns for how long calls have to wait; 0 while some of the budget is left."""
        with self._lock:
            now = self._clock()
            self._add(now.date(), 0, 0)
            return (budget.next_day(now.date()) - now).total_seconds() if self._paused else 0

    def charge(self, tokens: int, cost: Decimal | None) -> None:
        """Counts what a call took."""
        with self._lock:
            self._add(self._clock().date(), tokens, int((cost or 0) * budget.NANO))

    def _add(self, today: date, tokens: int, nanocost: int) -> None:
        """Adds to this replica's counts, and tells it when the totals of all use the budget up, or no longer do."""
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
        """Merges the counts of Redis and of this replica, in a transaction that is repeated when others were faster."""
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
            log.info("went on calling: there is budget left", **spent)
            self._note(None)


def merged(
    shared: Mapping[str, int], known: Mapping[str, int], replica: str, floor: Mapping[str, int]
) -> dict[str, int]:
    """Merges two versions of the counts. Pure.

    Args:
        shared: One, by `KIND:REPLICA`.
        known: The other, that of `replica`.
        replica: Whose floor it is.
        floor: What was spent by all before `replica` began, by kind; empty: nothing is known of that.

    Returns:
        The higher of each count, and a count for what the floor has more than all others together.
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


def tokens_at_most(prompt: Prompt, text: str) -> int:
    """Returns what a call took at most, for a provider that does not say it: no token is shorter than a byte."""
    return len(text.encode()) + sum(len(str(each["content"]).encode()) for each in prompt.messages)
