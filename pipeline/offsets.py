"""Which offset may be committed when messages are finished out of order. Pure."""

from collections import deque


class LowWatermark:
    """Follows the messages in flight of one partition.

    What may be committed is the offset after the last message before which everything is finished.
    """

    def __init__(self) -> None:
        self._started: deque[int] = deque()
        self._finished: set[int] = set()

    def start(self, offset: int) -> None:
        """Takes a message in; offsets come in rising order."""
        self._started.append(offset)

    def finish(self, offset: int) -> int | None:
        """Marks a message as finished.

        Returns:
            The offset to commit, or None when an earlier message is still in flight.
        """
        self._finished.add(offset)
        position = None
        while self._started and self._started[0] in self._finished:
            self._finished.remove(self._started[0])
            position = self._started.popleft() + 1
        return position

    def __len__(self) -> int:
        """Messages that hold the watermark back or wait behind it."""
        return len(self._started)
