"""The supervisor of the job against a fake cluster."""

import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flink_job import submit as submission
from flink_job.checkpoints import find, newest, recorded_topic_id
from flink_job.cluster import (
    CheckpointFailed,
    Cluster,
    Job,
    Jobs,
    Unreachable,
    is_checkpoint_over,
    is_restore_failure,
    is_state_without_operator,
    newest_failure,
    read_overview,
    too_many_unreadable,
)
from flink_job.submit import TRIES, Supervisor, command, summary_of
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat, problem

JOB = "a" * 32
OTHER = "b" * 32
NEXT = "c" * 32

WITHOUT_OPERATOR = (
    "Caused by: java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint file:/c/chk-8. Cannot map "
    "checkpoint/savepoint state for operator cbc357 to the new program, because the operator is not available in the "
    "new program. If you want to allow to skip this, you can set the --allowNonRestoredState option on the CLI."
)


POISONED = """java.lang.Exception: Asynchronous task failed.
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 7: Traceback:
  File "/app/pipeline/poison.py", line 45, in rejected
    raise TooManyUnreadable(
pipeline.poison.TooManyUnreadable: 101 of the last 101 messages of 2 could not be handled; the last error was: no JSON
	at org.apache.beam.runners.fnexecution.control.FnApiControlClient"""


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
        self.failure = ""
        self.cancelled = []
        self.checkpoint_requests = []
        self.polls_left = 2

    def jobs(self):
        return self.found

    def newest_failure(self, _job):
        return "Could not restore" if self.restored else self.failure

    def restored_checkpoint(self, _job):
        return self.restored

    def cancel(self, job):
        self.cancelled.append(job.id)

    def start_checkpoint(self, job):
        self.checkpoint_requests.append(job.id)
        return "request"

    def is_checkpoint_over(self, _job, _request):
        self.polls_left -= 1
        return self.polls_left <= 0


class FakeSource:
    def __init__(self, topic_id="new"):
        self.found = topic_id

    def topic_id(self):
        if self.found is None:
            raise Unavailable("no answer")
        return self.found


def checkpoint(folder, job, number, seconds, complete=True):
    """Creates a checkpoint folder as Flink does, completed at `seconds` since 1970."""
    path = folder / job / f"chk-{number}"
    path.mkdir(parents=True)
    (path / "state").touch()
    if complete:
        (path / "_metadata").touch()
        os.utime(path / "_metadata", (seconds, seconds))
    os.utime(folder / job, (seconds, seconds))
    return path


def record(folder, job, topic_id):
    changed = (folder / job).stat().st_mtime
    (folder / job / "topic-id").write_text(topic_id)
    os.utime(folder / job, (changed, changed))


@pytest.fixture
def logs():
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoint(folder, JOB, 7, 100)
    checkpoint(folder, JOB, 8, 200)
    checkpoint(folder, JOB, 9, 300, complete=False)
    checkpoint(folder, OTHER, 2, 150)
    return folder


@pytest.fixture
def supervised(folder, tmp_path):
    def make(cluster, answer=None, source=None):
        submitted = []

        def submit(checkpoint, allow_non_restored, _stop):
            path = checkpoint.path if checkpoint else None
            submitted.append((path, "in part") if allow_non_restored else path)
            return answer

        heartbeat = tmp_path / "heartbeat"
        supervisor = Supervisor(cluster, submit, source or FakeSource(), folder, Heartbeat(heartbeat))
        return supervisor, submitted, heartbeat

    return make


def job(state="RUNNING", running=4, job_id=JOB):
    return Job(job_id, state, 5, 4, running)


def job_initials(folder):
    """Returns the first letters of the ids of all jobs that have a folder."""
    return "".join(sorted(path.name[0] for path in folder.iterdir()))


def test_the_newest_complete_checkpoint_of_all_jobs_is_chosen(folder):
    assert newest(find(folder)).path == folder / JOB / "chk-8"
    assert newest(find(folder), {folder / JOB / "chk-8"}).path == folder / OTHER / "chk-2"
    assert newest(find(folder / "nowhere")) is None


def test_a_missing_job_is_submitted_from_the_newest_checkpoint(supervised, folder):
    supervisor, submitted, heartbeat = supervised(FakeCluster())
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8"]
    assert problem(heartbeat) is not None


def test_a_running_job_is_healthy_and_not_submitted_again(supervised):
    supervisor, submitted, heartbeat = supervised(FakeCluster(job()))
    supervisor.step(threading.Event())
    assert submitted == []
    assert problem(heartbeat) is None


