"""A fleet whose containers get the proxy of the Docker client's configuration as environment variables."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.fleet import recreate
from tests.scripted_provider import completion

PROVIDER = "http://model.example.com/v1"
"""Internet address that only the proxy can reach."""
SERVICES = [
    "storage-service",
    "storage-writer",
    "llm-server",
    "llm-consumer",
    "retry-overload-consumer",
    "retry-quota-consumer",
    "score-validator",
    "judge-service",
    "flink-jobmanager",
    "flink-taskmanager",
    "flink-job",
    "viz-service",
    "kafka-ui",
    "traffic-generator",
]
"""All services except the stores, which make no calls."""
SKY = ("Why is the sky blue behind a proxy?", "Air molecules scatter blue light from the sun more than red light.")


class Proxy(BaseHTTPRequestHandler):
    """Records the requested addresses and answers like the provider."""

    requested: list[str]

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requested.append(self.path)
        to_provider = self.path.startswith(PROVIDER)
        body = completion(SKY[1]) if to_provider else b"not for a proxy"
        self.send_response(200 if to_provider else 502)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_CONNECT = _answer

    def log_message(self, *_arguments):
        """Logs nothing."""


@pytest.fixture
def proxy_requests(fleet, tmp_path) -> Iterator[list[str]]:
    requested: list[str] = []
    server = ThreadingHTTPServer(("", 0), type("Recording", (Proxy,), {"requested": requested}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://{socket.gethostbyname(socket.gethostname())}:{server.server_port}"
    # The exceptions in Docker's documentation, which do not include names without a dot.
    proxies = {"httpProxy": address, "httpsProxy": address, "noProxy": "*.test.example.com,.example.org,127.0.0.0/8"}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": proxies}}))
    try:
        recreate(SERVICES, {"DOCKER_CONFIG": str(tmp_path), "LLM_BASE_URL": PROVIDER})
        yield requested
    finally:
        recreate(SERVICES)
        server.shutdown()


def test_only_the_provider_on_the_internet_is_called_through_the_proxy(fleet, proxy_requests, unique):
    # The fixture has already checked that every container is healthy behind the proxy.
    environment = fleet.container("llm-consumer").attrs["Config"]["Env"]
    assert any(each.startswith("http_proxy=http") for each in environment)
    answer = fleet.ask(unique(SKY[0]), SKY[1], wait=60).json()
    assert answer["status"] == "completed"
    assert answer["result"]["llm_response"] == SKY[1]
    pipeline = requests.get("http://viz-service:5002/api/pipeline", timeout=15).json()
    assert {each["name"]: each["why"] for each in pipeline["services"]} == {
        each["name"]: None for each in pipeline["services"]
    }
    assert pipeline["flink"]["working"]
    fleet.exec("storage-service", "python", "-m", "storage_service.retry_failed", "--dry-run")
    assert proxy_requests
    assert {each.split("?")[0] for each in proxy_requests} == {f"{PROVIDER}/chat/completions"}
