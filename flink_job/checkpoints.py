"""The checkpoints on the volume: which one a new job starts from, and which ones are no longer needed.

A job writes to `FOLDER/JOB_ID/chk-N`; a checkpoint is complete once it has a `_metadata`. Flink keeps the newest few of
each job and keeps them when the job ends. The checkpoints of a lost job are needed until its successor has completed
one of its own.

The offsets in a checkpoint are valid in one Kafka topic only. The id of that topic is recorded beside the checkpoints
of each job: a topic that was deleted and created again, or lost with its volume, has the same name but another id.
"""

import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_JOB = re.compile(r"[0-9a-f]{32}")
_CHECKPOINT = re.compile(r"chk-(\d+)")
_TOPIC_ID = "topic-id"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        path: Its folder.
        number: Its number within its job.
        completed_at: When it was completed, in seconds since 1970.
        topic_id: Id of the topic that its offsets belong to; None if it was not recorded.
    """

    path: Path
    number: int
    completed_at: float
    topic_id: str | None = None

    @property
    def job_id(self) -> str:
        """Id of the job that wrote it."""
        return self.path.parent.name


def find(folder: Path) -> list[Checkpoint]:
    """Returns the complete checkpoints of all jobs; an empty list if the folder does not exist."""
    return [checkpoint for job in _jobs(folder) for checkpoint in _complete(job)]


def newest(found: Collection[Checkpoint], rejected: Collection[Path] = ()) -> Checkpoint | None:
    """Returns the newest checkpoint whose folder is not among `rejected`; None if there is none."""
    left = [each for each in found if each.path not in rejected]
    return max(left, key=_age, default=None)


def usable(found: Iterable[Checkpoint], topic_id: str) -> list[Checkpoint]:
    """Returns the checkpoints whose offsets belong to the topic with this id.

    A checkpoint without a recorded id was written by an older release. It counts as usable, unless a newer checkpoint
    belongs to another topic: then the topic was replaced later.
    """
    kept, replaced = [], False
    for each in sorted(found, key=_age, reverse=True):
        if each.topic_id == topic_id or (each.topic_id is None and not replaced):
            kept.append(each)
        replaced = replaced or each.topic_id not in (None, topic_id)
    return kept


def recorded_topic_id(folder: Path, job_id: str) -> str | None:
    """Returns the topic id that was recorded for a job, if any."""
    try:
        return (folder / job_id / _TOPIC_ID).read_text().strip() or None
    except FileNotFoundError:
        return None


def record_topic_id(folder: Path, job_id: str, topic_id: str) -> None:
    """Records the id of the topic that a job reads.

    Raises:
        OSError: The volume is not writable.
    """
    job = folder / job_id
    job.mkdir(parents=True, exist_ok=True)
    (job / _TOPIC_ID).write_text(f"{topic_id}\n")


def outdated(folder: Path, job_id: str) -> list[Path]:
    """Returns the folders of the jobs that wrote nothing since `job_id` completed its newest checkpoint.

    The list is empty until `job_id` has completed a checkpoint: until then it may need the one that it started from,
    which belongs to another job. Later it does not: the first checkpoint after a start refers to no earlier files.
    """
    own = newest([each for each in find(folder) if each.job_id == job_id])
    if own is None:
        return []
    return [job for job in _jobs(folder) if job.name != job_id and _changed_at(job) < own.completed_at]


def delete(job: Path) -> None:
    """Deletes the folder of a job.

    Raises:
        OSError: Some files could not be deleted.
    """
    # Metadata first: if this is interrupted, the remaining files must not look like a complete checkpoint.
    for metadata in job.glob("chk-*/_metadata"):
        metadata.unlink(missing_ok=True)
    shutil.rmtree(job)


def _jobs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _JOB.fullmatch(path.name) and path.is_dir())


def _complete(job: Path) -> Iterator[Checkpoint]:
    topic_id = recorded_topic_id(job.parent, job.name)
    for metadata in job.glob("chk-*/_metadata"):
        number = _CHECKPOINT.fullmatch(metadata.parent.name)
        if not number:
            continue
        try:
            completed_at = metadata.stat().st_mtime
        except FileNotFoundError:  # its job still runs and replaced it by a newer one
            continue
        yield Checkpoint(metadata.parent, int(number[1]), completed_at, topic_id)


def _changed_at(job: Path) -> float:
    """Returns when a job last began or completed a checkpoint, in seconds since 1970."""
    return max([job.stat().st_mtime, *(each.completed_at for each in _complete(job))])


def _age(checkpoint: Checkpoint) -> tuple[float, int]:
    return checkpoint.completed_at, checkpoint.number
