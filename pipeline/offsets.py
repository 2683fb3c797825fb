"""The offset that may be committed when messages finish out of order. Pure.

All messages before the committed offset are finished. Finished messages after it are listed in the metadata of the
commit, so that the next reader does not handle them again. (Confluent's Parallel Consumer does the same and calls it
offset map encoding.)
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

MAX_METADATA_BYTES = 4096
"""Default limit of a broker (`offset.metadata.max.bytes`)."""

_RUNS = re.compile(r"\d+\+\d+(,\d+\+\d+)*", re.ASCII)


@dataclass(frozen=True)
class Progress:
    """The finished messages of a partition.

    Attributes:
        position: Offset before which all messages are finished.
        ahead: Ranges of finished offsets after it, in rising order, not empty, and with gaps between them.
    """

    position: int
    ahead: tuple[range, ...] = ()

    @classmethod
    def of(cls, position: int, metadata: str) -> Self:
        """Reads a commit; metadata that another program wrote is ignored."""
        ahead, end = [], position
        if _RUNS.fullmatch(metadata):
            for run in metadata.split(","):
                unfinished, finished = map(int, run.split("+"))
                ahead.append(range(end + unfinished, end + unfinished + finished))
                end = ahead[-1].stop
        return cls(position, tuple(ahead))

    @property
    def metadata(self) -> str:
        """The ranges `ahead`, each as `unfinished+finished` messages (`2+40,1+7`), as many as a broker accepts."""
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
    """Tracks the messages of one partition: they are read in rising order and finish in any order."""

    def __init__(self, committed: Progress | None = None) -> None:
        """Continues from the progress of another reader; None: starts at the first message that is read."""
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._read_to = committed.position if committed else None
        self._known = deque(committed.ahead if committed else ())

    def start(self, offset: int) -> bool:
        """Starts to track a message.

        Returns:
            Whether it has to be handled: False when it is already finished.
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
        """The progress that may be committed; None before the first message of a partition without a commit."""
        if self._read_to is None:
            return None
        position = next(iter(self._unfinished), self._read_to)
        return Progress(position, tuple(self._ahead(position, self._read_to)))

    def _ahead(self, end: int, read_to: int) -> Iterator[range]:
        """Yields the finished ranges after `end`: messages that were read and are not in flight, then earlier ones."""
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
