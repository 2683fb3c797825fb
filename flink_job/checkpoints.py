"""Which checkpoint a new job takes up.

A job writes to `FOLDER/JOB_ID/chk-N`; a folder is complete once it has a `_metadata`. Nothing here is ever deleted:
Flink keeps the newest few of each job, and those of a lost job are all that is known of it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_JOB = re.compile(r"[0-9a-f]{32}")
_CHECKPOINT = re.compile(r"chk-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        path: Its folder.
        number: Its number within its job.
        completed_at: When it was complete, in seconds since 1970.
    """

    path: Path
    number: int
    completed_at: float


def find(folder: Path) -> list[Checkpoint]:
    """Returns the complete checkpoints of all jobs; none when there is no such folder."""
    found = []
    for metadata in folder.glob("*/chk-*/_metadata"):
        path = metadata.parent
        number = _CHECKPOINT.fullmatch(path.name)
        if not number or not _JOB.fullmatch(path.parent.name):
            continue
        try:
            completed_at = metadata.stat().st_mtime
        except FileNotFoundError:  # its job goes on, and a newer one took its place
            continue
        found.append(Checkpoint(path, int(number[1]), completed_at))
    return found


def newest(found: Collection[Checkpoint], rejected: Collection[Path] = ()) -> Checkpoint | None:
    """Returns the newest checkpoint whose folder is not among `rejected`; None when nothing is left."""
    left = [each for each in found if each.path not in rejected]
    return max(left, key=lambda each: (each.completed_at, each.number), default=None)
