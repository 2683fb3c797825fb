"""The published ports as browsers and foreign web pages reach them."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from tests.browser import chromium
from tests.fleet import STORAGE, Fleet

HOST = "reverse-proxy"
API, DASHBOARD, KAFKA_UI, FLINK_UI = (f"http://{HOST}:{port}" for port in (5001, 5002, 8080, 8081))
NO_JOB = "0" * 32
NO_QUESTION = "f" * 32


@pytest.mark.parametrize("base", [API, DASHBOARD, KAFKA_UI, FLINK_UI])
class TestEveryPort:
    def test_accepts_only_its_own_host_names(self, fleet, base):
        base = base if base in (KAFKA_UI, FLINK_UI) else f"{base}/health"
        port = base.split(":")[2].partition("/")[0]
        for host in ("localhost", f"localhost:{port}", "127.0.0.1", "192.168.1.7:80", "[::1]:1", "workstation"):
            assert requests.get(base, headers={"Host": host}, timeout=15).status_code == 200, host
        for host in (f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example"):
            refused = requests.get(base, headers={"Host": host}, timeout=15)
            assert (refused.status_code, "ALLOWED_HOSTS" in refused.text) == (421, True), host

    def test_cannot_be_framed_or_read_by_other_origins(self, fleet, base):
        headers = requests.get(base, timeout=15).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"] == "nginx"

    def test_rejects_oversized_requests(self, fleet, base):
        assert requests.post(f"{base}/query", data=b"x" * 2_000_000, timeout=15).status_code in (403, 413)
        assert requests.get(base, headers={"X-Long": "x" * 40_000}, timeout=15).status_code == 400


@pytest.mark.parametrize(
    "url",
    [f"{API}/query", f"{API}/failed/{NO_QUESTION}/retry", f"{DASHBOARD}/api/ask", f"{KAFKA_UI}/", f"{FLINK_UI}/jobs"],
)
def test_a_page_of_another_origin_cannot_change_anything(fleet, url):
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert requests.post(url, headers=headers, json={}, timeout=15).status_code == 403, headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs"),
        ("POST", "/v1/jobs"),
        ("POST", "/jars/upload"),
        ("GET", "/jars"),
        ("GET", f"/jobs/{NO_JOB}/yarn-cancel"),
        ("GET", f"/v1/jobs/{NO_JOB}/yarn-stop"),
        ("GET", f"/jobs/x/../{NO_JOB}/yarn-cancel"),
        ("GET", f"/jobs/{NO_JOB}/yarn%2dcancel"),
        ("PATCH", f"/jobs/{NO_JOB}"),
        ("POST", f"/jobs/{NO_JOB}/savepoints"),
        ("DELETE", "/cluster"),
        ("PUT", "/overview"),
        ("OPTIONS", "/overview"),
    ],
)
def test_requests_that_would_change_flink_are_rejected(fleet, method, path):
    # Set the URL afterwards, because requests would resolve dots.
    session = requests.Session()
    request = session.prepare_request(requests.Request(method, FLINK_UI))
    request.url = FLINK_UI + path
    assert session.send(request, timeout=15).status_code in (403, 405)


def test_flink_serves_the_data_of_its_page(fleet):
    for path in ("/config", "/overview", "/jobs/overview", "/taskmanagers", "/jobmanager/config", "/v1/jobs/overview"):
        assert requests.get(FLINK_UI + path, timeout=15).json(), path
    foreign = requests.get(f"{FLINK_UI}/jobs/overview", headers={"Origin": "http://evil.example"}, timeout=15)
    assert foreign.status_code == 403


def test_flinks_page_shows_the_running_job(fleet):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{FLINK_UI}/#/job/running")
        page.get_by_text("score-validator").first.wait_for(timeout=60_000)


def test_large_pages_are_compressed(fleet):
    page = requests.get(DASHBOARD, timeout=15)
    assert page.headers["Content-Encoding"] == "gzip"


def test_an_unavailable_service_is_a_503_problem(fleet):
    container = fleet.container("kafka-ui")
    container.stop(timeout=15)
    try:
        reply = requests.get(KAFKA_UI, timeout=30)
        assert (reply.status_code, reply.json()["detail"]) == (503, "kafka-ui:8080 does not answer")
        assert reply.headers["Retry-After"] == "5"
    finally:
        container.start()
        fleet.wait_healthy("kafka-ui", 300)
    assert requests.get(KAFKA_UI, timeout=30).status_code == 200


@contextmanager
def half_sent_requests(count: int, port: int) -> Iterator[None]:
    heads = (b"GET / HTTP/1.1\r\nHost: ", b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
    with ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection((HOST, port), timeout=15))
            connection.sendall(heads[number % 2])
        yield


@pytest.mark.parametrize(("base", "port"), [(API, 5001), (DASHBOARD, 5002)])
def test_two_thousand_half_sent_requests_do_not_block_others(fleet: Fleet, base, port):
    with half_sent_requests(2000, port):
        began = time.monotonic()
        for _ in range(20):
            assert requests.get(f"{base}/health", timeout=5).status_code == 200
        assert time.monotonic() - began < 10


@contextmanager
def foreign_page(html: str) -> Iterator[str]:
    """Serves a page of another origin and yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@pytest.mark.parametrize("base", [API, STORAGE])
def test_a_form_on_a_page_of_another_origin_cannot_change_anything(fleet, base):
    """Checked through the reverse proxy and directly at storage-service."""
    html = f'<form method="post" action="{base}/failed/{NO_QUESTION}/retry"><button>Win a prize</button></form>'
    with foreign_page(html) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        with page.expect_response(lambda response: "/retry" in response.url, timeout=15_000) as caught:
            page.get_by_role("button").click()
        assert caught.value.status == 403


def test_a_script_on_a_page_of_another_origin_cannot_read_anything(fleet):
    with foreign_page("<p>hello</p>") as address, chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        for url in (f"{API}/stats", f"{FLINK_UI}/jobs/overview", f"{DASHBOARD}/api/statistics"):
            outcome = page.evaluate(
                "url => fetch(url).then(reply => reply.text().then(() => 'read'), () => 'refused')", url
            )
            assert outcome == "refused", url
