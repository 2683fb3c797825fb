"""Compares existing topics with the wanted ones. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.topics import RETENTION_MS, Topic

NO_LIMIT = -1
"""Value of `retention.ms` for unlimited retention."""

OFFSETS_RETENTION = "offsets.retention.minutes"
OFFSETS_RETENTION_MINUTES = RETENTION_MS // 60_000
"""Offsets must be kept as long as messages: a group without offsets starts again with the oldest message."""


@dataclass(frozen=True)
class Plan:
    """Changes that lead to the wanted topics.

    Attributes:
        create: Topics that do not exist.
        grow: Topics with too few partitions. More partitions than wanted are allowed, because an operator may add some.
    """

    create: list[Topic]
    grow: list[Topic]


def plan(wanted: Sequence[Topic], partitions: Mapping[str, int]) -> Plan:
    """Compares the wanted topics with the partitions of existing ones."""
    return Plan(
        create=[topic for topic in wanted if topic.name not in partitions],
        grow=[topic for topic in wanted if 0 < partitions.get(topic.name, 0) < topic.partitions],
    )


def too_low(wanted: Mapping[str, str], found: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the settings of a topic that have to be raised, with the wanted values; higher values are allowed."""
    return {name: value for name, value in wanted.items() if not _reaches(found.get(name), int(value))}


def offsets_expire_early(found: str | None) -> bool:
    """Returns whether a broker deletes the offsets of a group before its messages; False when it is unknown."""
    return found is not None and int(found) < OFFSETS_RETENTION_MINUTES


def _reaches(found: str | None, wanted: int) -> bool:
    return found is not None and (int(found) == NO_LIMIT or int(found) >= wanted)
