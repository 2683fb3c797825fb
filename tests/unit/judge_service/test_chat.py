"""The adapter of chat models, on replies as providers send them."""

import json
from datetime import UTC, datetime

import pytest

from judge_service.adapters.chat import Chat
from pipeline.providers.completions import NoCompletion, Usage
from tests.unit.judge_service.samples import CASE, completion, token

NOW = datetime(2026, 10, 1, tzinfo=UTC)
CHAT = Chat("judge-1", 16)


def read(reply):
    return CHAT.read(json.dumps(reply).encode(), NOW)


def test_a_request_asks_for_one_letter_and_its_probability():
    path, fields = CHAT.request(CASE)
    assert path == "/chat/completions"
    assert fields["model"] == "judge-1"
    assert (fields["temperature"], fields["max_tokens"]) == (0, 16)
    assert (fields["logprobs"], fields["top_logprobs"]) == (True, 20)
    assert fields["messages"][0]["role"] == "system"
    assert CASE.answer in fields["messages"][-1]["content"]


def test_the_probability_is_that_of_the_letter_among_the_four_letters():
    verdict = read(completion("A", [token("A", 0.6, B=0.2, C=0.1, D=0.05, The=0.05)]))
    assert verdict.probability == pytest.approx(0.6 / 0.95)
    assert verdict.problem is None
    assert verdict.model == "judge-1-2026-08-01"
    assert verdict.usage == Usage(210, 1)


@pytest.mark.parametrize(("likely", "problem"), [("B", "wrong"), ("C", "incomplete"), ("D", "off_topic")])
def test_an_answer_that_is_probably_not_right_has_the_most_probable_problem(likely, problem):
    others = {each: 0.1 for each in "ABCD" if each != likely}
    verdict = read(completion(likely, [token(likely, 0.6, **others)]))
    assert verdict.probability == pytest.approx(0.1 / 0.9)
    assert verdict.problem == problem


def test_the_problem_is_not_an_unlikely_letter_when_right_is_the_most_probable_one_below_half():
    verdict = read(completion("A", [token("A", 0.4, B=0.2, C=0.3, D=0.1)]))
    assert (verdict.probability, verdict.problem) == (pytest.approx(0.4), "incomplete")


def test_spellings_of_a_letter_count_together():
    verdict = read(completion(" A.", [token(" A", 0.3, **{"A": 0.2, "a": 0.1, "**A": 0.1, "B": 0.3}), token(".", 1.0)]))
    assert verdict.probability == pytest.approx(0.7)


def test_marks_of_tokenizers_are_ignored():
    verdict = read(completion("A", [token("▁A", 0.5, ĠB=0.5)]))
    assert verdict.probability == pytest.approx(0.5)


def test_vllm_reports_impossible_tokens_with_a_huge_negative_number():
    tokens = [token("A", 0.75, B=0.25)]
    tokens[0]["top_logprobs"].append({"token": "C", "logprob": -9999.0, "bytes": [67]})
    tokens[0]["top_logprobs"].append({"token": "D", "logprob": None, "bytes": [68]})
    assert read(completion("A", tokens)).probability == pytest.approx(0.75)


def test_a_chosen_token_that_is_not_among_the_most_probable_ones_counts_too():
    chosen = token("A", 0.2, B=0.6)
    chosen["top_logprobs"] = [each for each in chosen["top_logprobs"] if each["token"] != "A"]
    assert read(completion("A", [chosen])).probability == pytest.approx(0.25)


def test_a_reply_with_the_log_probability_of_its_token_alone_is_certain():
    chosen = token("B", 0.9)
    chosen["top_logprobs"] = []
    verdict = read(completion("B", [chosen]))
    assert (verdict.probability, verdict.problem) == (0.0, "wrong")


@pytest.mark.parametrize(
    ("text", "probability", "problem"),
    [
        ("A", 1.0, None),
        (" b\n", 0.0, "wrong"),
        ("**C**", 0.0, "incomplete"),
        ("D: off topic", 0.0, "off_topic"),
        ("The answer is a clear B.", 0.0, "wrong"),
        ("B: A false claim about a planet", 0.0, "wrong"),
        ("<think>It is B? No, it is right.</think>A", 1.0, None),
        ("Letter: c", 0.0, "incomplete"),
    ],
)
def test_without_log_probabilities_the_letter_counts(text, probability, problem):
    verdict = read(completion(text))
    assert (verdict.probability, verdict.problem) == (probability, problem)


def test_thoughts_with_log_probabilities_do_not_count():
    tokens = [token("<think>", 1.0), token("B", 0.9, A=0.1), token("</think>", 1.0), token("A", 0.8, B=0.2)]
    verdict = read(completion("<think>B</think>A", tokens, usage=(210, 4)))
    assert verdict.probability == pytest.approx(0.8)


def test_thoughts_in_their_own_field_do_not_count():
    tokens = [token("It", 1.0), token(" is", 1.0), token(" B", 0.9, A=0.1), token("?", 1.0), token("A", 0.7, B=0.3)]
    reply = completion("A", tokens, reasoning_content="It is B?")
    assert read(reply).probability == pytest.approx(0.7)


def test_a_letter_with_words_after_it_counts_although_they_contain_an_article():
    tokens = [token("B", 0.8, A=0.2), token(":", 1.0), token(" a", 0.9), token(" mistake", 1.0)]
    assert read(completion("B: a mistake", tokens)).probability == pytest.approx(0.2)


@pytest.mark.parametrize(
    "tokens",
    [
        [{"token": 7, "logprob": "x"}],
        [None],
        {"A": -0.1},
        [{"token": "A", "logprob": None, "top_logprobs": None}],
        [{"token": "A", "logprob": float("nan"), "top_logprobs": [3]}],
        [{"token": "A", "logprob": -math_inf} for math_inf in (float("inf"),)],
    ],
)
def test_unusable_log_probabilities_are_ignored(tokens):
    assert read(completion("A", tokens)).probability == 1.0


@pytest.mark.parametrize("text", ["I cannot say.", "Yes", "E", "42"])
def test_a_reply_without_a_letter_is_no_verdict(text):
    with pytest.raises(NoCompletion) as none:
        read(completion(text))
    assert none.value.error.cause == "no_answer"
    assert none.value.usage == Usage(210, 1)
    assert text in str(none.value)


@pytest.mark.parametrize(
    "reply",
    [
        completion(None, refusal="I can't help with that."),
        completion("", finish_reason="content_filter"),
    ],
)
def test_a_refusal_is_final(reply):
    with pytest.raises(NoCompletion) as none:
        read(reply)
    assert none.value.error.cause == "refused_content"


def test_a_model_that_is_still_thinking_has_no_verdict():
    with pytest.raises(NoCompletion) as none:
        read(completion("<think>Let me see", finish_reason="length"))
    assert none.value.error.cause == "no_answer"
