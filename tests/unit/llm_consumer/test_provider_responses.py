"""Recorded replies of providers, sent over HTTP, have the expected error type and diagnosis."""

import json

import pytest

from pipeline.providers.api import CallFailed, EmptyAnswer
from pipeline.providers.diagnosis import Variables, diagnose
from pipeline.providers.llm import Llm, Prompt
from pipeline.providers.targets import Target
from tests.unit.pipeline.providers.provider_responses import RECORDED

PROMPT = Prompt([{"role": "user", "content": "Why is the sky blue?"}], 0.7)
VARIABLES = Variables("LLM_MODEL", "LLM_BASE_URL", "LLM_API_KEY")


@pytest.fixture
def ask(httpserver):
    def respond(recorded):
        is_text = isinstance(recorded.body, str)
        httpserver.expect_request("/v1/chat/completions").respond_with_data(
            recorded.body if is_text else json.dumps(recorded.body),
            recorded.status,
            recorded.headers,
            content_type="text/plain" if is_text else "application/json",
        )
        with Llm(Target("embedded", httpserver.url_for("/v1")), 5, 128) as llm:
            return llm.ask(PROMPT)

    return respond


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: f"{each.provider}: {each.case}")
def test_each_recorded_reply_has_its_error_type_and_diagnosis(ask, recorded):
    if recorded.meaning == "answer":
        answer = ask(recorded)
        assert answer.text
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (19, 10)
        return
    with pytest.raises(CallFailed) as failed:
        ask(recorded)
    assert failed.value.error.type == recorded.meaning
    assert not isinstance(failed.value, EmptyAnswer), "it would be retried without effect"
    assert diagnose(failed.value, VARIABLES).kind == recorded.diagnosis


def test_important_providers_have_all_kinds_of_cases():
    cases = {(each.provider, each.diagnosis) for each in RECORDED}
    for provider in ("OpenAI", "Gemini"):
        assert {kind for name, kind in cases if name == provider} >= {
            "works",
            "overload",
            "quota",
            "key",
            "model",
            "content",
        }
    assert {kind for name, kind in cases if name == "Ollama"} >= {"works", "overload", "model", "address"}
    assert {kind for name, kind in cases if name == "vLLM"} >= {"works", "key", "model"}


def test_the_retry_delay_of_a_google_api_is_read_from_the_body(ask):
    [recorded] = [each for each in RECORDED if each.case == "quota of a minute"]
    with pytest.raises(CallFailed) as failed:
        ask(recorded)
    assert failed.value.error.retry_after_seconds == 26
