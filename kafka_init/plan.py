"""What has to be done to have the topics as they should be. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.topics import RETENTION_MS, Topic

NO_LIMIT = -1
"""As a value of `retention.ms`."""

OFFSETS_RETENTION = "offsets.retention.minutes"
OFFSETS_RETENTION_MINUTES = RETENTION_MS // 60_000
"""Offsets are kept as long as messages: a group that lost its offsets starts again with the oldest message."""


@dataclass(frozen=True)
class Plan:
    """Steps towards the wanted topics.

    Attributes:
        create: Topics that are not there.
        grow: Topics with too few partitions. More than wanted is right too: somebody has scaled.
    """

    create: list[Topic]
    grow: list[Topic]


def plan(wanted: Sequence[Topic], partitions: Mapping[str, int]) -> Plan:
    """Compares the wanted topics with the partitions of those that are there."""
    return Plan(
        create=[topic for topic in wanted if topic.name not in partitions],
        grow=[topic for topic in wanted if 0 < partitions.get(topic.name, 0) < topic.partitions],
    )


def too_low(wanted: Mapping[str, str], found: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the settings of a topic that have to be raised, with the wanted values; more than wanted is right too."""
    return {name: value for name, value in wanted.items() if not _reaches(found.get(name), int(value))}


def offsets_expire_early(found: str | None) -> bool:
    """Returns whether a broker forgets the offsets of a group before its messages; unknown is not early."""
    return found is not None and int(found) < OFFSETS_RETENTION_MINUTES


def _reaches(found: str | None, wanted: int) -> bool:
    return found is not None and (int(found) == NO_LIMIT or int(found) >= wanted)
