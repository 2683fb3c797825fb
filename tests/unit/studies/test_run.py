"""`studies/run` beside stubs of Docker and make that keep what they were called with."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "studies" / "run"
STUB = """#!/bin/sh
[ "$1 $2" != "compose ps" ] || exit 0
echo "$(basename "$0") $*" >>"$STATE/calls"
case "$*" in *"${FAILS:-nothing}"*) exit 3 ;; esac
exit 0
"""
ROWS = [line.split(maxsplit=3) for line in (ROOT / "studies/list").read_text().splitlines() if line[0] != "#"]


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("docker", "make"):
        stub = tmp_path / "bin" / name
        stub.write_text(STUB)
        stub.chmod(0o755)
    return tmp_path


def run(machine, *arguments, **environment):
    """Returns the exit status, what was printed, and the calls."""
    environment = {"PATH": f"{machine}/bin:{os.environ['PATH']}", "STATE": str(machine), **environment}
    done = subprocess.run(
        [SCRIPT, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    calls = machine / "calls"
    return done.returncode, done.stdout + done.stderr, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize(("name", "where", "module", "finds"), ROWS)
def test_every_study_has_its_module_and_a_line(name, where, module, finds):
    assert importlib.util.find_spec(module)
    assert where in {"torch", "torch-on-attempts", "fleet", "redis", "tests"}
    assert finds


def test_every_program_of_the_fleet_is_listed():
    programs = {path.stem for path in (ROOT / "studies/fleet").glob("*.py")} - {"report"}
    assert programs == {module.rpartition(".")[2] for _, _, module, _ in ROWS if ".fleet." in module}


def test_without_a_name_studies_are_listed_and_nothing_is_started(machine):
    status, output, calls = run(machine)
    assert (status, calls) == (0, "")
    assert all(name in output and finds in output for name, _, _, finds in ROWS)


@pytest.mark.parametrize("names", ["nothing", "throughput,nothing", "#"])
def test_an_unknown_study_is_refused_before_anything_is_started(machine, names):
    status, output, calls = run(machine, names)
    assert (status, calls) == (2, "")
    assert "there is no study" in output


def test_studies_of_the_fleet_share_one_fleet_and_one_document(machine):
    status, _, calls = run(machine, "latency,api", "--rounds", "1")
    assert status == 0
    assert calls.index("make --no-print-directory prepare build-all") < calls.index("compose up ")
    assert calls.count("compose up ") == 1
    assert "sh  studies.fleet.latency studies.fleet.api --rounds 1" in calls
    assert "python -m studies.fleet.report" in calls


def test_the_name_fleet_stands_for_all_of_them(machine):
    _, _, calls = run(machine, "fleet")
    assert all(module in calls for _, where, module, _ in ROWS if where == "fleet")


def test_the_threshold_is_studied_on_the_attempts_of_the_running_fleet(machine):
    status, _, calls = run(machine, "threshold")
    assert status == 0
    assert "compose exec -T postgres psql" in calls
    assert "score-validator-torch python -m studies.threshold.study --attempts .attempts-" in calls
    assert not list(ROOT.glob(".attempts-*"))


def test_without_the_attempts_nothing_is_studied(machine):
    status, _, calls = run(machine, "threshold", FAILS="psql")
    assert status == 3
    assert "studies.threshold.study" not in calls


def test_the_cache_gets_a_redis_that_goes_again(machine):
    status, _, calls = run(machine, "cache", "--questions", "1000", FAILS="python -m studies.cache.study")
    assert status == 3
    started, studied = calls.index("up --detach --wait cache-study-redis"), calls.index("studies.cache.study")
    assert started < studied < calls.index("rm --stop --force cache-study-redis")
    assert "studies.cache.study --questions 1000" in calls


def test_a_study_that_fails_does_not_keep_the_next_from_running(machine):
    status, _, calls = run(machine, "calibrate,self-check,scale", FAILS="studies.threshold.calibrate")
    assert status == 3
    assert "studies.self_check.study" in calls
    assert "tests python -m studies.fleet.scale" in calls
