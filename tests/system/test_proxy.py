"""A fleet whose containers have the proxy of the Docker client's configuration in their environment."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.scripted_provider import completion

PROVIDER = "http://model.example.com/v1"
"""A name of the internet, which only the proxy can reach."""
SERVICES = [
    "storage-service",
    "storage-writer",
    "llm-server",
    "llm-consumer",
    "retry-overload-consumer",
    "retry-quota-consumer",
    "score-validator",
    "flink-jobmanager",
    "flink-taskmanager",
    "flink-job",
    "viz-service",
    "kafka-ui",
    "traffic-generator",
]
"""All but the stores, which make no calls."""
SKY = ("Why is the sky blue behind a proxy?", "Air molecules scatter blue light from the sun more than red light.")


class Proxy(BaseHTTPRequestHandler):
    """Keeps what it is asked for, and answers like the provider."""

    asked: list[str]

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        ours = self.path.startswith(PROVIDER)
        body = completion(SKY[1]) if ours else b"not for a proxy"
        self.send_response(200 if ours else 502)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_CONNECT = _answer

    def log_message(self, *_arguments):
        """Says nothing."""


def recreate(environment: Mapping[str, str]) -> None:
    command = ["docker", "compose", "up", "--detach", "--wait", "--no-deps", *SERVICES]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def asked_of_the_proxy(fleet, tmp_path) -> Iterator[list[str]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("", 0), type("Recording", (Proxy,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://{socket.gethostbyname(socket.gethostname())}:{server.server_port}"
    # The exceptions of Docker's documentation: names without a dot are none of them.
    proxies = {"httpProxy": address, "httpsProxy": address, "noProxy": "*.test.example.com,.example.org,127.0.0.0/8"}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": proxies}}))
    try:
        recreate({"DOCKER_CONFIG": str(tmp_path), "LLM_BASE_URL": PROVIDER})
        yield asked
    finally:
        recreate({})
        server.shutdown()


def test_only_the_provider_on_the_internet_is_asked_through_the_proxy(fleet, asked_of_the_proxy, unique):
    # That every container became healthy is half of the test: all checks, and the job's way through Flink.
    environment = fleet.container("llm-consumer").attrs["Config"]["Env"]
    assert any(each.startswith("http_proxy=http") for each in environment)
    answer = fleet.ask(unique(SKY[0]), SKY[1], wait=60).json()
    assert answer["status"] == "completed"
    assert answer["result"]["llm_response"] == SKY[1]
    seen = requests.get("http://viz-service:5002/api/pipeline", timeout=15).json()
    assert {each["name"]: each["why"] for each in seen["services"]} == {each["name"]: None for each in seen["services"]}
    assert seen["flink"]["working"]
    fleet.exec("storage-service", "python", "-m", "storage_service.retry_failed", "--dry-run")
    assert asked_of_the_proxy
    assert {each.split("?")[0] for each in asked_of_the_proxy} == {f"{PROVIDER}/chat/completions"}
