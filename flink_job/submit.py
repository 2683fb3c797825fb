"""Keeps the job running: submits it, and again from the newest checkpoint whenever it is gone.

A JobManager without high availability forgets its jobs when it ends. What is needed to go on lies on the volume of the
checkpoints, and this process is the one who remembers to use it, and to delete it when it is no longer needed.
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
"""A submission that takes longer is given up; it takes 6 to 7 s on a machine at rest."""

FINAL_CHECKPOINT_SECONDS = 5.0
"""A checkpoint at the end that takes longer is not waited for; it takes well below 1 s unless the scorer is away."""

TRIES = 3
"""Failed submissions from one checkpoint, of whatever cause, before the one before it is taken."""


class Cluster(Protocol):
    """What is asked of the JobManager; see `flink_job.cluster.Cluster`."""

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
"""Submits the job, from a checkpoint if there is one; returns what went wrong, if anything did. The second argument:
whether state of operators that the job no longer has may be left out; otherwise the JobManager refuses it."""


class Supervisor:
    """Looks after the job, one step at a time."""

    def __init__(
        self, cluster: Cluster, submit: Submit, source: Source, checkpoint_dir: Path, heartbeat: Heartbeat
    ) -> None:
        """Makes a supervisor.

        Args:
            cluster: Where the job runs.
            submit: Brings it there.
            source: The topic that it reads.
            checkpoint_dir: Where its checkpoints are.
            heartbeat: Beaten while all of the job is at work, so that the container is healthy exactly then.
        """
        self._cluster = cluster
        self._submit = submit
        self._source = source
        self._checkpoint_dir = checkpoint_dir
        self._heartbeat = heartbeat
        self._rejected: set[Path] = set()
        self._in_part: set[Path] = set()
        """Checkpoints with state of operators that the job no longer has: the rest of them is restored."""
        self._undeletable: set[Path] = set()
        self._submitted_topic_id: str | None = None
        """Of the topic when the job was last submitted; None once it is recorded."""
        self._unrecorded = ""
        """Job about which it was told that its topic cannot be recorded yet."""
        self._failures = 0
        self._poisoned = False
        """The job was stopped for the messages that it rejects."""
        self._told = ""

    def run(self, stop: threading.Event, interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Looks after the job until `stop` is set; leaves it running then, with a checkpoint as new as can be."""
        while not stop.is_set():
            try:
                self.step(stop)
            except Unreachable as error:
                self._tell("the JobManager does not answer", error=str(error))
            except Unavailable as error:
                self._tell("the job is not submitted while Kafka does not answer", error=str(error))
            stop.wait(interval_seconds)
        try:
            self._checkpoint()
        except (Unreachable, CheckpointFailed) as error:
            log.warning("no checkpoint before the end", error=str(error))

    def _checkpoint(self, poll_seconds: float = 0.1) -> None:
        """Takes a checkpoint: when all of the fleet is on its way down, the next job repeats nothing that came before.

        Raises:
            Unreachable: The JobManager does not answer.
            CheckpointFailed: Not taken, or not in time.
        """
        deadline = time.monotonic() + FINAL_CHECKPOINT_SECONDS
        for job in self._cluster.jobs().active:
            request = self._cluster.start_checkpoint(job)
            while not self._cluster.is_checkpoint_over(job, request):
                if time.monotonic() > deadline:
                    raise CheckpointFailed(f"not complete after {FINAL_CHECKPOINT_SECONDS:g} s")
                time.sleep(poll_seconds)
            log.info("took a checkpoint before the end", job=job.id)

    def step(self, stop: threading.Event) -> None:
        """Looks once, and does what is due.

        Raises:
            Unreachable: The JobManager does not answer.
            Unavailable: Kafka does not, and the job is to be submitted.
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
        if job.working:
            self._failures = 0
            self._heartbeat.beat()
            self._tell("the job runs", job=job.id)
            if len(active) == 1:  # otherwise nobody knows which one stays
                self._delete_outdated(job)
        else:
            self._tell("the job is on its way", job=job.id, state=job.state)
            self._cancel_what_restarts_in_vain(job)

    def _submit_from_newest(self, stop: threading.Event) -> None:
        # Recorded for the job is what it was compared with, even if the topic is replaced while it is submitted.
        self._submitted_topic_id = self._source.topic_id()
        checkpoint = self._choose(self._submitted_topic_id)
        origin = str(checkpoint.path) if checkpoint else "the offsets of the consumer group"
        in_part = checkpoint is not None and checkpoint.path in self._in_part
        self._tell("submitting the job", origin=origin)
        problem = self._submit(checkpoint, in_part, stop)
        if problem is None or stop.is_set():
            return
        self._told = ""
        # While the JobManager is away nothing is the checkpoint's fault: this raises, and nothing is counted.
        if self._cluster.jobs().active:
            return
        if checkpoint and not in_part and is_state_without_operator(problem):
            self._in_part.add(checkpoint.path)
            log.warning(
                "the job has changed: restoring the checkpoint without the state of operators that it no longer has; "
                "a Kafka source without its state goes on from the committed offsets",
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
                "the topic was created anew since the checkpoints were taken, their offsets mean nothing in it: going "
                "on from the committed offsets, or from the start of the topic",
                topic_id=topic_id,
                recorded=sorted({each.topic_id for each in found if each.topic_id}),
            )
        elif usable and checkpoint is None:
            log.error(
                "no checkpoint can be restored: going on from the committed offsets, without what is known of copies",
                rejected=len(self._rejected),
            )
        return checkpoint

    def _record_topic_id(self, job: Job) -> None:
        """Writes down which topic the offsets in a job's checkpoints belong to, once for each job."""
        try:
            if checkpoints.recorded_topic_id(self._checkpoint_dir, job.id) is None:
                # A job that somebody else submitted is recorded with what it reads now.
                topic_id = self._submitted_topic_id or self._source.topic_id()
                checkpoints.record_topic_id(self._checkpoint_dir, job.id, topic_id)
            self._submitted_topic_id = None
        except (Unavailable, OSError) as error:  # tried again at the next step; the job itself has no need of it
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
            self._in_part = {path for path in self._in_part if path.parent != folder}
            log.info("deleted the checkpoints of an earlier job", path=str(folder), job=job.id)

    def _cancel_what_restarts_in_vain(self, job: Job) -> None:
        """Ends a job that would fail for ever: it cannot read its checkpoint, or rejects too many messages.

        The latter would write all that it may reject to the permanent topic again at each restart.
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
            "gave up a checkpoint that cannot be restored; trying the one before it", path=str(path), error=problem
        )

    def _tell(self, event: str, **fields: str) -> None:
        """Logs what is new only."""
        told = f"{event} {fields.get('job')} {fields.get('state')} {fields.get('origin')}"
        if told != self._told:
            self._told = told
            log.info(event, **fields)


def command(checkpoint: Checkpoint | None, in_part: bool = False) -> list[str]:
    """Returns the command line that submits the job; see `Submit`."""
    restore = ["-s", checkpoint.path.as_uri()] if checkpoint else []
    if checkpoint and in_part:
        restore.append("--allowNonRestoredState")
    return ["flink", "run", "-d", *restore, "-py", str(JOB_FILE)]


def submit(checkpoint: Checkpoint | None, in_part: bool, stop: threading.Event) -> str | None:
    """Runs `flink run` until it ends, or `stop` is set; see `Submit`.

    Returns:
        What it said when it failed or took too long; None when the job is submitted.
    """
    with tempfile.TemporaryFile() as output:
        client = subprocess.Popen(
            command(checkpoint, in_part), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
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
        said = output.read().decode(errors="replace")
    if status == 0:
        return None
    return summary_of(said) or f"flink run ended with status {status}"


def summary_of(said: str, causes: int = 6) -> str:
    """Returns what the `flink` command said without the frames of its stack traces: the last causes."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("Caused by:")]
    kept: Collection[str] = dict.fromkeys(telling or lines)
    return "\n".join(list(kept)[-causes:])
