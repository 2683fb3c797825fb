"""Which offset may be committed when messages are finished out of order. Pure.

The offset that is committed says what is finished before it. What is finished beyond it travels in the metadata of the
commit, so that whoever reads on from there does not do it again. (The idea is that of Confluent's Parallel Consumer,
which calls it offset map encoding.)
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

MAX_METADATA_BYTES = 4096
"""What a broker accepts by default (`offset.metadata.max.bytes`)."""

_RUNS = re.compile(r"\d+\+\d+(,\d+\+\d+)*", re.ASCII)


@dataclass(frozen=True)
class Progress:
    """How far the messages of a partition are finished.

    Attributes:
        position: Offset before which all are.
        ahead: Offsets from there on of those that are, too; rising, not empty, not touching each other.
    """

    position: int
    ahead: tuple[range, ...] = ()

    @classmethod
    def of(cls, position: int, metadata: str) -> Self:
        """Reads what was committed; metadata that some other program wrote says nothing."""
        ahead, end = [], position
        if _RUNS.fullmatch(metadata):
            for run in metadata.split(","):
                unfinished, finished = map(int, run.split("+"))
                ahead.append(range(end + unfinished, end + unfinished + finished))
                end = ahead[-1].stop
        return cls(position, tuple(ahead))

    @property
    def metadata(self) -> str:
        """The runs `ahead`, each as `unfinished+finished` messages, as many as a broker accepts: `2+40,1+7`."""
        runs, end, size = [], self.position, 0
        for each in self.ahead:
            run = f"{each.start - end}+{len(each)}"
            size += len(run) + 1
            if size > MAX_METADATA_BYTES:
                break
            runs.append(run)
            end = each.stop
        return ",".join(runs)


class LowWatermark:
    """Follows the messages of one partition that are read in rising order and finished in any."""

    def __init__(self, committed: Progress | None = None) -> None:
        """Begins where another reader has left off; None: from wherever the first message stands."""
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._read_to = committed.position if committed else None
        self._known = deque(committed.ahead if committed else ())

    def start(self, offset: int) -> bool:
        """Takes a message in.

        Returns:
            Whether there is something to do: False when it was finished before.
        """
        self._read_to = offset + 1
        while self._known and self._known[0].stop <= offset:
            self._known.popleft()
        if self._known and offset in self._known[0]:
            return False
        self._unfinished[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """Marks a message as finished."""
        del self._unfinished[offset]

    @property
    def progress(self) -> Progress | None:
        """What may be committed; None before the first message of a partition of which nothing is known."""
        if self._read_to is None:
            return None
        position = next(iter(self._unfinished), self._read_to)
        return Progress(position, tuple(self._ahead(position, self._read_to)))

    def _ahead(self, end: int, read_to: int) -> Iterator[range]:
        """Gives what is finished from `end` on: all that was read and is not in flight, then what is known."""
        for offset in self._unfinished:
            if end < offset:
                yield range(end, offset)
            end = offset + 1
        for each in self._known:
            if read_to < each.start:
                if end < read_to:
                    yield range(end, read_to)
                end = each.start
            read_to = each.stop
        if end < read_to:
            yield range(end, read_to)
