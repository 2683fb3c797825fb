"""A member's share of a limit of its consumer group, computed from its partitions. Pure.

Each unit of the limit belongs to a partition, so the shares of all members add up to the limit without communication.
"""

from collections.abc import Collection


class Share:
    """The part of its topic that a member reads. The loop's thread writes it, other threads read it."""

    def __init__(self) -> None:
        self._mine: frozenset[int] = frozenset()
        self._partitions = 1

    def set(self, mine: Collection[int], partitions: int) -> None:
        """Sets the partitions that are assigned to this member, and the number of partitions of the topic."""
        self._mine, self._partitions = frozenset(mine), max(1, partitions)

    @property
    def fraction(self) -> float:
        """Share of the partitions, from 0 to 1."""
        return len(self._mine) / self._partitions

    def of(self, whole: int) -> int:
        """Returns how many of `whole` units belong to this member: units are assigned to partitions in turn.

        With fewer units than partitions, each member with a partition still gets one unit, because its partition would
        never be read otherwise. The members then exceed the limit unless the caller makes them take turns.
        """
        if not self._mine or not whole:
            return 0
        share = sum(unit % self._partitions in self._mine for unit in range(whole))
        return share if whole >= self._partitions else max(1, share)
