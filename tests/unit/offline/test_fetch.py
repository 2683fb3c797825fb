import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from werkzeug import Response

from offline.fetch import TRIES, fetch

FETCH = Path(__file__).parents[3] / "offline/fetch.py"
JAR = b"a jar"
SUM = hashlib.sha256(JAR).hexdigest()


@pytest.fixture
def address(httpserver):
    return httpserver.url_for("/one.jar")


def test_returns_the_file(httpserver, address):
    httpserver.expect_oneshot_request("/one.jar").respond_with_data(JAR)
    assert fetch(address, SUM) == JAR


def test_another_file_is_refused_and_not_asked_for_again(httpserver, address):
    httpserver.expect_request("/one.jar").respond_with_data(JAR + b"!")
    with pytest.raises(SystemExit, match=f"SHA-256 .* instead of {SUM}"):
        fetch(address, SUM, pause_seconds=0)
    assert len(httpserver.log) == 1


def test_a_server_that_is_out_of_order_is_asked_again(httpserver, address):
    for status in (503, 502):
        httpserver.expect_ordered_request("/one.jar").respond_with_data("", status=status)
    httpserver.expect_ordered_request("/one.jar").respond_with_data(JAR)
    assert fetch(address, SUM, pause_seconds=0) == JAR


def test_half_a_file_is_asked_for_again(httpserver, address):
    httpserver.expect_ordered_request("/one.jar").respond_with_response(
        Response(JAR, headers={"Content-Length": str(len(JAR) + 9), "Connection": "close"})
    )
    httpserver.expect_ordered_request("/one.jar").respond_with_data(JAR)
    assert fetch(address, SUM, pause_seconds=0) == JAR


def test_says_what_cannot_be_fetched(httpserver, address):
    httpserver.expect_request("/one.jar").respond_with_data("", status=404)
    with pytest.raises(SystemExit, match=r"/one\.jar cannot be fetched: HTTP Error 404"):
        fetch(address, SUM, pause_seconds=0)
    assert len(httpserver.log) == TRIES


def test_goes_through_the_proxy_of_the_build(httpserver, tmp_path):
    """Which is asked for the whole address."""
    httpserver.expect_request("/maven2/one.jar", headers={"Host": "repository.invalid"}).respond_with_data(JAR)
    command = [sys.executable, FETCH, "http://repository.invalid/maven2/one.jar", SUM, tmp_path / "one.jar"]
    subprocess.run(command, env={"http_proxy": httpserver.url_for("")}, check=True)
    assert (tmp_path / "one.jar").read_bytes() == JAR
