"""Fixtures: a scripted storage service and a small question set."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer, URIPattern
from werkzeug import Request, Response

# Expected events arrive within milliseconds; only a failing test waits this long.
DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    # The plugin's own server handles one request at a time, which would hide concurrent requests.
    server = HTTPServer(threaded=True)
    server.start()
    yield server
    server.clear()
    server.stop()


def reply(body: dict, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json")


def problem(status: int, title: str, detail: str, **headers: str) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


class Storage:
    """API scripted by a test, which may replace `on_query`, `on_status` and `on_ready`; all requests are recorded.

    By default a question is pending at first, and completed at the first poll.
    """

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.lock = threading.Lock()
        self.queries: list[dict] = []
        self.polls: dict[str, list[str | None]] = defaultdict(list)
        self.readiness: list[int] = []
        self.on_query: Callable[[dict, str], Response] = lambda body, question_id: reply(
            {"status": "pending", "question_id": question_id}, 202
        )
        self.on_status: Callable[[str, int], Response] = lambda question_id, poll: reply(
            {"question_id": question_id, "status": "completed", "result": {"llm_response": "Yes."}, "error": None}
        )
        self.on_ready: Callable[[int], int] = lambda attempt: 200
        server.expect_request("/query", method="POST").respond_with_handler(self._query)
        server.expect_request("/ready", method="GET").respond_with_handler(self._ready)
        server.expect_request(_Status(), method="GET").respond_with_handler(self._status)

    @property
    def texts(self) -> list[str]:
        return [body["question_text"] for body in self.queries]

    def _query(self, request: Request) -> Response:
        body = request.get_json()
        with self.lock:
            self.queries.append(body)
        return self.on_query(body, f"id-{body['question_text']}".replace(" ", "-").replace("?", ""))

    def _ready(self, _request: Request) -> Response:
        with self.lock:
            status = self.on_ready(len(self.readiness) + 1)
            self.readiness.append(status)
        return reply({}, status)

    def _status(self, request: Request) -> Response:
        question_id = request.path.removeprefix("/status/")
        with self.lock:
            self.polls[question_id].append(request.args.get("wait"))
            poll = len(self.polls[question_id])
        return self.on_status(question_id, poll)


class _Status(URIPattern):
    def match(self, uri: str) -> bool:
        return uri.startswith("/status/")


@pytest.fixture
def storage(httpserver: HTTPServer) -> Storage:
    return Storage(httpserver)


@pytest.fixture
def dataset_path(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    rows = [f"numbers,Question {number}?,,Answer {number}. It is so." for number in range(1, 41)]
    path.write_text("\n".join(["topic,question_text,question_context,original_answer", *rows]), encoding="utf-8")
    return path
