"""Tests of the check of a request's host and origin."""

import pytest

from pipeline.origins import host_allowed, listed, refusal

HOST = "localhost:5001"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:5001",
        "localhost.:5001",
        "127.0.0.1:5001",
        "[::1]",
        "[::1]:5001",
        "[::ffff:127.0.0.1]:5001",
        "192.168.1.7:5001",
        "storage-service:5001",
        "storage_service",
        "fleet.localhost:5001",
    ],
)
def test_local_host_names_are_allowed(host):
    assert host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:5001",
        "127.0.0.1.evil.example",
        "localhost.evil.example:5001",
        "1.2.3.4.5",
        "a@localhost:5001",
        "localhost/evil.example",
        "localhost:port",
        "[evil.example]",
        "local host",
    ],
)
def test_other_host_names_are_refused(host):
    assert not host_allowed(host)
    assert refusal("GET", host, None, None) == "host"


def test_host_names_in_the_setting_are_allowed():
    names = listed(" fleet.example.org, Other.example ,")
    assert host_allowed("fleet.example.org:443", names)
    assert host_allowed("other.example", names)
    assert not host_allowed("sub.other.example", names)
    assert host_allowed("evil.example", ["*"])


def test_a_wildcard_allows_subdomains_only():
    assert host_allowed("a.fleet.example:5001", ["*.fleet.example"])
    assert not host_allowed("fleet.example", ["*.fleet.example"])
    assert not host_allowed("evilfleet.example", ["*.fleet.example"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.example", "cross-site"),
        ("https://evil.example", None),
        ("null", None),
        ("null", "cross-site"),
        ("http://localhost:5002", "same-site"),
        ("http://localhost:5002", None),
        ("http://localhost", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://localhost:5001.evil.example", None),
        ("http://evil.example@localhost:5002", None),
        ("file://localhost:5001", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_changes_by_pages_of_other_origins_are_refused(method, origin, site):
    assert refusal(method, HOST, origin, site) == "origin"


@pytest.mark.parametrize(
    ("host", "origin", "site"),
    [
        (HOST, None, None),
        (HOST, "http://localhost:5001", "same-origin"),
        (HOST, "http://localhost:5001", None),
        (HOST, "HTTP://LOCALHOST:5001", "Same-Origin"),
        (HOST, None, "none"),
        ("localhost", "http://localhost:80", None),
        ("localhost:443", "https://localhost", None),
        ("[::1]:5001", "http://[::1]:5001", "same-origin"),
    ],
)
def test_changes_by_tools_and_own_pages_are_allowed(host, origin, site):
    assert refusal("POST", host, origin, site) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_allowed_from_any_origin(method):
    assert refusal(method, HOST, "https://evil.example", "cross-site") is None


def test_an_origin_that_equals_a_foreign_host_is_refused_by_the_host():
    assert refusal("POST", "evil.example:5001", "http://evil.example:5001", "same-origin") == "host"


def test_origins_in_the_setting_are_allowed():
    assert refusal("POST", HOST, "https://page.example", "cross-site", (), ["https://page.example/"]) is None
    assert refusal("POST", HOST, "https://evil.example", "cross-site", (), ["https://page.example"]) == "origin"
    assert refusal("POST", HOST, "https://evil.example", "cross-site", (), ["*"]) is None
