"""Tokens and cost of today's calls, and their limits: one hash in Redis for each day (UTC).

The services that call models write it, storage-service shows it. Like everything in Redis it may disappear; they can
continue without it (`pipeline/providers/day_budget.py`).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.messages import Cost, Timestamp

NANO = 1_000_000_000
"""Costs are counted in billionths of a currency unit, because whole numbers add up exactly."""

TOKENS, NANOCOST, LIMIT_TOKENS, LIMIT_NANOCOST = "tokens", "nanocost", "limit_tokens", "limit_nanocost"
"""Fields of the hash; a limit that is not set is empty."""


class Budget(BaseModel):
    """The day's budget: tokens and cost of the calls to the model, and their limits."""

    model_config = ConfigDict(frozen=True)

    day: date = Field(description="The day, in UTC.")
    spent_tokens: int | None = Field(
        None, description="Tokens of prompts and answers; null: no budget is set, or no call was made today."
    )
    spent_cost: Cost | None = Field(
        None, description="Cost in the currency of `LLM_PRICES`; null in the same cases as `spent_tokens`."
    )
    budget_tokens: int | None = Field(None, description="`LLM_BUDGET_TOKENS`; null: no limit.")
    budget_cost: Cost | None = Field(None, description="`LLM_BUDGET_COST`; null: no limit.")
    paused: bool = Field(False, description="True: the budget is used up and calls wait; nothing is lost.")
    resumes_at: Timestamp | None = Field(
        None, description="When calls continue automatically; null while they are not paused."
    )


def key(day: date) -> str:
    """Returns the key of a day's hash."""
    return f"llm-budget:{day.isoformat()}"


def next_day(day: date) -> datetime:
    """Returns when a day ends."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def is_used_up(tokens: int, nanocost: int, limit_tokens: int | None, limit_nanocost: int | None) -> bool:
    """Returns whether one of the limits is reached."""
    return (limit_tokens is not None and tokens >= limit_tokens) or (
        limit_nanocost is not None and nanocost >= limit_nanocost
    )


def count(text: bytes) -> int | None:
    """Returns a number of the hash; None when the field is empty or not a number."""
    return int(text) if text.isdigit() else None


def read(day: date, fields: Mapping[bytes, bytes]) -> Budget:
    """Reads a day's hash; it is empty when no budget is set, or when no llm-consumer has written it yet."""

    def number(name: str) -> int | None:
        return count(fields.get(name.encode(), b""))

    limit_tokens, limit_nanocost = number(LIMIT_TOKENS), number(LIMIT_NANOCOST)
    if limit_tokens is None and limit_nanocost is None:
        return Budget(day=day)
    tokens, nanocost = number(TOKENS) or 0, number(NANOCOST) or 0
    paused = is_used_up(tokens, nanocost, limit_tokens, limit_nanocost)
    return Budget(
        day=day,
        spent_tokens=tokens,
        spent_cost=Decimal(nanocost) / NANO,
        budget_tokens=limit_tokens,
        budget_cost=None if limit_nanocost is None else Decimal(limit_nanocost) / NANO,
        paused=paused,
        resumes_at=next_day(day) if paused else None,
    )
