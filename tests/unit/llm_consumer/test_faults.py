from collections import Counter

import pytest

from llm_consumer.faults import FaultyProvider
from llm_consumer.settings import LlmSettings
from pipeline.providers.api import CallFailed
from pipeline.providers.completions import Usage
from pipeline.providers.llm import Answer


class AlwaysAnswers:
    """Fake provider that always answers."""

    def ask(self, prompt, question_id, failed_at):
        return Answer("Yes.", "m", 1, Usage(), "stop")


def test_the_configured_share_of_calls_fails():
    drawn = iter(number / 100 for number in range(100))
    provider = FaultyProvider(AlwaysAnswers(), 0.25, 0.5, chance=lambda: next(drawn))
    outcomes = Counter()
    for _ in range(100):
        try:
            outcomes[provider.ask(None, None).text] += 1
        except CallFailed as failed:
            outcomes[failed.error.type, failed.error.status_code, failed.error.message] += 1
    assert outcomes == {
        "Yes.": 25,
        ("overload", 503, "made on purpose by FAULT_OVERLOAD_RATE"): 25,
        ("quota", 429, "made on purpose by FAULT_QUOTA_RATE"): 50,
    }


def test_fault_rates_that_sum_to_more_than_1_are_invalid():
    with pytest.raises(ValueError, match="FAULT_QUOTA_RATE"):
        LlmSettings(fault_overload_rate=0.6, fault_quota_rate=0.5)
