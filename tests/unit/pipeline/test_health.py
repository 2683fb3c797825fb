import os
import subprocess
import sys
import threading
import time

from pipeline import health
from pipeline.health import Heartbeat, http_problem, problem


def test_a_missing_heartbeat_is_a_problem(tmp_path):
    assert "has not started" in problem(tmp_path / "heartbeat")


def test_a_fresh_heartbeat_is_healthy(tmp_path):
    Heartbeat(tmp_path / "heartbeat").beat()
    assert problem(tmp_path / "heartbeat") is None


def test_an_old_heartbeat_is_a_problem(tmp_path):
    path = tmp_path / "heartbeat"
    Heartbeat(path).beat()
    os.utime(path, (0, 0))
    assert "makes no progress" in problem(path)


def test_a_web_service_is_healthy_when_it_answers_with_success(httpserver):
    httpserver.expect_request("/ready").respond_with_data("ok")
    httpserver.expect_request("/unavailable").respond_with_data("database: refused", status=503)
    assert http_problem(httpserver.url_for("/ready")) is None
    assert "database: refused" in http_problem(httpserver.url_for("/unavailable"))
    assert "refused" in http_problem("http://127.0.0.1:1/").lower()


def test_the_command_exits_with_0_if_healthy_and_with_1_otherwise(httpserver):
    httpserver.expect_request("/ready").respond_with_data("ok")
    command = [sys.executable, "-m", "pipeline.health"]
    assert subprocess.run([*command, httpserver.url_for("/ready")], check=False).returncode == 0
    assert subprocess.run([*command, httpserver.url_for("/other")], check=False).returncode == 1


def test_watch_reports_a_loop_without_progress(tmp_path):
    ages = []
    heartbeat = Heartbeat(tmp_path / "heartbeat")
    health.watch(heartbeat, threading.Event(), ages.append, max_age_seconds=0.2, interval_seconds=0.05)
    assert [age > 0.2 for age in ages] == [True]


def test_watch_does_not_report_a_loop_with_progress(tmp_path):
    ages, stop = [], threading.Event()
    heartbeat = Heartbeat(tmp_path / "heartbeat")
    watcher = threading.Thread(target=health.watch, args=(heartbeat, stop, ages.append, 0.5, 0.05), daemon=True)
    watcher.start()
    for _ in range(20):
        heartbeat.beat()
        time.sleep(0.05)
    stop.set()
    watcher.join(5)
    assert (watcher.is_alive(), ages) == (False, [])


def test_a_note_is_appended_to_a_healthy_verdict(tmp_path):
    path = tmp_path / "note"
    assert health.verdict(None, path) == "healthy"
    health.note("calls are paused", path)
    assert health.verdict(None, path) == "healthy; calls are paused"
    assert health.verdict("no heartbeat", path) == "no heartbeat"
    health.note(None, path)
    health.note(None, path)
    assert health.verdict(None, path) == "healthy"