@pytest.mark.parametrize(("state", "running"), [("RESTARTING", 0), ("CREATED", 0), ("RUNNING", 2)])
def test_a_starting_job_is_not_healthy_and_not_submitted_again(supervised, state, running):
    supervisor, submitted, heartbeat = supervised(FakeCluster(job(state, running)))
    supervisor.step(threading.Event())
    assert submitted == []
    assert problem(heartbeat) is not None


def test_failed_submissions_fall_back_to_older_checkpoints_and_then_to_the_offsets(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer="something else")
    for _ in range(3 * TRIES + 1):
        supervisor.step(threading.Event())
    wanted = [folder / JOB / "chk-8", folder / OTHER / "chk-2", folder / JOB / "chk-7"]
    assert submitted == [each for each in wanted for _ in range(TRIES)] + [None]


def test_a_checkpoint_that_cannot_be_restored_is_not_tried_twice(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer="Caused by: Failed to restore")
    supervisor.step(threading.Event())
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8", folder / OTHER / "chk-2"]


def test_a_job_that_cannot_restore_its_checkpoint_is_cancelled(supervised, folder):
    cluster = FakeCluster(job("RESTARTING", 0))
    cluster.restored = folder / JOB / "chk-8"
    supervisor, submitted, _ = supervised(cluster)
    supervisor.step(threading.Event())
    assert cluster.cancelled == [JOB]
    cluster.found = Jobs(())
    supervisor.step(threading.Event())
    assert submitted == [folder / OTHER / "chk-2"]


def test_a_job_over_the_limit_of_unreadable_messages_is_cancelled_for_good(supervised, logs):
    cluster = FakeCluster(job("RESTARTING", 0))
    cluster.failure = POISONED
    supervisor, submitted, heartbeat = supervised(cluster)
    supervisor.step(threading.Event())
    assert cluster.cancelled == [JOB]
    cluster.found = Jobs(())
    supervisor.step(threading.Event())
    supervisor.step(threading.Event())
    assert submitted == []
    assert problem(heartbeat, 60), "the health check must fail"
    output = str(logs)
    assert output.count("101 of the last 101 messages of 2 could not be handled; the last error was: no JSON") == 1


def test_other_failures_of_a_job_are_left_to_the_jobmanager(supervised):
    cluster = FakeCluster(job("RESTARTING", 0))
    cluster.failure = "java.net.ConnectException: Connection refused"
    supervisor, submitted, _ = supervised(cluster)
    supervisor.step(threading.Event())
    assert (cluster.cancelled, submitted) == ([], [])


def test_state_of_removed_operators_is_skipped_and_the_rest_restored(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer=WITHOUT_OPERATOR)
    supervisor.step(threading.Event())
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8", (folder / JOB / "chk-8", "in part")]


def test_a_checkpoint_that_cannot_be_restored_even_in_part_is_skipped(supervised, folder):
    supervisor, submitted, _ = supervised(FakeCluster(), answer=WITHOUT_OPERATOR)
    for _ in range(7):
        supervisor.step(threading.Event())
    wanted = [folder / JOB / "chk-8", folder / OTHER / "chk-2", folder / JOB / "chk-7"]
    assert submitted == [each for path in wanted for each in (path, (path, "in part"))] + [None]


def test_a_checkpoint_is_not_restored_after_its_topic_was_created_again(supervised, folder, logs):
    record(folder, JOB, "old")
    record(folder, OTHER, "old")
    supervisor, submitted, _ = supervised(FakeCluster())
    supervisor.step(threading.Event())
    assert submitted == [None]
    assert "recreated" in str(logs)


def test_a_checkpoint_of_the_same_topic_is_preferred_to_a_newer_one_of_another_topic(supervised, folder):
    record(folder, JOB, "old")
    record(folder, OTHER, "new")
    supervisor, submitted, _ = supervised(FakeCluster())
    supervisor.step(threading.Event())
    assert submitted == [folder / OTHER / "chk-2"]


def test_a_checkpoint_without_topic_id_is_restored_unless_the_topic_was_replaced_later(supervised, folder):
    record(folder, JOB, "old")
    supervisor, submitted, _ = supervised(FakeCluster())
    supervisor.step(threading.Event())
    (folder / JOB / "topic-id").write_text("new")
    supervisor.step(threading.Event())
    (folder / JOB / "topic-id").write_text("")  # interrupted by a crash of the machine
    supervisor.step(threading.Event())
    assert submitted == [None, folder / JOB / "chk-8", folder / JOB / "chk-8"]


