"""Counts what calls take: in the metrics, and in the day's budget."""

from decimal import Decimal
from typing import Protocol

from prometheus_client import Counter

from pipeline.providers.completions import Usage
from pipeline.providers.targets import Target


class Budget(Protocol):
    """The day's budget of calls."""

    def closed_seconds(self) -> float:
        """Returns how long calls have to wait, in seconds; 0 while the budget is not used up."""

    def charge(self, tokens: int, cost: Decimal | None, /) -> None:
        """Counts the tokens and the cost of a call."""


class Charges:
    """Counts the calls of a service."""

    def __init__(self, budget: Budget, tokens: Counter, cost: Counter) -> None:
        """Takes the counters.

        Args:
            budget: The day's budget.
            tokens: Metric of tokens, by kind.
            cost: Metric of costs, by model.
        """
        self._budget = budget
        self._tokens = tokens
        self._cost = cost

    def charge(self, target: Target, usage: Usage) -> Decimal | None:
        """Counts the tokens of a call; returns its cost, or None when no price is known."""
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)
        cost = target.price.cost(usage.prompt_tokens, usage.completion_tokens) if target.price else None
        if cost:
            self._cost.labels(target.model).inc(float(cost))
        if usage.prompt_tokens or usage.completion_tokens:
            self._budget.charge(usage.prompt_tokens + usage.completion_tokens, cost)
        return cost

    def charge_at_most(self, target: Target, tokens: int) -> None:
        """Counts the maximum for a call whose provider reports no usage, so that such calls are not free."""
        price = target.price
        self._budget.charge(tokens, max(price.cost(tokens, 0), price.cost(0, tokens)) if price else None)
