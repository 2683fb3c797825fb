"""Tests of the container's program: it asks the first questions, then idles, and stops promptly in every phase."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from werkzeug import Response

import traffic_generator
from pipeline.health import Heartbeat
from traffic_generator import __main__ as container
from traffic_generator import dataset, plan
from traffic_generator.settings import TrafficSettings

from .conftest import DEADLINE_SECONDS, Storage, problem, reply

FOLDER = Path(traffic_generator.__file__).parent


def environment(**settings: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(FOLDER.parent), "LOG_FORMAT": "json"} | settings


def check(**settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "traffic_generator", "--check"],
        cwd=FOLDER,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def test_check_prints_one_line_on_success() -> None:
    result = check(STORAGE_URL="http://storage:1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"traffic-generator: all well, {len(dataset.load())} questions for http://storage:1"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("STORAGE_URL", "storage:1"), ("TRAFFIC_INITIAL_REQUESTS", "-1"), ("TRAFFIC_INTERVAL_MS", "soon")],
)
def test_check_names_an_invalid_variable(name: str, value: str) -> None:
    result = check(**{name: value})
    assert result.returncode == 2
    assert name in result.stderr


class Served:
    """Runs `serve` in a thread."""

    def __init__(self, heartbeat: Path, **settings: object) -> None:
        self.stop = threading.Event()
        self.status: int | None = None
        self.heartbeat = heartbeat
        self._settings = TrafficSettings(**settings)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self.status = container.serve(self._settings, dataset.load(), self.stop, Heartbeat(self.heartbeat))

    def end(self) -> int | None:
        self.stop.set()
        return self.join()

    def join(self) -> int | None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        return self.status


@pytest.fixture
def events() -> Iterator[list[dict]]:
    with capture_logs() as captured:
        yield captured


def wait_for_event(events: list[dict], name: str) -> dict:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := [event for event in events if event["event"] == name]:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"no event {name!r} among {events}")


@pytest.fixture
def heartbeat(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def test_the_first_questions_are_asked_when_the_service_is_ready(
    storage: Storage, events: list[dict], heartbeat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "READY_INTERVAL_SECONDS", 0.01)
    storage.on_ready = lambda attempt: 200 if attempt == 3 else 503
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=5, traffic_interval_ms=0)
    wait_for_event(events, "began to idle")
    assert storage.readiness == [503, 503, 200]
    questions = dataset.load().questions
    texts = [questions[place].text for place in plan.shuffled(len(questions), 5, seed=1)]
    assert (storage.texts[0], sorted(storage.texts)) == (texts[0], sorted(texts))
    first, others = (event for event in events if event["event"] == "asked")
    assert (first["asked"], first["completed"], first["errors"]) == (1, 1, 0)
    assert (others["asked"], others["pending"], others["errors"]) == (4, 4, 0)
    assert heartbeat.exists()
    assert served.end() == 0


def test_the_other_questions_wait_for_the_answer_to_the_first(
    storage: Storage, events: list[dict], heartbeat: Path
) -> None:
    asked_before_the_answer = []

    def answer_at_the_second_poll(question_id: str, poll: int) -> Response:
        asked_before_the_answer.append(len(storage.queries))
        return reply({"question_id": question_id, "status": "pending" if poll == 1 else "completed", "error": None})

    storage.on_status = answer_at_the_second_poll
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=3, traffic_interval_ms=0)
    wait_for_event(events, "began to idle")
    assert asked_before_the_answer == [1, 1]
    assert len(storage.queries) == 3
    assert served.end() == 0


def test_a_first_question_that_times_out_does_not_block_the_others(
    storage: Storage, events: list[dict], heartbeat: Path
) -> None:
    storage.on_status = lambda question_id, poll: reply({"question_id": question_id, "status": "pending"})
    served = Served(
        heartbeat,
        storage_url=storage.url,
        traffic_initial_requests=3,
        traffic_interval_ms=0,
        traffic_ready_timeout_seconds=0.5,
    )
    wait_for_event(events, "began to idle")
    assert len(storage.queries) == 3
    assert served.end() == 0


def test_errors_of_the_first_questions_do_not_end_the_program(
    storage: Storage, events: list[dict], heartbeat: Path
) -> None:
    storage.on_query = lambda body, question_id: problem(503, "Service Unavailable", "no broker")
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=2, traffic_interval_ms=0)
    wait_for_event(events, "began to idle")
    reasons = [event["reasons"] for event in events if event["event"] == "asked"]
    assert reasons == [{"503 Service Unavailable: no broker": 1}] * 2
    assert served.end() == 0


def test_without_first_questions_the_service_is_not_called(
    storage: Storage, events: list[dict], heartbeat: Path
) -> None:
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=0)
    wait_for_event(events, "began to idle")
    assert served.end() == 0
    assert (storage.readiness, storage.queries) == ([], [])


def test_a_service_that_never_becomes_ready_is_exit_status_1(
    storage: Storage, events: list[dict], heartbeat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "READY_INTERVAL_SECONDS", 0.01)
    storage.on_ready = lambda attempt: 503
    served = Served(heartbeat, storage_url=storage.url, traffic_ready_timeout_seconds=0.2)
    assert served.join() == 1
    assert wait_for_event(events, "gave up on the storage service")["reason"].startswith("503")
    assert storage.queries == []


def test_a_stop_while_the_first_question_is_pending_ends_the_program(
    storage: Storage, events: list[dict], heartbeat: Path
) -> None:
    storage.on_status = lambda question_id, poll: reply({"question_id": question_id, "status": "pending"})
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=5)
    wait_for_event(events, "began to ask")
    assert served.end() == 0
    assert len(storage.queries) <= 1


def test_a_stop_between_two_questions_ends_the_program(storage: Storage, events: list[dict], heartbeat: Path) -> None:
    served = Served(heartbeat, storage_url=storage.url, traffic_initial_requests=5, traffic_interval_ms=3_600_000)
    wait_for_event(events, "asked")
    assert served.end() == 0
    assert 1 <= len(storage.queries) <= 2


@pytest.mark.parametrize(("ready", "phase"), [(200, "began to idle"), (503, "began to wait for the storage service")])
def test_sigterm_ends_the_process_with_status_0(storage: Storage, ready: int, phase: str) -> None:
    storage.on_ready = lambda attempt: ready
    process = subprocess.Popen(
        [sys.executable, "-m", "traffic_generator"],
        cwd=FOLDER,
        env=environment(STORAGE_URL=storage.url, TRAFFIC_INITIAL_REQUESTS="1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if phase in line:
            break
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, "".join(lines) + rest
    assert "Traceback" not in rest
