"""Tests of the client of the API with a scripted server."""

import json
import socket

import pytest
from werkzeug import Response

from pipeline.api_client import ApiClient, RequestFailed

QUESTION = {"question_text": "Why?"}


@pytest.fixture
def client(httpserver):
    return ApiClient(httpserver.url_for("/"))


def problem(status, title, detail, **headers):
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


def test_a_reply_is_typed(httpserver, client):
    reply = {"status": "completed", "source": "database", "question_id": "1", "result": {"llm_response": "Yes."}}
    httpserver.expect_request("/query", method="POST", json=QUESTION).respond_with_json(reply | {"new_field": 1})
    answer = client.ask(QUESTION)
    assert (answer.status, answer.source, answer.question_id) == ("completed", "database", "1")
    assert answer.result == {"llm_response": "Yes."}


def test_the_wait_is_sent_to_the_server(httpserver, client):
    reply = {"question_id": "abc", "status": "pending"}
    httpserver.expect_request("/status/abc", query_string={"wait": "7"}).respond_with_json(reply)
    assert client.status("abc", wait_seconds=7).status == "pending"


def test_a_failed_question_has_a_reason(httpserver, client):
    error = {"reason": "retries_exhausted", "last_error": "503"}
    reply = {"question_id": "abc", "status": "failed", "error": error}
    httpserver.expect_request("/status/abc").respond_with_json(reply)
    assert client.status("abc").reason == "failed: retries_exhausted: 503"


def test_a_retry_returns_the_new_state(httpserver, client):
    reply = {"question_id": "abc", "status": "pending"}
    httpserver.expect_request("/failed/abc/retry", method="POST", data=b"").respond_with_json(reply, status=202)
    assert client.retry("abc").status == "pending"


def test_get_returns_the_requested_type(httpserver, client):
    httpserver.expect_request("/failed", query_string={"limit": "1"}).respond_with_json({"total": 3})
    assert client.get("/failed", dict[str, int], {"limit": 1}) == {"total": 3}


@pytest.mark.parametrize(
    ("response", "reason", "permanent", "unavailable", "retry_after"),
    [
        (
            problem(503, "Unavailable", "no broker", **{"Retry-After": "7"}),
            "503 Unavailable: no broker",
            False,
            True,
            7.0,
        ),
        (
            problem(503, "Unavailable", "", **{"Retry-After": "Sat, 01 Jan 2028"}),
            "503 Unavailable",
            False,
            True,
            None,
        ),
        (problem(422, "Unprocessable", "too long"), "422 Unprocessable: too long", True, False, None),
        (problem(429, "Too Many Requests", ""), "429 Too Many Requests", False, False, None),
        (Response("<html>", 502), "502 BAD GATEWAY", False, False, None),
        (Response("[]", 404), "404 NOT FOUND", True, False, None),
    ],
)
def test_an_error_status_is_reported(httpserver, client, response, reason, permanent, unavailable, retry_after):
    httpserver.expect_request("/query").respond_with_response(response)
    with pytest.raises(RequestFailed) as caught:
        client.ask(QUESTION)
    failure = caught.value
    assert (failure.reason, failure.status) == (reason, response.status_code)
    assert (failure.permanent, failure.unavailable) == (permanent, unavailable)
    assert failure.retry_after_seconds == retry_after


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", '{"status": "perhaps", "question_id": "a"}', '{"status": "pending"}']
)
def test_an_unreadable_reply_is_an_error(httpserver, client, body):
    httpserver.expect_request("/query").respond_with_data(body, 202)
    with pytest.raises(RequestFailed, match="202 with an unreadable body") as caught:
        client.ask(QUESTION)
    assert not caught.value.permanent


def test_a_refused_connection_is_reported_in_one_line():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RequestFailed) as caught:
            ApiClient(url).ask(QUESTION)
    assert caught.value.reason == f"cannot reach {url}: Connection refused"
    assert caught.value.unavailable
    assert not caught.value.permanent


def test_check_ready_accepts_status_200_only(httpserver, client):
    httpserver.expect_ordered_request("/ready").respond_with_json({})
    httpserver.expect_ordered_request("/ready").respond_with_json({}, status=503)
    client.check_ready()
    with pytest.raises(RequestFailed, match="503"):
        client.check_ready()


def test_a_proxy_of_the_environment_is_not_used(httpserver, client, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    httpserver.expect_request("/query").respond_with_json({"status": "pending", "question_id": "1"}, 202)
    assert client.ask(QUESTION).status == "pending"
