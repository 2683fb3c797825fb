"""Errors on demand, for demonstrations: what the fleet does about an overloaded or exhausted provider."""

import random
from collections.abc import Callable

from llm_consumer.llm import Answer, CallFailed
from llm_consumer.prompt import Prompt
from pipeline.messages import CallError

Ask = Callable[[Prompt], Answer]


def with_faults(ask: Ask, overload_rate: float, quota_rate: float, chance: Callable[[], float] = random.random) -> Ask:
    """Returns a call that fails now and then instead of asking.

    Args:
        ask: The call.
        overload_rate: Share of calls that fail as if the provider were overloaded, from 0 to 1.
        quota_rate: Share that fails as if the quota were exhausted; with the other at most 1.
        chance: Draws from 0 to 1.
    """

    def ask_or_fail(prompt: Prompt) -> Answer:
        drawn = chance()
        if drawn < overload_rate:
            raise CallFailed(
                CallError(type="overload", status_code=503, message="made on purpose by FAULT_OVERLOAD_RATE")
            )
        if drawn < overload_rate + quota_rate:
            raise CallFailed(CallError(type="quota", status_code=429, message="made on purpose by FAULT_QUOTA_RATE"))
        return ask(prompt)

    return ask_or_fail
