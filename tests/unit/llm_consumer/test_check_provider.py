"""The check of a provider on real sockets, mostly against providers that do not work."""

import json
import socket

import pytest

from llm_consumer import check_provider
from pipeline.messages import ProviderError
from pipeline.providers.api import CallFailed
from pipeline.providers.diagnosis import Variables, diagnose, duration
from pipeline.providers.errors import classify_empty, classify_status, redacted, unusable_response
from tests.unit.pipeline.providers.provider_responses import RECORDED, completion
from tests.unit.samples import NOW

PATH = "/v1/chat/completions"
KEY = "sk-very-secret"


@pytest.fixture
def check(monkeypatch, capsys):
    def run(base_url, **environment):
        for name, value in {"LLM_BASE_URL": base_url, "LLM_API_KEY": KEY, "LLM_TIMEOUT": "1", **environment}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            check_provider.main()
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return ended.value.code, printed.out

    return run


def test_a_working_provider_passes_the_check(check, httpserver):
    answer = completion({"role": "assistant", "content": "Air scatters blue light."})
    httpserver.expect_request(PATH, headers={"Authorization": f"Bearer {KEY}"}).respond_with_json(answer)
    status, output = check(httpserver.url_for("/v1"), LLM_PRICES="embedded=1/2")
    assert status == 0
    assert "works: answered in 0." in output
    assert "Air scatters blue light." in output
    assert "19 tokens in, 10 out; cost 0.000039000" in output
    assert len(httpserver.log) == 1


def test_a_provider_without_token_counts_is_reported(check, httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion({"role": "assistant", "content": "Air."}, usage=None))
    status, output = check(httpserver.url_for("/v1"))
    assert status == 0
    assert "does not say how many tokens" in output


def test_each_provider_is_called_once_and_one_failure_fails_the_check(check, httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion({"role": "assistant", "content": "Air."}))
    httpserver.expect_request("/big/chat/completions").respond_with_json({"error": "Unauthorized"}, 401)
    small, big = httpserver.url_for("/v1"), httpserver.url_for("/big")
    status, output = check(small, LLM_MODELS=f"small, small, big@{big}")
    assert status == 1
    assert f"small at {small}\n  works" in output
    assert f"big at {big}\n  does not work: the provider does not accept the key (HTTP 401)" in output
    assert "LLM_API_KEYS" in output
    assert len(httpserver.log) == 2


def closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://no-such-host.invalid/v1", "no such host"),
        (f"http://127.0.0.1:{closed_port()}/v1", "the connection was refused"),
    ],
    ids=["no such host", "refused"],  # not by the port, which differs between processes
)
def test_an_unreachable_provider_fails_the_check(check, base_url, says):
    status, output = check(base_url)
    assert status == 1
    assert f"does not work: {says}" in output
    assert "LLM_BASE_URL" in output


def test_a_provider_without_tls_fails_the_check(check, httpserver):
    status, output = check(httpserver.url_for("/v1").replace("http://", "https://"))
    assert status == 1
    assert "does not work: no secure connection" in output


def test_a_provider_that_never_answers_fails_the_check(check):
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        status, output = check(f"http://127.0.0.1:{silent_server.getsockname()[1]}/v1")
    assert status == 1
    assert "no answer: timed out after 1 s" in output
    assert "LLM_TIMEOUT" in output


def test_a_key_quoted_by_the_provider_is_not_printed(check, httpserver):
    httpserver.expect_request(PATH).respond_with_data(f"no credit for {KEY}", 402)
    status, output = check(httpserver.url_for("/v1"))
    assert status == 1
    assert "no credit for …" in output


@pytest.mark.parametrize(
    "recorded", [each for each in RECORDED if each.diagnosis == "key"], ids=lambda each: each.provider
)
def test_recorded_errors_about_keys_are_printed_without_the_key(check, httpserver, recorded):
    httpserver.expect_request(PATH).respond_with_json(recorded.body, recorded.status)
    status, output = check(httpserver.url_for("/v1"))
    assert status == 1
    assert "LLM_API_KEY" in output
    assert "It says" in output
    assert "wjh3" not in output


# --- Diagnosis of errors -----------------------------------------------------------------------------------------

VARIABLES = Variables("LLM_MODELS", "LLM_BASE_URL", "LLM_API_KEYS")


def diagnosis_of(error):
    return diagnose(CallFailed(error), VARIABLES)


@pytest.mark.parametrize(
    "recorded",
    [each for each in RECORDED if each.status != 200],
    ids=lambda each: f"{each.provider}: {each.case}",
)
def test_each_recorded_error_has_its_diagnosis_and_quotes_the_provider(recorded):
    body = recorded.body if isinstance(recorded.body, str) else json.dumps(recorded.body)
    error = classify_status(recorded.status, body, recorded.headers, NOW)
    found = diagnosis_of(error)
    assert found.kind == recorded.diagnosis
    assert f"(HTTP {recorded.status})" in found.problem
    assert found.remedy
    assert found.said == redacted(error.message)
    assert ("accept the key" in found.problem) == (recorded.cause == "key")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            unusable_response("empty answer: all of LLM_MAX_TOKENS went before its first word"),
            "empty",
            "LLM_MAX_TOKENS",
        ),
        (
            unusable_response("empty answer: the model only sent thoughts; raise LLM_MAX_TOKENS"),
            "thinking",
            "LLM_EXTRA_BODY",
        ),
        (unusable_response("empty answer: the model was still thinking"), "thinking", "LLM_MAX_TOKENS"),
        (unusable_response("answer too large: more than 1000 bytes"), "incompatible", "/v1"),
        (unusable_response("unreadable answer: not a JSON object"), "incompatible", "/v1"),
        (unusable_response("redirected to https://x.example/v1/chat/completions"), "address", "LLM_BASE_URL"),
        (unusable_response("timed out after 1 s"), "timeout", "LLM_TIMEOUT"),
        (unusable_response("Connection error: gone"), "connection", "HTTP server"),
        (classify_empty("content_filter", None), "content", "LLM_MODELS"),
        (classify_status(404, "404 page not found", {}, NOW), "address", "LLM_BASE_URL"),
        (classify_status(405, "", {}, NOW), "address", "LLM_BASE_URL"),
        (classify_status(418, "I am a teapot", {}, NOW), "other", "Do what it says"),
        (ProviderError(type="overload", status_code=503, message="made on purpose"), "overload", "Try again"),
    ],
)
def test_other_errors_have_a_diagnosis_too(error, kind, says):
    found = diagnosis_of(error)
    assert found.kind == kind
    assert says in found.remedy


def test_a_diagnosis_includes_the_wait_that_the_provider_asks_for():
    error = classify_status(
        429, "Rate limit reached on requests per day (RPD). Please try again in 9m38.016s.", {}, NOW
    )
    assert diagnosis_of(error).problem == "the quota is used up (HTTP 429); it says to wait 9 m 38 s"
    assert "wait" not in diagnosis_of(classify_status(429, "too many requests", {}, NOW)).problem


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.12, "0.1 s"),
        (5, "5 s"),
        (26.4, "26 s"),
        (59.9, "1 m"),
        (578.016, "9 m 38 s"),
        (3600, "1 h"),
        (47_941, "13 h 19 m"),
        (86_400 * 3 + 61, "3 d 1 m"),
    ],
)
def test_a_duration_is_shown_in_at_most_two_units(seconds, text):
    assert duration(seconds) == text
