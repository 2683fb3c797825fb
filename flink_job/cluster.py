"""Client of the JobManager's REST API, and functions that interpret its responses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from pipeline import http
from pipeline.poison import TooManyUnreadable

JOB_NAME = "score-validator"

TIMEOUT_SECONDS = 5.0

_ENDED = {"FAILED", "CANCELED", "FINISHED"}
"""Final states. In all other states the job runs or will run."""

_RESTORE_FAILURES = (
    "Exception while creating StreamOperatorStateContext",
    "Could not restore",
    "Failed to restore",
    "BackendBuildingException",
    "StateMigrationException",
    "Failed to rollback to checkpoint/savepoint",
    "Cannot find checkpoint or savepoint file/directory",
    "Cannot find meta data file '_metadata'",
    "Unexpected magic number",
    "can not be restored. The maximum parallelism",
)
"""Parts of a stack trace that show that the state of a checkpoint cannot be read or does not fit."""

_STATE_WITHOUT_OPERATOR = (
    "because the operator is not available in the new program",
    "There is no operator for the state",
)
"""Parts of a stack trace that show that a checkpoint has state of operators that the job no longer has."""

_TOO_MANY_UNREADABLE = re.compile(rf"\b{TooManyUnreadable.__name__}: (.*)")


class Unreachable(Exception):
    """The JobManager does not answer, or its answer is not what its API promises."""


class CheckpointFailed(Exception):
    """A requested checkpoint failed."""


@dataclass(frozen=True)
class Job:
    """A job of the cluster.

    Attributes:
        id: Its id, 32 hex digits.
        state: Flink's name of its state: `RUNNING`, `RESTARTING`, …
        started_at: Milliseconds since 1970.
        tasks: Number of its tasks.
        tasks_running: Number of tasks that run.
    """

    id: str
    state: str
    started_at: int
    tasks: int
    tasks_running: int

    @property
    def active(self) -> bool:
        """Whether it runs, or will run without intervention."""
        return self.state not in _ENDED

    @property
    def fully_running(self) -> bool:
        """Whether all tasks run. `RUNNING` alone is not enough: its tasks may still wait for a TaskManager."""
        return self.state == "RUNNING" and 0 < self.tasks == self.tasks_running


@dataclass(frozen=True)
class Jobs:
    """The jobs named `JOB_NAME`, newest first."""

    all: tuple[Job, ...]

    @property
    def active(self) -> tuple[Job, ...]:
        """Jobs that have not ended; more than one means that somebody submitted the job twice."""
        return tuple(job for job in self.all if job.active)


def read_overview(overview: Mapping[str, Any], name: str = JOB_NAME) -> Jobs:
    """Reads the answer of `/jobs/overview`.

    Raises:
        Unreachable: The answer is not what the API promises.
    """
    try:
        found = [
            Job(job["jid"], job["state"], job["start-time"], job["tasks"]["total"], job["tasks"]["running"])
            for job in overview["jobs"]
            if job["name"] == name
        ]
    except (KeyError, TypeError) as error:
        raise Unreachable(f"unexpected answer of /jobs/overview: {error!r}") from None
    return Jobs(tuple(sorted(found, key=lambda job: job.started_at, reverse=True)))


def is_restore_failure(trace: str) -> bool:
    """Returns whether a stack trace says that the state of a checkpoint cannot be read or does not fit."""
    return any(marker in trace for marker in _RESTORE_FAILURES)


def is_state_without_operator(trace: str) -> bool:
    """Returns whether a checkpoint was rejected only because it has state of operators that the job no longer has."""
    return any(marker in trace for marker in _STATE_WITHOUT_OPERATOR)


def too_many_unreadable(trace: str) -> str | None:
    """Returns the error of a job that stopped at too many unreadable messages (`pipeline.poison`), otherwise None."""
    found = _TOO_MANY_UNREADABLE.search(trace)
    return found[1].strip() if found else None


def newest_failure(exceptions: Mapping[str, Any]) -> str:
    """Returns the newest stack trace in an answer of `/jobs/:id/exceptions`; empty if there is none."""
    entries = (exceptions.get("exceptionHistory") or {}).get("entries") or []
    newest = max(entries, key=lambda entry: int(entry.get("timestamp", 0)), default=None)
    return str(newest.get("stacktrace", "")) if newest else ""


def restored_checkpoint(checkpoints: Mapping[str, Any]) -> Path | None:
    """Returns the folder of the restored checkpoint in an answer of `/jobs/:id/checkpoints`, if any."""
    restored = (checkpoints.get("latest") or {}).get("restored") or {}
    location = restored.get("external_path")
    return Path(str(location).removeprefix("file:")) if location else None


def is_checkpoint_over(answer: Mapping[str, Any]) -> bool:
    """Returns whether the checkpoint is complete, from an answer of `/jobs/:id/checkpoints/:request`.

    Raises:
        CheckpointFailed: The checkpoint failed.
        Unreachable: The answer is not what the API promises.
    """
    try:
        cause = (answer.get("operation") or {}).get("failureCause")
        over: bool = answer["status"]["id"] == "COMPLETED"
        trace = str(cause["stack-trace"]).strip() if cause else ""
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreachable(f"unexpected answer about a checkpoint: {error!r}") from None
    if cause:
        raise CheckpointFailed(trace.splitlines()[0] if trace else "no cause given")
    return over


class Cluster:
    """Client of the JobManager's REST API."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._http = http.Client(url, timeout_seconds)

    def jobs(self) -> Jobs:
        """Returns the jobs named `JOB_NAME`.

        Raises:
            Unreachable: The JobManager does not answer.
        """
        return read_overview(self._get("/jobs/overview"))

    def newest_failure(self, job: Job) -> str:
        """Returns the stack trace of a job's newest failure; empty if it has had none."""
        return newest_failure(self._get(f"/jobs/{job.id}/exceptions"))

    def restored_checkpoint(self, job: Job) -> Path | None:
        """Returns the folder of the checkpoint that a job was restored from, if any."""
        return restored_checkpoint(self._get(f"/jobs/{job.id}/checkpoints"))

    def cancel(self, job: Job) -> None:
        """Cancels a job; its checkpoints stay."""
        self._call("PATCH", f"/jobs/{job.id}?mode=cancel")

    def start_checkpoint(self, job: Job) -> str:
        """Requests a checkpoint now, independent of the interval.

        Returns:
            Id of the request, for `is_checkpoint_over`.

        Raises:
            Unreachable: The JobManager does not answer.
        """
        answer = self._read("POST", f"/jobs/{job.id}/checkpoints", {})
        if "request-id" not in answer:
            raise Unreachable("unexpected answer to the request for a checkpoint")
        return str(answer["request-id"])

    def is_checkpoint_over(self, job: Job, request: str) -> bool:
        """Returns whether a requested checkpoint is complete.

        Raises:
            CheckpointFailed: The checkpoint failed.
        """
        return is_checkpoint_over(self._get(f"/jobs/{job.id}/checkpoints/{request}"))

    def _get(self, path: str) -> Mapping[str, Any]:
        return self._read("GET", path)

    def _read(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        answer = self._call(method, path, body)
        try:
            document = answer.json()
        except ValueError as error:
            raise Unreachable(f"no JSON from {path}: {error}") from None
        if not isinstance(document, dict):
            raise Unreachable(f"unexpected answer of {path}")
        return document

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        try:
            answer = self._http.call(method, path, json=body)
        except http.NoReply as error:
            raise Unreachable(str(error)) from None
        if not answer.ok:
            raise Unreachable(f"{http.problem(answer)} from {self._http.url}{path}")
        return answer
