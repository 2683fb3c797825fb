"""What has to be done to have the topics as they should be. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.topics import Topic


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
