"""Artificial errors for demonstrations of an overloaded provider and of a used-up quota."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pipeline.messages import ProviderError
from pipeline.providers.api import CallFailed
from pipeline.providers.llm import Answer, Prompt
from pipeline.providers.provider import Provider
from pipeline.providers.targets import Target


@dataclass(frozen=True)
class FaultyProvider:
    """A provider that fails a share of its calls before they are made. The limiter does not see these failures.

    Attributes:
        provider: The provider.
        overload_rate: Share of calls that fail like those of an overloaded provider, from 0 to 1.
        quota_rate: Share of calls that fail as if the quota were used up; both shares together are at most 1.
        chance: Returns a random number from 0 to 1.
    """

    provider: Provider[Prompt, Answer]
    overload_rate: float
    quota_rate: float
    chance: Callable[[], float] = random.random

    @property
    def target(self) -> Target:
        """Target of its calls."""
        return self.provider.target

    def ask(self, prompt: Prompt, question_id: str, failed_at: datetime | None = None) -> Answer:
        """Makes one call, or fails."""
        drawn = self.chance()
        if drawn < self.overload_rate:
            raise CallFailed(
                ProviderError(
                    type="overload",
                    cause="unavailable",
                    status_code=503,
                    message="made on purpose by FAULT_OVERLOAD_RATE",
                )
            )
        if drawn < self.overload_rate + self.quota_rate:
            raise CallFailed(
                ProviderError(
                    type="quota",
                    cause="quota",
                    status_code=429,
                    message="made on purpose by FAULT_QUOTA_RATE",
                    counts_as_retry=False,
                )
            )
        return self.provider.ask(prompt, question_id, failed_at)
