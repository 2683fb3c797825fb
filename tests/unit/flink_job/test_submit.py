"""The supervisor against a fake cluster."""

import os
import threading
from pathlib import Path

import pytest

from flink_job import submit as submission
from flink_job.checkpoints import find, newest
from flink_job.cluster import (
    CheckpointFailed,
    Cluster,
    Job,
    Jobs,
    Unreachable,
    is_checkpoint_over,
    read_overview,
    restore_failure,
)
from flink_job.submit import TRIES, Supervisor, command, gist
from pipeline.health import Heartbeat, problem

JOB = "a" * 32
OTHER = "b" * 32


def overview(**changes):
    job = {
        "jid": JOB,
        "name": "score-validator",
        "state": "RUNNING",
        "start-time": 5,
        "tasks": {"total": 4, "running": 4},
    }
    return {"jobs": [job | changes]}


class FakeCluster:
    def __init__(self, *jobs):
        self.found = Jobs(jobs)
        self.restored = None
        self.cancelled = []
        self.asked_for = []
        self.polls_left = 2

    def jobs(self):
        return self.found

    def restore_failure(self, _job):
        return "Could not restore" if self.restored else None

    def restored_checkpoint(self, _job):
        return self.restored

    def cancel(self, job):
        self.cancelled.append(job.id)

    def start_checkpoint(self, job):
        self.asked_for.append(job.id)
        return "request"

    def is_checkpoint_over(self, _job, _request):
        self.polls_left -= 1
        return self.polls_left <= 0


@pytest.fixture
def folder(tmp_path):
    def checkpoint(job, number, seconds, complete=True):
        path = tmp_path / job / f"chk-{number}"
        path.mkdir(parents=True)
        if complete:
            (path / "_metadata").touch()
            os.utime(path / "_metadata", (seconds, seconds))
        return path

    checkpoint(JOB, 7, 100)
    checkpoint(JOB, 8, 200)
    checkpoint(JOB, 9, 300, complete=False)
    checkpoint(OTHER, 2, 150)
    return tmp_path


@pytest.fixture
def supervised(folder, tmp_path):
    def make(cluster, answer=None):
        submitted = []

        def submit(checkpoint, _stop):
            submitted.append(checkpoint.path if checkpoint else None)
            return answer

        heartbeat = tmp_path / "heartbeat"
        return Supervisor(cluster, submit, folder, Heartbeat(heartbeat)), submitted, heartbeat

    return make


def job(state="RUNNING", running=4):
    return Job(JOB, state, 5, 4, running)


def test_the_newest_complete_checkpoint_of_all_jobs_is_taken(folder):
    assert newest(find(folder)).path == folder / JOB / "chk-8"
    assert newest(find(folder), {folder / JOB / "chk-8"}).path == folder / OTHER / "chk-2"
    assert newest(find(folder / "nowhere")) is None


def test_a_missing_job_is_submitted_from_the_newest_checkpoint(supervised, folder):
    supervisor, submitted, heartbeat = supervised(FakeCluster())
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8"]
    assert problem(heartbeat) is not None


def test_a_running_job_is_left_alone_and_healthy(supervised):
    supervisor, submitted, heartbeat = supervised(FakeCluster(job()))
    supervisor.step(threading.Event())
    assert submitted == []
    assert problem(heartbeat) is None


@pytest.mark.parametrize(("state", "running"), [("RESTARTING", 0), ("CREATED", 0), ("RUNNING", 2)])
def test_a_job_on_its_way_is_waited_for_but_not_healthy(supervised, state, running):
    supervisor, submitted, heartbeat = supervised(FakeCluster(job(state, running)))
    supervisor.step(threading.Event())
    assert submitted == []
    assert problem(heartbeat) is not None


def test_failures_fall_back_to_older_checkpoints_and_then_to_the_offsets(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer="something else")
    for _ in range(3 * TRIES + 1):
        supervisor.step(threading.Event())
    wanted = [folder / JOB / "chk-8", folder / OTHER / "chk-2", folder / JOB / "chk-7"]
    assert submitted == [each for each in wanted for _ in range(TRIES)] + [None]


