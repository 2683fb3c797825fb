"""A member's share of what a whole consumer group may have, by the partitions that it has. Pure.

Shares of all members add up to the whole, without a word between them: each unit of the whole belongs to a partition.
"""

from collections.abc import Collection


class Share:
    """Which part of its topic a member reads. It is written by the loop's thread and read by others."""

    def __init__(self) -> None:
        self._mine: frozenset[int] = frozenset()
        self._partitions = 1

    def set(self, mine: Collection[int], partitions: int) -> None:
        """Notes the partitions that are assigned to this member, and how many the topic has."""
        self._mine, self._partitions = frozenset(mine), max(1, partitions)

    @property
    def fraction(self) -> float:
        """Of the whole, from 0 to 1."""
        return len(self._mine) / self._partitions

    def of(self, whole: int) -> int:
        """Returns how many of `whole` units are this member's: unit 0, 1, … belongs to partition 0, 1, … in turn.

        Where there are fewer units than partitions a member with a partition gets one all the same, or its partition
        would never be read: somebody has to see to it that they take turns.
        """
        if not self._mine or not whole:
            return 0
        share = sum(unit % self._partitions in self._mine for unit in range(whole))
        return share if whole >= self._partitions else max(1, share)
