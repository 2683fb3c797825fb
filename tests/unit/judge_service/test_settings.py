from decimal import Decimal

import pytest
from pydantic import ValidationError

from judge_service.settings import JudgeSettings
from pipeline.providers.admission import Identity
from pipeline.providers.targets import NO_KEY

OPENAI = "https://api.openai.com/v1"


def settings(**values):
    return JudgeSettings(**({"judge_model": "judge-1"} | values))


def test_without_a_model_there_is_no_judge():
    assert JudgeSettings().judge_model == ""


def test_the_key_of_the_answering_model_is_used_for_the_same_api_only():
    key = {"llm_api_key": "sk-answers", "llm_base_url": OPENAI}
    assert settings(judge_base_url=f"{OPENAI}/", **key).target.api_key.get_secret_value() == "sk-answers"
    assert settings(judge_base_url="https://other/v1", **key).target.api_key == NO_KEY
    own = settings(judge_base_url=OPENAI, judge_api_key=" sk-judge\n", **key)
    assert own.target.api_key.get_secret_value() == "sk-judge"


def test_the_judge_shares_the_limiter_of_the_answering_model_at_the_same_account():
    found = settings(judge_base_url=f"{OPENAI}/", llm_base_url=OPENAI, llm_api_key="sk-answers")
    assert Identity.of(found.target) == Identity(OPENAI, "sk-answers")


def test_the_price_of_the_judge_is_in_the_list_of_prices():
    found = settings(judge_base_url=OPENAI, llm_prices=f"judge-1=1/2, judge-1@{OPENAI}=3/4")
    assert found.target.price.prompt == Decimal(3)


def test_limits_are_those_of_the_provider_and_the_longest_call_counts():
    found = settings(judge_timeout=120, llm_timeout=30, llm_rpm="60", llm_concurrency=3, retry_after_max=99)
    bounds = found.bounds(found.target.base_url, found.judge_timeout)
    assert (bounds.concurrency, bounds.requests_per_minute, bounds.longest_wait_seconds) == (3, 60, 99)
    assert bounds.call_seconds == 135


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"judge_model": "embedded"}, True),
        ({"judge_model": "other"}, False),
        ({"judge_model": "embedded", "judge_base_url": OPENAI}, False),
        ({"judge_model": "big", "judge_base_url": f"{OPENAI}/", "llm_models": f"small, big@{OPENAI}"}, True),
        ({"judge_model": "small", "judge_base_url": OPENAI, "llm_models": f"small, big@{OPENAI}"}, False),
        ({"judge_model": "embedded", "llm_models": f"small, big@{OPENAI}"}, False),
    ],
)
def test_the_judge_is_the_answering_model_when_api_and_name_are_the_same(values, same):
    assert settings(**values).judges_itself is same


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"judge_base_url": "https://user:pass@host/v1"}, "JUDGE_API_KEY"),
        ({"judge_base_url": "host"}, "pattern"),
        ({"judge_api": "other"}, "chat"),
        ({"judge_api_key": "two\nlines"}, "one line"),
        ({"judge_timeout": 0}, "greater than 0"),
        ({"llm_budget_cost": "5"}, "judge-1"),
    ],
)
def test_a_wrong_setting_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        settings(**values)


def test_a_budget_of_cost_needs_no_price_of_a_judge_that_is_off():
    assert settings(judge_model="", llm_budget_cost="5").llm_budget_cost == 5
