"""Faults of the Flink job: failing checkpoints, a changed job and too many unreadable messages."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import flink_job
from flink_job.cluster import Cluster
from pipeline import topics
from pipeline.settings import KafkaSettings
from tests.drills.faults.base import BrokenPromise, Fault, Stage
from tests.drills.faults.replacement import STOP_SECONDS, Replaced
from tests.drills.faults.volumes import helper
from tests.fleet import FLINK_GROUP, eventually

CHECKPOINTS = "/opt/flink-checkpoints"
RESTARTS_SECONDS = 40.0
"""Long enough for several restarts of a job that is restarted endlessly."""
_FILE = "/app/flink_job/job.py"
_SOURCE = Path(flink_job.__file__).with_name("job.py")
_FILTER, _CHANGED_FILTER = "Duplicate Filter", "Filter of Copies"


@dataclass(frozen=True)
class FailCheckpoints(Fault):
    """Makes checkpoints fail and then kills the TaskManager: the job continues from an old checkpoint."""

    name: str = "checkpoints-fail"
    seconds: float = field(default=70, kw_only=True)  # more than two intervals of checkpoints

    def apply(self, stage: Stage) -> None:
        self._permit(stage, "a-w")

    def undo(self, stage: Stage) -> None:
        [manager] = stage.containers("flink-taskmanager")
        manager.kill()
        self._permit(stage, "u+w")
        manager.start()

    def _permit(self, stage: Stage, mode: str) -> None:
        [submitter] = stage.containers("flink-job")
        helper(stage, submitter, CHECKPOINTS, f"chmod -R {mode} /data")


@dataclass(frozen=True)
class ChangeJob(Replaced):
    """Replaces the fleet's job by one in which an operator with state has another name, and then restores it.

    Each job restores the state of the other one, except that of this operator, the filter of duplicates.
    """

    name: str = "changed-job"
    service: str = field(default="flink-job", kw_only=True)
    seconds: float = field(default=10, kw_only=True)

    def apply(self, stage: Stage) -> None:
        source = _SOURCE.read_text(encoding="utf-8")
        changed = source.replace(f'"{_FILTER}"', f'"{_CHANGED_FILTER}"')
        assert changed != source, f"the job has no operator {_FILTER!r}"
        self.original(stage).stop(timeout=STOP_SECONDS)  # takes a checkpoint
        _cancel()
        self.replace(stage, files={_FILE: changed.encode()})
        eventually(stage.fleet.job_works, "the changed job runs", 120, interval=1)

    def before_original(self, stage: Stage) -> None:
        _cancel()


@dataclass(frozen=True)
class FloodJob(Replaced):
    """Writes more unreadable messages than the job may reject: it has to stop and must not repeat them endlessly.

    Then the limit is raised, so that the job can reject them all.
    """

    name: str = "unreadable-flood"
    service: str = field(default="flink-job", kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        fleet = stage.fleet
        limit = KafkaSettings().poison_limit
        before = fleet.written([topics.PERMANENT]) or 0
        for _ in range(2 * limit):
            fleet.produce(topics.RESPONSES_SUCCESS, b"drill", b"{")
        eventually(lambda: not _cluster().jobs().active, "the job is cancelled", 120)
        time.sleep(RESTARTS_SECONDS)  # nothing may be repeated in this time
        if (rejected := (fleet.written([topics.PERMANENT]) or 0) - before) > 4 * limit:
            raise BrokenPromise(f"{rejected} messages were rejected where {limit} may be")

    def undo(self, stage: Stage) -> None:
        self.original(stage).stop(timeout=STOP_SECONDS)
        self.replace(stage, environment={"POISON_LIMIT": "1000000"})
        eventually(stage.fleet.job_works, "the job runs", 120, interval=1)
        eventually(lambda: not stage.fleet.lag(FLINK_GROUP, [topics.RESPONSES_SUCCESS]), "the job is through", 120)
        super().undo(stage)

    def before_original(self, stage: Stage) -> None:
        _cancel()


def _cluster() -> Cluster:
    return Cluster("http://flink-jobmanager:8081")


def _cancel() -> None:
    cluster = _cluster()
    for each in cluster.jobs().active:
        cluster.cancel(each)
    eventually(lambda: not cluster.jobs().active, "the job is cancelled", 60)
