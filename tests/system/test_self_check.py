"""Self-check: questions without reference are scored by agreement with samples."""

import pytest

from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

SAMPLES = 2
ANSWER = "Water boils at one hundred degrees Celsius at sea level."
SAME = "At sea level water boils at one hundred degrees Celsius."
OTHER = "Bananas are yellow and grow in bunches."


@pytest.fixture(scope="module")
def sampled(fleet):
    """Yields a scripted provider for llm-consumers that request samples."""
    provider = ScriptedProvider()
    try:
        with Workers(fleet, provider.base_url, {"LLM_TIMEOUT": "5", "SELF_CHECK_SAMPLES": str(SAMPLES)}):
            yield provider
    finally:
        provider.close()


def ask(fleet, text, reference=None):
    return fleet.finish(fleet.ask(text, reference).json()["question_id"], 60)["result"]


def test_an_answer_that_agrees_with_its_samples_is_kept(fleet, sampled, unique):
    text = unique("At what temperature does water boil?")
    sampled.script(text, ANSWER, SAME, SAME)
    result = ask(fleet, text)
    assert (result["llm_response"], result["quality"]) == (ANSWER, "self_check_accepted")
    assert 0.5 < result["bert_score"] < 1
    first, *samples = sampled.calls(text)
    assert len(samples) == SAMPLES
    assert {each["temperature"] for each in samples} == {1.0} != {first["temperature"]}


def test_an_answer_that_disagrees_with_its_samples_is_regenerated(fleet, sampled, unique):
    text = unique("At what temperature does water boil?")
    sampled.script(text, OTHER, ANSWER, ANSWER, ANSWER, SAME, SAME)
    result = ask(fleet, text)
    assert (result["llm_response"], result["quality"]) == (ANSWER, "self_check_accepted")
    assert result["processing_attempts"] == 2
    assert len(sampled.calls(text)) == 2 * (1 + SAMPLES)


def test_a_question_with_reference_needs_no_samples(fleet, sampled, unique):
    text = unique("At what temperature does water boil?")
    sampled.script(text, ANSWER)
    assert ask(fleet, text, ANSWER)["quality"] == "accepted"
    assert len(sampled.calls(text)) == 1