def test_the_job_is_not_submitted_while_the_topic_id_is_unknown(supervised, folder):
    source = FakeSource(None)
    supervisor, submitted, _ = supervised(FakeCluster(), source=source)
    with pytest.raises(Unavailable):
        supervisor.step(threading.Event())
    assert submitted == []
    source.found = "new"
    supervisor.step(threading.Event())
    assert submitted == [folder / JOB / "chk-8"]


def test_the_recorded_topic_id_is_the_one_compared_with_the_checkpoint(supervised, folder):
    source, cluster = FakeSource("new"), FakeCluster()
    supervisor, _, _ = supervised(cluster, source=source)
    supervisor.step(threading.Event())
    source.found = "newer"  # replaced while the job is submitted
    cluster.found = Jobs((job("CREATED", 0, NEXT),))
    supervisor.step(threading.Event())
    assert recorded_topic_id(folder, NEXT) == "new"


def test_a_job_submitted_by_another_client_is_recorded_with_the_current_topic_id(supervised, folder):
    source = FakeSource(None)
    supervisor, _, heartbeat = supervised(FakeCluster(job(job_id=NEXT)), source=source)
    supervisor.step(threading.Event())
    assert problem(heartbeat) is None, "a running job is healthy without a known topic id"
    source.found = "new"
    supervisor.step(threading.Event())
    source.found = "newer"
    supervisor.step(threading.Event())
    assert recorded_topic_id(folder, NEXT) == "new"


def test_checkpoints_of_earlier_jobs_are_deleted_once_the_running_job_has_one(supervised, folder):
    supervisor, _, _ = supervised(FakeCluster(job(job_id=NEXT)))
    supervisor.step(threading.Event())
    checkpoint(folder, NEXT, 1, 400, complete=False)
    supervisor.step(threading.Event())
    assert job_initials(folder) == "abc"
    checkpoint(folder, NEXT, 2, 500)
    supervisor.step(threading.Event())
    assert job_initials(folder) == "c"


def test_checkpoints_of_earlier_jobs_are_kept_while_a_job_is_starting(supervised, folder):
    checkpoint(folder, NEXT, 2, 500)
    for unsettled in (job("RESTARTING", 0, NEXT), job("RUNNING", 2, NEXT)):
        supervised(FakeCluster(unsettled))[0].step(threading.Event())
    supervised(FakeCluster(job(job_id=OTHER), job(job_id=NEXT)))[0].step(threading.Event())
    assert job_initials(folder) == "abc"


def test_a_checkpoint_that_is_newer_than_those_of_the_running_job_is_kept(supervised, folder):
    checkpoint(folder, NEXT, 2, 170)
    supervised(FakeCluster(job(job_id=NEXT)))[0].step(threading.Event())
    assert job_initials(folder) == "ac"


def test_unrestorable_checkpoints_are_deleted_with_the_others(supervised, folder):
    cluster = FakeCluster()
    supervisor, submitted, _ = supervised(cluster, answer="Caused by: Failed to restore")
    for _ in range(3):
        supervisor.step(threading.Event())
    checkpoint(folder, NEXT, 1, 500)
    cluster.found = Jobs((job(job_id=NEXT),))
    supervisor.step(threading.Event())
    assert job_initials(folder) == "c"
    cluster.found = Jobs(())
    supervisor.step(threading.Event())
    assert submitted[-1] == folder / NEXT / "chk-1"


def test_folders_that_are_not_of_jobs_are_never_deleted(supervised, folder):
    savepoint = checkpoint(folder, "savepoint-aaaaaa-0123456789ab", 1, 1)
    checkpoint(folder, NEXT, 1, 500)
    supervised(FakeCluster(job(job_id=NEXT)))[0].step(threading.Event())
    assert savepoint.exists()


def test_a_folder_that_cannot_be_deleted_is_logged_once_and_its_checkpoints_are_ignored(
    supervised, folder, monkeypatch, logs
):
    def refused(_path):
        raise PermissionError("not ours")

    monkeypatch.setattr("shutil.rmtree", refused)
    checkpoint(folder, NEXT, 1, 500)
    supervisor, _, _ = supervised(FakeCluster(job(job_id=NEXT)))
    for _ in range(3):
        supervisor.step(threading.Event())
    assert str(logs).count("failed to delete") == 2, "one line for each folder"
    assert {each.job_id for each in find(folder)} == {NEXT}


