"""Errors on demand, for demonstrations: what the fleet does about an overloaded or exhausted provider."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from llm_consumer.llm import Answer, CallFailed
from llm_consumer.prompt import Prompt
from llm_consumer.provider import Provider
from llm_consumer.targets import Target
from pipeline.messages import CallError, Question


@dataclass(frozen=True)
class FaultyProvider:
    """A provider whose calls fail now and then, before they are made. Its limiter learns nothing from that.

    Attributes:
        provider: The provider.
        overload_rate: Share of calls that fail as if it were overloaded, from 0 to 1.
        quota_rate: Share that fails as if the quota were exhausted; with the other at most 1.
        chance: Draws from 0 to 1.
    """

    provider: Provider
    overload_rate: float
    quota_rate: float
    chance: Callable[[], float] = random.random

    @property
    def target(self) -> Target:
        """Whom it asks."""
        return self.provider.target

    def ask(self, question: Question, prompt: Prompt) -> Answer:
        """Asks once, or fails."""
        drawn = self.chance()
        if drawn < self.overload_rate:
            raise CallFailed(
                CallError(
                    type="overload",
                    cause="unavailable",
                    status_code=503,
                    message="made on purpose by FAULT_OVERLOAD_RATE",
                )
            )
        if drawn < self.overload_rate + self.quota_rate:
            raise CallFailed(
                CallError(
                    type="quota",
                    cause="quota",
                    status_code=429,
                    message="made on purpose by FAULT_QUOTA_RATE",
                    counts_as_retry=False,
                )
            )
        return self.provider.ask(question, prompt)
