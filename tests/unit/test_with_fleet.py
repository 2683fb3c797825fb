"""`tests/with_fleet` with a stub of Docker that records its calls."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "with_fleet"
STUB = """#!/bin/sh
# docker compose [--project-name NAME] COMMAND. $STATE/NAME lists the running containers, NAME.stopped the others.
shift
project=$COMPOSE_PROJECT_NAME
if [ "$1" = --project-name ]; then project=$2; shift 2; fi
case $1 in
  ps) case " $* " in
        *' --format '*) ;;
        *' --all '*) cat "$STATE/$project" "$STATE/$project.stopped" 2>/dev/null ;;
        *) cat "$STATE/$project" 2>/dev/null ;;
      esac ;;
  *) echo "$project: $*" >>"$STATE/calls"
     echo "$project $1 ${LOST_AFTER_SECONDS:-}" >>"$STATE/limits"
     [ "$project: $*" != "${FAILS:-}" ] || exit 3 ;;
esac
exit 0
"""
UP = "up --detach --wait --wait-timeout 900"
DOWN = "down --timeout 30 --volumes --remove-orphans"


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "docker"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return tmp_path


def run(machine, *command, typed_answer=None, **environment):
    """Returns the exit status, the error output and the calls of Docker; `typed_answer` is typed at a terminal."""
    environment = {"PATH": f"{machine}/bin:{os.environ['PATH']}", "STATE": str(machine), **environment}
    stdin, typed = subprocess.DEVNULL, None
    if typed_answer is not None:
        typed, stdin = pty.openpty()
        os.write(typed, typed_answer.encode())
    done = subprocess.run(
        [SCRIPT, *command], env=environment, stdin=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if typed is not None:
        os.close(typed)
        os.close(stdin)
    calls = machine / "calls"
    return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []


def test_the_test_fleet_is_removed_with_its_data_after_the_command(machine):
    status, errors, calls = run(machine, "docker", "compose", "run", "tests")
    assert (status, errors) == (0, "")
    assert calls == [f"askfleet-test: {UP}", "askfleet-test: run tests", f"askfleet-test: --profile tests {DOWN}"]


@pytest.mark.parametrize("command", [("sh", "-c", "exit 7"), ("sh", "-c", "kill -INT $PPID; exit 7")])
def test_a_failed_command_keeps_its_status_and_the_test_fleet_is_removed(machine, command):
    status, _, calls = run(machine, *command)
    assert status == 7
    assert calls[-1] == f"askfleet-test: --profile tests {DOWN}"


def test_a_test_fleet_that_was_running_before_is_not_removed(machine):
    (machine / "askfleet-test").write_text("container\n")
    assert run(machine, "true")[2] == [f"askfleet-test: {UP}"]


@pytest.mark.parametrize(("typed_answer", "environment"), [("y\n", {}), (None, {"YES": "1"})])
def test_a_running_user_fleet_is_stopped_and_started_again_with_its_data(machine, typed_answer, environment):
    (machine / "askfleet").write_text("one\ntwo\n")
    status, errors, calls = run(machine, "true", typed_answer=typed_answer, **environment)
    assert status == 0
    assert "the fleet askfleet is stopped while this runs, and started again afterwards; its data stay" in errors
    assert calls == [
        "askfleet: down",
        f"askfleet-test: {UP}",
        f"askfleet-test: --profile tests {DOWN}",
        "askfleet: up --detach --wait --scale llm-consumer=2 --scale flink-taskmanager=2",
    ]


@pytest.mark.parametrize(("own", "theirs"), [({}, ""), ({"LOST_AFTER_SECONDS": "300"}, "300")])
def test_only_the_test_fleet_has_the_short_limit_for_lost_questions(machine, own, theirs):
    (machine / "askfleet").write_text("one\n")
    run(machine, "docker", "compose", "run", "tests", YES="1", **own)
    limits = (machine / "limits").read_text().splitlines()
    assert {f"askfleet-test up {theirs or 60}", f"askfleet-test run {theirs or 60}"} <= {*limits}
    assert limits[-1] == f"askfleet up {theirs}"


def test_when_stopping_the_user_fleet_fails_it_is_started_again_and_nothing_runs(machine):
    (machine / "askfleet").write_text("one\n")
    status, _, calls = run(machine, "touch", str(machine / "ran"), YES="1", FAILS="askfleet: down")
    assert (status, (machine / "ran").exists()) == (3, False)
    assert calls[0] == "askfleet: down"
    assert calls[-1] == "askfleet: up --detach --wait --scale llm-consumer=1 --scale flink-taskmanager=1"
    assert f"askfleet-test: {UP}" not in calls


@pytest.mark.parametrize("typed_answer", [None, "\n", "n\n"])
def test_without_a_yes_no_fleet_is_stopped(machine, typed_answer):
    (machine / "askfleet").write_text("one\n")
    status, _, calls = run(machine, "true", typed_answer=typed_answer)
    assert (status, calls) == (2, [])


def test_a_user_fleet_that_is_already_stopped_needs_no_confirmation(machine):
    (machine / "askfleet.stopped").write_text("one\n")
    status, errors, calls = run(machine, "true")
    assert (status, errors) == (0, "")
    assert calls == ["askfleet: down", f"askfleet-test: {UP}", f"askfleet-test: --profile tests {DOWN}"]
