"""What calls of the model took today, and what they may take: a hash in Redis, one for each day (UTC).

llm-consumers count in it, storage-service shows it. Like everything in Redis it may vanish; llm-consumers know how to
go on without (`llm_consumer/budget.py`).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.messages import Cost, Timestamp

NANO = 1_000_000_000
"""Costs are counted in billionths of a currency unit: whole numbers, which add up exactly."""

TOKENS, NANOCOST, LIMIT_TOKENS, LIMIT_NANOCOST = "tokens", "nanocost", "limit_tokens", "limit_nanocost"
"""Fields of the hash; a limit that there is not is empty."""


class Budget(BaseModel):
    """The day's budget: what calls of the model took, and may take."""

    model_config = ConfigDict(frozen=True)

    day: date = Field(description="In UTC.")
    spent_tokens: int | None = Field(
        None, description="Of prompts and answers; null: no budget is set, or no call was asked for today."
    )
    spent_cost: Cost | None = Field(None, description="In the currency of `LLM_PRICES`; null as above.")
    budget_tokens: int | None = Field(None, description="`LLM_BUDGET_TOKENS`; null: no limit.")
    budget_cost: Cost | None = Field(None, description="`LLM_BUDGET_COST`; null: no limit.")
    paused: bool = Field(False, description="It is used up: calls wait, nothing is lost.")
    resumes_at: Timestamp | None = Field(None, description="When calls go on by themselves; null while they do.")


def key(day: date) -> str:
    """Returns the key of a day's hash."""
    return f"llm-budget:{day.isoformat()}"


def next_day(day: date) -> datetime:
    """Returns when a day is over."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def is_used_up(tokens: int, nanocost: int, limit_tokens: int | None, limit_nanocost: int | None) -> bool:
    """Returns whether one of the limits is reached."""
    return (limit_tokens is not None and tokens >= limit_tokens) or (
        limit_nanocost is not None and nanocost >= limit_nanocost
    )


def count(text: bytes) -> int | None:
    """Returns a number of the hash; None where there is none, or something else."""
    return int(text) if text.isdigit() else None


def read(day: date, fields: Mapping[bytes, bytes]) -> Budget:
    """Reads a day's hash; without fields no budget is set, or no llm-consumer has looked at it yet."""

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
