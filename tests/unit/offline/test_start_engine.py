"""`offline/start-engine` with and without systemd."""

import os

import pytest


@pytest.fixture
def stopped(machine):
    machine.stop_engine()
    machine.copy("start-engine")
    machine.stub("systemctl", 'touch "$state/engine"')
    machine.stub("setsid", 'exec "$@"')
    machine.stub("dockerd", 'echo "daemon started"; touch "$state/engine"')
    return machine


def test_docker_is_started_by_systemd_where_systemd_runs(stopped):
    (stopped.root / "run/systemd/system").mkdir(parents=True)
    result = stopped.run("start-engine")
    assert (result.code, result.changes) == (0, ["systemctl start docker"])


def test_dockerd_is_started_where_systemd_does_not_run(stopped):
    result = stopped.run("start-engine")
    assert result.code == 0
    assert "dockerd" in result.calls
    assert (stopped.cache / "dockerd.log").read_text() == "daemon started\n"


def test_the_pid_file_of_a_killed_engine_is_removed(stopped):
    stopped.file("var/run/docker.pid", "999999999")
    assert stopped.run("start-engine").code == 0
    assert not (stopped.root / "var/run/docker.pid").exists()


def test_start_engine_waits_for_an_engine_that_is_starting(stopped):
    stopped.file("var/run/docker.pid", str(os.getpid()))
    stopped.stub("sleep", 'touch "$state/engine"')
    result = stopped.run("start-engine")
    assert (result.code, result.changes) == (0, ["sleep 1"])


def test_an_engine_that_does_not_start_fails_with_its_log(stopped):
    stopped.stub("dockerd", "echo iptables not found")
    result = stopped.run("start-engine", ENGINE_START_LIMIT="1")
    assert result.code == 1
    assert result.output == "iptables not found\nprepare: the Docker engine did not start\n"


def test_an_engine_that_systemd_cannot_start_is_an_error(stopped):
    (stopped.root / "run/systemd/system").mkdir(parents=True)
    stopped.stub("systemctl", 'echo "Unit docker.service not found." >&2; exit 5')
    result = stopped.run("start-engine")
    assert (result.code, result.output) == (5, "Unit docker.service not found.\n")