def stopped():
    stop = threading.Event()
    stop.set()
    return stop


def test_stopping_waits_for_a_final_checkpoint(supervised):
    cluster = FakeCluster(job())
    supervised(cluster)[0].run(stopped())
    assert (cluster.checkpoint_requests, cluster.polls_left) == ([JOB], 0)


@pytest.mark.parametrize("found", [Jobs(()), Jobs((job("FAILED", 0),))])
def test_stopping_without_an_active_job_takes_no_checkpoint(supervised, found):
    cluster = FakeCluster()
    cluster.found = found
    supervised(cluster)[0].run(stopped())
    assert cluster.checkpoint_requests == []


def test_stopping_waits_for_the_final_checkpoint_for_a_limited_time(supervised, monkeypatch):
    monkeypatch.setattr(submission, "FINAL_CHECKPOINT_SECONDS", 0.3)
    cluster = FakeCluster(job())
    cluster.polls_left = 10**9
    supervised(cluster)[0].run(stopped())
    assert cluster.polls_left < 10**9


def test_stopping_works_while_the_jobmanager_is_unreachable(supervised):
    cluster = FakeCluster(job())

    def gone():
        raise Unreachable("no answer")

    cluster.jobs = gone
    supervised(cluster)[0].run(stopped())
    assert cluster.checkpoint_requests == []


def test_the_status_of_a_checkpoint_is_read():
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
def test_an_invalid_checkpoint_status_raises_unreachable(answer):
    with pytest.raises(Unreachable):
        is_checkpoint_over(answer)


def test_an_invalid_reply_to_a_checkpoint_request_raises_unreachable(httpserver):
    httpserver.expect_request(f"/jobs/{JOB}/checkpoints", method="POST").respond_with_json({"errors": ["?"]})
    with pytest.raises(Unreachable):
        Cluster(httpserver.url_for("")).start_checkpoint(job())


def test_replies_of_the_jobmanager_are_read():
    assert read_overview(overview()).active[0].fully_running
    assert read_overview(overview(state="FAILED")).active == ()
    assert read_overview(overview(name="another")).all == ()
    with pytest.raises(Unreachable):
        read_overview({"errors": ["not ready"]})
    failed = {"exceptionHistory": {"entries": [{"timestamp": 1, "stacktrace": "x: Could not restore\n at y"}]}}
    assert newest_failure(failed) == "x: Could not restore\n at y"
    assert newest_failure({}) == ""
    assert too_many_unreadable(POISONED) == (
        "101 of the last 101 messages of 2 could not be handled; the last error was: no JSON"
    )
    assert too_many_unreadable("x: Could not restore") is None


@pytest.mark.parametrize(
    ("trace", "failure", "without_operator"),
    [
        (WITHOUT_OPERATOR, True, True),
        (
            "java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory 'file:/c/chk-8'",
            True,
            False,
        ),
        ("Caused by: java.lang.IllegalStateException: Unexpected magic number. This can have …", True, False),
        ("Failed to rollback to checkpoint/savepoint file:/c/chk-8. Max parallelism mismatch between …", True, False),
        ("Caused by: org.apache.flink.util.StateMigrationException: The new key serializer …", True, False),
        ("Caused by: java.net.ConnectException: Connection refused", False, False),
    ],
)
def test_restore_failures_are_recognised_in_stack_traces(trace, failure, without_operator):
    assert is_restore_failure(trace) == failure
    assert is_state_without_operator(trace) == without_operator


def test_the_command_submits_the_job_without_a_checkpoint():
    checkpoint = newest([], ())
    assert "-s" not in command(checkpoint)
    assert command(None)[:3] == ["flink", "run", "-d"]
    assert Path(command(None)[-1]).name == "job.py"
    assert "--allowNonRestoredState" not in command(None, allow_non_restored=True)


def test_the_command_skips_unmatched_state_only_in_part_mode(folder):
    found = newest(find(folder))
    assert command(found)[3:5] == ["-s", (folder / JOB / "chk-8").as_uri()]
    assert "--allowNonRestoredState" not in command(found)
    assert command(found, allow_non_restored=True)[5] == "--allowNonRestoredState"


def test_the_summary_of_a_stack_trace_is_its_causes():
    assert summary_of("a\n  at b\nCaused by: c\n  at d\nCaused by: c\n") == "Caused by: c"
    assert summary_of("only this") == "only this"
