import socket

import pytest
from pytest_httpserver import HTTPServer

from pipeline import http
from pipeline.health import http_problem

DEAD_PROXY = "http://127.0.0.1:9"


@pytest.fixture
def behind_a_proxy(monkeypatch):
    """Sets the variables that Docker's client sets in containers; `no_proxy` is the example of its documentation."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD_PROXY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*.test.example.com,.example.org,127.0.0.0/8")


@pytest.mark.parametrize(
    ("url", "outside"),
    [
        ("https://api.openai.com/v1", True),
        ("http://llm.corp.example:8000/v1", True),
        ("http://1.1.1.1/v1", True),
        ("http://[2606:4700:4700::1111]/v1", True),
        ("http://llm-server:8000/v1", False),
        ("http://localhost:11434/v1", False),
        ("http://llm-server.:8000/v1", False),
        ("http://host.docker.internal:11434/v1", False),
        ("http://studio.local:1234/v1", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://192.168.1.20:11434/v1", False),
        ("http://172.18.0.5:8000", False),
        ("http://100.64.0.7:8000", False),
        ("http://169.254.1.1", False),
        ("http://", False),
    ],
)
def test_only_addresses_on_the_internet_are_outside(url, outside):
    assert http.is_outside(url) is outside


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("0", 0),
        ("", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds(header, seconds):
    assert http.retry_after({"Retry-After": header}) == seconds


def test_retry_after_is_none_without_the_header():
    assert http.retry_after({}) is None


def test_a_call_returns_a_reply_of_any_status(httpserver: HTTPServer):
    httpserver.expect_request("/ask", method="POST", json={"a": 1}, query_string={"b": "2"}).respond_with_json({}, 422)
    client = http.Client(httpserver.url_for("") + "/", 5)
    assert client.call("POST", "/ask", json={"a": 1}, params={"b": "2"}).status_code == 422


def test_calls_between_services_use_no_proxy(httpserver: HTTPServer, behind_a_proxy):
    httpserver.expect_request("/ready").respond_with_data("ok")
    assert http.Client(httpserver.url_for(""), 5).call("GET", "/ready").ok
    assert http_problem(httpserver.url_for("/ready")) is None


def test_a_refused_connection_has_a_readable_message():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(http.NoReply) as failure:
            http.Client(url, 5).call("GET", "/")
    assert (failure.value.kind, str(failure.value)) == ("no-connection", f"cannot reach {url}: Connection refused")


def test_a_service_that_sends_no_reply_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(http.NoReply) as failure:
            http.Client(url, 60).call("GET", "/", reply_seconds=0.2)
    assert (failure.value.kind, str(failure.value)) == ("no-answer", f"no reply from {url} within 0.2 s")


def test_an_endless_redirect_is_an_unexpected_error(httpserver: HTTPServer):
    httpserver.expect_request("/").respond_with_data("", 302, {"Location": "/"})
    with pytest.raises(http.NoReply) as failure:
        http.Client(httpserver.url_for(""), 5).call("GET", "/")
    assert failure.value.kind == "unexpected"


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        ('{"title": "Unavailable", "detail": "no\\nbroker"}', "503 Unavailable: no broker"),
        ('{"title": "Unavailable"}', "503 Unavailable"),
        ('{"detail": "no broker"}', "503 SERVICE UNAVAILABLE: no broker"),
        ("[]", "503 SERVICE UNAVAILABLE"),
        ("<html>", "503 SERVICE UNAVAILABLE"),
    ],
)
def test_a_problem_is_summarised_in_one_line(httpserver: HTTPServer, body, summary):
    httpserver.expect_request("/").respond_with_data(body, 503)
    assert http.problem(http.Client(httpserver.url_for(""), 5).call("GET", "/")) == summary
