"""Keeps the job running: submits it, and submits it again from the newest checkpoint when it is gone.

A JobManager without high availability loses its jobs when it ends. Their checkpoints stay on a volume. This process
restores the job from them and deletes those that are no longer needed.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import structlog

from flink_job import checkpoints
from flink_job.checkpoints import Checkpoint
from flink_job.cluster import (
    CheckpointFailed,
    Job,
    Jobs,
    Unreachable,
    is_restore_failure,
    is_state_without_operator,
    too_many_unreadable,
)
from flink_job.source import Source
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat

log = structlog.get_logger()

JOB_FILE = Path(__file__).with_name("job.py")
INTERVAL_SECONDS = 2.0
SUBMISSION_SECONDS = 180.0
"""Timeout of a submission, which takes 6 to 7 s on an idle machine."""

FINAL_CHECKPOINT_SECONDS = 5.0
"""Timeout of the checkpoint at the end, which takes well below 1 s unless the scorer is unavailable."""

TRIES = 3
"""Failed submissions from one checkpoint, of any cause, before the previous checkpoint is used."""


class Cluster(Protocol):
    """The part of `flink_job.cluster.Cluster` that the supervisor uses."""

    def jobs(self) -> Jobs:  # noqa: D102
        ...

    def newest_failure(self, job: Job) -> str:  # noqa: D102
        ...

    def restored_checkpoint(self, job: Job) -> Path | None:  # noqa: D102
        ...

    def cancel(self, job: Job) -> None:  # noqa: D102
        ...

    def start_checkpoint(self, job: Job) -> str:  # noqa: D102
        ...

    def is_checkpoint_over(self, job: Job, request: str) -> bool:  # noqa: D102
        ...


Submit = Callable[[Checkpoint | None, bool, threading.Event], str | None]
"""Submits the job, from a checkpoint if there is one; returns the error, if any. The second argument says whether state
of operators that the job no longer has is ignored; otherwise the JobManager rejects the checkpoint."""


class Supervisor:
    """Supervises the job, one step at a time."""

    def __init__(
        self, cluster: Cluster, submit: Submit, source: Source, checkpoint_dir: Path, heartbeat: Heartbeat
    ) -> None:
        """Creates a supervisor.

        Args:
            cluster: Where the job runs.
            submit: Submits the job.
            source: The topic that the job reads.
            checkpoint_dir: Where its checkpoints are.
            heartbeat: Updated while all tasks of the job run, so that the container is healthy exactly then.
        """
        self._cluster = cluster
        self._submit = submit
        self._source = source
        self._checkpoint_dir = checkpoint_dir
        self._heartbeat = heartbeat
        self._rejected: set[Path] = set()
        self._allow_non_restored: set[Path] = set()
        """Checkpoints with state of operators that the job no longer has; that state is ignored."""
        self._undeletable: set[Path] = set()
        self._submitted_topic_id: str | None = None
        """Id of the topic when the job was last submitted; None once it is recorded."""
        self._unrecorded = ""
        """Job for which it was logged that its topic cannot be recorded yet."""
        self._failures = 0
        self._poisoned = False
        """Whether the job was stopped because it rejects too many messages."""
        self._last_logged = ""

    def run(self, stop: threading.Event, interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Supervises the job until `stop` is set; then takes a last checkpoint and leaves the job running."""
        while not stop.is_set():
            try:
                self.step(stop)
            except Unreachable as error:
                self._log_change("the JobManager does not answer", error=str(error))
            except Unavailable as error:
                self._log_change("the job is not submitted while Kafka does not answer", error=str(error))
            stop.wait(interval_seconds)
        try:
            self._checkpoint()
        except (Unreachable, CheckpointFailed) as error:
            log.warning("failed to take a checkpoint before stopping", error=str(error))

    def _checkpoint(self, poll_seconds: float = 0.1) -> None:
        """Takes a checkpoint, so that the next job repeats nothing if the whole fleet is stopping.

        Raises:
            Unreachable: The JobManager does not answer.
            CheckpointFailed: It failed, or was not complete in time.
        """
        deadline = time.monotonic() + FINAL_CHECKPOINT_SECONDS
        for job in self._cluster.jobs().active:
            request = self._cluster.start_checkpoint(job)
            while not self._cluster.is_checkpoint_over(job, request):
                if time.monotonic() > deadline:
                    raise CheckpointFailed(f"not complete after {FINAL_CHECKPOINT_SECONDS:g} s")
                time.sleep(poll_seconds)
            log.info("took a checkpoint before stopping", job=job.id)

    def step(self, stop: threading.Event) -> None:
        """Checks the job once, and submits, cancels or cleans up as needed.

        Raises:
            Unreachable: The JobManager does not answer.
            Unavailable: The job has to be submitted, and Kafka does not answer.
        """
        active = self._cluster.jobs().active
        if not active:
            if not self._poisoned:
                self._submit_from_newest(stop)
            return
        if len(active) > 1:
            log.warning("found the job more than once; cancel all but one", jobs=[job.id for job in active])
        job = active[-1]
        self._record_topic_id(job)
        if job.fully_running:
            self._failures = 0
            self._heartbeat.beat()
            self._log_change("the job is running", job=job.id)
            if len(active) == 1:  # otherwise it is unknown which job will stay
                self._delete_outdated(job)
        else:
            self._log_change("the job is starting", job=job.id, state=job.state)
            self._cancel_endless_restarts(job)

    def _submit_from_newest(self, stop: threading.Event) -> None:
        # The id that is recorded is the one that was compared, even if the topic is replaced during the submission.
        self._submitted_topic_id = self._source.topic_id()
        checkpoint = self._choose(self._submitted_topic_id)
        origin = str(checkpoint.path) if checkpoint else "the offsets of the consumer group"
        allow_non_restored = checkpoint is not None and checkpoint.path in self._allow_non_restored
        self._log_change("submitting the job", origin=origin)
        problem = self._submit(checkpoint, allow_non_restored, stop)
        if problem is None or stop.is_set():
            return
        self._last_logged = ""
        # If the JobManager is unavailable, the checkpoint is not the cause: this raises, and no failure is counted.
        if self._cluster.jobs().active:
            return
        if checkpoint and not allow_non_restored and is_state_without_operator(problem):
            self._allow_non_restored.add(checkpoint.path)
            log.warning(
                "the job has changed: restoring the checkpoint without the state of operators that it no longer has; "
                "a Kafka source without its state continues from the committed offsets",
                origin=origin,
                error=problem,
            )
            return
        self._failures += 1
        log.error("failed to submit the job", origin=origin, tries=self._failures, error=problem)
        if checkpoint and (is_restore_failure(problem) or self._failures >= TRIES):
            self._reject(checkpoint.path, problem)

    def _choose(self, topic_id: str) -> Checkpoint | None:
        found = checkpoints.find(self._checkpoint_dir)
        usable = checkpoints.usable(found, topic_id)
        checkpoint = checkpoints.newest(usable, self._rejected)
        if found and not usable:
            log.warning(
                "the topic was recreated after the checkpoints were taken, so their offsets are invalid: continuing "
                "from the committed offsets, or from the start of the topic",
                topic_id=topic_id,
                recorded=sorted({each.topic_id for each in found if each.topic_id}),
            )
        elif usable and checkpoint is None:
            log.error(
                "no checkpoint can be restored: continuing from the committed offsets, without known copies",
                rejected=len(self._rejected),
            )
        return checkpoint

    def _record_topic_id(self, job: Job) -> None:
        """Records which topic the offsets in a job's checkpoints belong to, once for each job."""
        try:
            if checkpoints.recorded_topic_id(self._checkpoint_dir, job.id) is None:
                # For a job that somebody else submitted, the current topic is recorded.
                topic_id = self._submitted_topic_id or self._source.topic_id()
                checkpoints.record_topic_id(self._checkpoint_dir, job.id, topic_id)
            self._submitted_topic_id = None
        except (Unavailable, OSError) as error:  # retried at the next step; the job does not need it
            if self._unrecorded != job.id:
                self._unrecorded = job.id
                log.warning("cannot record yet which topic the job reads", job=job.id, error=str(error))

    def _delete_outdated(self, job: Job) -> None:
        """Deletes the checkpoints of earlier jobs once the running one has a checkpoint of its own."""
        for folder in checkpoints.outdated(self._checkpoint_dir, job.id):
            if folder in self._undeletable:
                continue
            try:
                checkpoints.delete(folder)
            except OSError as error:
                self._undeletable.add(folder)
                log.warning("failed to delete the checkpoints of an earlier job", path=str(folder), error=str(error))
                continue
            self._rejected = {path for path in self._rejected if path.parent != folder}
            self._allow_non_restored = {path for path in self._allow_non_restored if path.parent != folder}
            log.info("deleted the checkpoints of an earlier job", path=str(folder), job=job.id)

    def _cancel_endless_restarts(self, job: Job) -> None:
        """Cancels a job that would restart endlessly: it cannot read its checkpoint, or rejects too many messages.

        In the second case each restart would write the rejected messages to the permanent topic again.
        """
        trace = self._cluster.newest_failure(job)
        if is_restore_failure(trace):
            path = self._cluster.restored_checkpoint(job)
            if path:
                self._reject(path, trace.splitlines()[0])
        elif problem := too_many_unreadable(trace):
            self._poisoned = True
            log.error(
                "stopped the job: it rejects too many messages; correct the producer or the reader, then restart this "
                "container",
                job=job.id,
                error=problem,
            )
        else:
            return
        self._cluster.cancel(job)

    def _reject(self, path: Path, problem: str) -> None:
        self._rejected.add(path)
        self._failures = 0
        log.error(
            "rejected a checkpoint that cannot be restored; trying the previous one", path=str(path), error=problem
        )

    def _log_change(self, event: str, **fields: str) -> None:
        """Logs an event unless it is the same as the last one."""
        line = f"{event} {fields.get('job')} {fields.get('state')} {fields.get('origin')}"
        if line != self._last_logged:
            self._last_logged = line
            log.info(event, **fields)


