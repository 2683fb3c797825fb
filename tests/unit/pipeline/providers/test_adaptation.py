import pytest

from pipeline.providers.adaptation import (
    CAP_TEMPERATURE,
    CAP_TOP_LOGPROBS,
    RENAME_MAX_TOKENS,
    SYSTEM_IN_USER,
    apply,
    learn,
    may_be_about_fields,
)

NO_RULES = frozenset()


def request(**changes):
    fields = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 128,
        "stream": False,
        "repeat_penalty": 1.1,
    }
    return fields | changes


@pytest.mark.parametrize(
    ("message", "changes", "rule"),
    [
        ("`temperature` and `top_p` cannot both be specified for this model. Use only one.", {}, "without top_p"),
        ("temperature: range: 0..1", {"temperature": 1.1}, CAP_TEMPERATURE),
        ("temperature must be less than or equal to 1", {"temperature": 1.5}, CAP_TEMPERATURE),
        ("Invalid temperature: should be between 0 and 1.0", {"temperature": 1.2}, CAP_TEMPERATURE),
        (
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
            "supported.",
            {},
            "without temperature",
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
            {},
            RENAME_MAX_TOKENS,
        ),
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", {}, RENAME_MAX_TOKENS),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", {}, SYSTEM_IN_USER),
        ("System role not supported", {}, SYSTEM_IN_USER),
        ("This model does not support system messages.", {}, SYSTEM_IN_USER),
        ("Conversation roles must alternate user/assistant/user/assistant/...", {}, SYSTEM_IN_USER),
        ("Unrecognized request argument supplied: repeat_penalty", {}, "without repeat_penalty"),
        (
            'Invalid JSON payload received. Unknown name "repeat_penalty": Cannot find field.',
            {},
            "without repeat_penalty",
        ),
        ("body.repeat_penalty: Extra inputs are not permitted", {}, "without repeat_penalty"),
        ("property 'stream' is unsupported", {}, "without stream"),
        ("`top_p` is deprecated for this model.", {}, "without top_p"),
    ],
)
def test_a_rule_is_learnt_from_the_error_about_a_field(message, changes, rule):
    assert learn(message, request(**changes), NO_RULES) == {rule}


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided",
        "The model `m` does not exist",
        "This model's maximum context length is 2048 tokens",
        "bad request",
        "",
    ],
)
def test_no_rule_is_learnt_from_other_errors(message):
    assert learn(message, request(), NO_RULES) is None


def test_a_rule_that_did_not_help_is_followed_by_another():
    message = "temperature: range: 0..1"
    known = learn(message, request(temperature=1.5), NO_RULES)
    sent = apply(request(temperature=1.5), known)
    assert sent["temperature"] == 1.0
    assert learn(message, sent, known) == {CAP_TEMPERATURE, "without temperature"}


def test_the_system_message_is_merged_into_the_user_message():
    changed = apply(request(), frozenset({SYSTEM_IN_USER}))
    assert changed["messages"] == [{"role": "user", "content": "Be brief.\n\nWhy?"}]


def test_a_renamed_token_limit_keeps_its_value():
    changed = apply(request(), frozenset({RENAME_MAX_TOKENS}))
    assert "max_tokens" not in changed
    assert changed["max_completion_tokens"] == 128


def test_without_rules_nothing_changes():
    assert apply(request(), NO_RULES) == request()


LOGPROBS = {"logprobs": True, "top_logprobs": 20}


@pytest.mark.parametrize(
    "message",
    [
        "You are not allowed to request logprobs from this model",
        "Logprobs is not enabled for models/gemini-2.5-flash",
        "property 'logprobs' is unsupported",
        "deepseek-reasoner does not support the parameter `logprobs`",
        '{"type": "extra_forbidden", "loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}',
    ],
)
def test_a_refusal_of_logprobs_removes_them_and_their_number(message):
    fields = request(**LOGPROBS)
    learnt = learn(message, fields, NO_RULES)
    assert learnt == {"without logprobs"}
    assert apply(fields, learnt) == request()


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: top_logprobs must be between 0 and 5",
        "top_logprobs: Input should be less than or equal to 8",
        "'top_logprobs' must be an integer in [0, 5]",
    ],
)
def test_a_refusal_of_the_number_of_logprobs_lowers_it(message):
    fields = request(**LOGPROBS)
    learnt = learn(message, fields, NO_RULES)
    assert learnt == {CAP_TOP_LOGPROBS}
    assert apply(fields, learnt) == request(logprobs=True, top_logprobs=5)


def test_a_refusal_of_the_lowered_number_removes_it():
    fields = request(logprobs=True, top_logprobs=5)
    learnt = learn("top_logprobs: range: 0..1", fields, frozenset({CAP_TOP_LOGPROBS}))
    assert apply(fields, learnt) == request(logprobs=True)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "unknown field", True),
        (422, "unknown field", True),
        (403, "You are not allowed to request logprobs from this model", True),
        (403, "You are not allowed to use this model", False),
        (500, "logprobs", False),
        (None, "timed out", False),
    ],
)
def test_only_some_refusals_may_be_about_a_field(status, message, expected):
    assert may_be_about_fields(status, message) is expected
