"""The check against what does not work, on real sockets."""

import socket

import pytest

from llm_consumer import check_provider
from tests.unit.llm_consumer.provider_responses import RECORDED, completion

PATH = "/v1/chat/completions"
KEY = "sk-very-secret"


@pytest.fixture
def check(monkeypatch, capsys):
    def run(base_url, **environment):
        for name, value in {"LLM_BASE_URL": base_url, "LLM_API_KEY": KEY, "LLM_TIMEOUT": "1", **environment}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            check_provider.main()
        said = capsys.readouterr()
        assert KEY not in said.out + said.err
        return ended.value.code, said.out

    return run


def test_one_that_works(check, httpserver):
    answer = completion({"role": "assistant", "content": "Air scatters blue light."})
    httpserver.expect_request(PATH, headers={"Authorization": f"Bearer {KEY}"}).respond_with_json(answer)
    status, said = check(httpserver.url_for("/v1"), LLM_PRICES="smollm2-135m-instruct=1/2")
    assert status == 0
    assert "works: answered in 0." in said
    assert "Air scatters blue light." in said
    assert "19 tokens in, 10 out; cost 0.000039000" in said
    assert len(httpserver.log) == 1


def test_one_that_counts_no_tokens(check, httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion({"role": "assistant", "content": "Air."}, usage=None))
    status, said = check(httpserver.url_for("/v1"))
    assert status == 0
    assert "does not say how many tokens" in said


def test_each_provider_is_asked_once_and_one_that_fails_fails_the_check(check, httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion({"role": "assistant", "content": "Air."}))
    httpserver.expect_request("/big/chat/completions").respond_with_json({"error": "Unauthorized"}, 401)
    small, big = httpserver.url_for("/v1"), httpserver.url_for("/big")
    status, said = check(small, LLM_MODELS=f"small, small, big@{big}")
    assert status == 1
    assert f"small at {small}\n  works" in said
    assert f"big at {big}\n  does not work: the key is wrong, or may not do this (HTTP 401)" in said
    assert "LLM_API_KEYS" in said
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
)
def test_one_that_is_not_there(check, base_url, says):
    status, said = check(base_url)
    assert status == 1
    assert f"does not work: {says}" in said
    assert "LLM_BASE_URL" in said


def test_one_that_speaks_no_tls(check, httpserver):
    status, said = check(httpserver.url_for("/v1").replace("http://", "https://"))
    assert status == 1
    assert "does not work: no secure connection" in said


def test_one_that_never_answers(check):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        status, said = check(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
    assert status == 1
    assert "no answer: timed out after 1 s" in said
    assert "LLM_TIMEOUT" in said


def test_one_that_repeats_the_key(check, httpserver):
    httpserver.expect_request(PATH).respond_with_data(f"no credit for {KEY}", 402)
    status, said = check(httpserver.url_for("/v1"))
    assert status == 1
    assert "no credit for …" in said


@pytest.mark.parametrize(
    "recorded", [each for each in RECORDED if each.diagnosis == "key"], ids=lambda each: each.provider
)
def test_what_a_provider_says_of_a_key_is_not_repeated(check, httpserver, recorded):
    httpserver.expect_request(PATH).respond_with_json(recorded.body, recorded.status)
    status, said = check(httpserver.url_for("/v1"))
    assert status == 1
    assert "LLM_API_KEY" in said
    assert "wjh3" not in said
    assert "It says" not in said