def command(checkpoint: Checkpoint | None, allow_non_restored: bool = False) -> list[str]:
    """Returns the command line that submits the job; see `Submit`."""
    restore = ["-s", checkpoint.path.as_uri()] if checkpoint else []
    if checkpoint and allow_non_restored:
        restore.append("--allowNonRestoredState")
    return ["flink", "run", "-d", *restore, "-py", str(JOB_FILE)]


def submit(checkpoint: Checkpoint | None, allow_non_restored: bool, stop: threading.Event) -> str | None:
    """Runs `flink run` until it ends, or `stop` is set; see `Submit`.

    Returns:
        Its error output if it failed or took too long; None if the job was submitted.
    """
    with tempfile.TemporaryFile() as output:
        client = subprocess.Popen(
            command(checkpoint, allow_non_restored), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        waited = 0.0
        while client.poll() is None and not stop.wait(0.2):
            waited += 0.2
            if waited > SUBMISSION_SECONDS:
                break
        if client.poll() is None:
            client.kill()
        status = client.wait()
        output.seek(0)
        printed = output.read().decode(errors="replace")
    if status == 0:
        return None
    return summary_of(printed) or f"flink run ended with status {status}"


def summary_of(printed: str, causes: int = 6) -> str:
    """Returns the last causes in the output of the `flink` command, without stack frames."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    causes_found = [line for line in lines if line.startswith("Caused by:")]
    kept: Collection[str] = dict.fromkeys(causes_found or lines)
    return "\n".join(list(kept)[-causes:])
