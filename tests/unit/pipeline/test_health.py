import os
import subprocess
import sys

from pipeline.health import Heartbeat, http_problem, problem


def test_no_heartbeat_yet(tmp_path):
    assert "has not started" in problem(tmp_path / "heartbeat")


def test_a_fresh_heartbeat_is_healthy(tmp_path):
    Heartbeat(tmp_path / "heartbeat").beat()
    assert problem(tmp_path / "heartbeat") is None


def test_an_old_heartbeat_says_its_age(tmp_path):
    path = tmp_path / "heartbeat"
    Heartbeat(path).beat()
    os.utime(path, (0, 0))
    assert "makes no progress" in problem(path)


def test_a_web_service_is_healthy_when_it_answers_with_success(httpserver):
    httpserver.expect_request("/ready").respond_with_data("ok")
    httpserver.expect_request("/away").respond_with_data("database: refused", status=503)
    assert http_problem(httpserver.url_for("/ready")) is None
    assert "database: refused" in http_problem(httpserver.url_for("/away"))
    assert "refused" in http_problem("http://127.0.0.1:1/").lower()


def test_the_command_ends_with_what_it_found(httpserver):
    httpserver.expect_request("/ready").respond_with_data("ok")
    command = [sys.executable, "-m", "pipeline.health"]
    assert subprocess.run([*command, httpserver.url_for("/ready")], check=False).returncode == 0
    assert subprocess.run([*command, httpserver.url_for("/other")], check=False).returncode == 1