def test_a_checkpoint_that_cannot_be_restored_is_given_up_at_once(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer="Caused by: Failed to restore")
    supervisor.step(threading.Event())
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8", folder / OTHER / "chk-2"]


def test_a_job_that_tries_in_vain_to_restore_is_cancelled(supervised, folder):
    cluster = FakeCluster(job("RESTARTING", 0))
    cluster.restored = folder / JOB / "chk-8"
    supervisor, submitted, _ = supervised(cluster)
    supervisor.step(threading.Event())
    assert cluster.cancelled == [JOB]
    cluster.found = Jobs(())
    supervisor.step(threading.Event())
    assert submitted == [folder / OTHER / "chk-2"]


def stopped():
    stop = threading.Event()
    stop.set()
    return stop


def test_the_end_waits_for_a_checkpoint(supervised):
    cluster = FakeCluster(job())
    supervised(cluster)[0].run(stopped())
    assert (cluster.asked_for, cluster.polls_left) == ([JOB], 0)


@pytest.mark.parametrize("found", [Jobs(()), Jobs((job("FAILED", 0),))])
def test_the_end_without_a_job_takes_no_checkpoint(supervised, found):
    cluster = FakeCluster()
    cluster.found = found
    supervised(cluster)[0].run(stopped())
    assert cluster.asked_for == []


def test_a_checkpoint_that_does_not_come_delays_the_end_for_a_bounded_time(supervised, monkeypatch):
    monkeypatch.setattr(submission, "FAREWELL_SECONDS", 0.3)
    cluster = FakeCluster(job())
    cluster.polls_left = 10**9
    supervised(cluster)[0].run(stopped())
    assert cluster.polls_left < 10**9


def test_the_end_does_not_mind_a_jobmanager_that_is_gone(supervised):
    cluster = FakeCluster(job())

    def gone():
        raise Unreachable("away")

    cluster.jobs = gone
    supervised(cluster)[0].run(stopped())
    assert cluster.asked_for == []


def test_what_the_jobmanager_says_of_a_checkpoint():
    assert not is_checkpoint_over({"status": {"id": "IN_PROGRESS"}})
    assert is_checkpoint_over({"status": {"id": "COMPLETED"}, "operation": {"checkpointId": 7}})
    failed = {"status": {"id": "COMPLETED"}, "operation": {"failureCause": {"stack-trace": "Not all tasks\n\tat …"}}}
    with pytest.raises(CheckpointFailed, match=r"^Not all tasks$"):
        is_checkpoint_over(failed)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "COMPLETED"},
        {"status": {"id": "COMPLETED"}, "operation": [1]},
        {"status": {"id": "COMPLETED"}, "operation": "?"},
        {"status": {"id": "COMPLETED"}, "operation": {"failureCause": "?"}},
    ],
)
def test_rubbish_about_a_checkpoint_does_not_end_as_a_checkpoint(answer):
    with pytest.raises(Unreachable):
        is_checkpoint_over(answer)


def test_rubbish_in_place_of_a_request_is_no_answer(httpserver):
    httpserver.expect_request(f"/jobs/{JOB}/checkpoints", method="POST").respond_with_json({"errors": ["?"]})
    with pytest.raises(Unreachable):
        Cluster(httpserver.url_for("")).start_checkpoint(job())


def test_answers_of_the_jobmanager_are_read():
    assert read_overview(overview()).active[0].working
    assert read_overview(overview(state="FAILED")).active == ()
    assert read_overview(overview(name="another")).all == ()
    with pytest.raises(Unreachable):
        read_overview({"errors": ["not ready"]})
    failed = {"exceptionHistory": {"entries": [{"timestamp": 1, "stacktrace": "x: Could not restore\n at y"}]}}
    assert restore_failure(failed) == "x: Could not restore"
    assert restore_failure({}) is None


def test_the_command_line():
    checkpoint = newest([], ())
    assert "-s" not in command(checkpoint)
    assert command(None)[:3] == ["flink", "run", "-d"]
    assert Path(command(None)[-1]).name == "job.py"


def test_the_gist_of_a_trace_is_its_causes():
    assert gist("a\n  at b\nCaused by: c\n  at d\nCaused by: c\n") == "Caused by: c"
    assert gist("only this") == "only this"
