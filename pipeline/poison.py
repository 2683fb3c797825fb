"""The limit of unreadable messages in a row. Pure."""


class TooManyUnreadable(Exception):
    """So many messages in a row could not be read that the fault is more likely here than in them."""


class PoisonLimit:
    """Counts unreadable messages in a row."""

    def __init__(self, limit: int) -> None:
        """Takes the count that is still borne."""
        self._limit = limit
        self._in_row = 0

    def read(self) -> None:
        """Notes a message that could be read."""
        self._in_row = 0

    def rejected(self, why: str) -> None:
        """Notes one that could not.

        Raises:
            TooManyUnreadable: It is one too many.
        """
        self._in_row += 1
        if self._in_row > self._limit:
            raise TooManyUnreadable(
                f"{self._in_row} messages in a row could not be read, the last one since: {why}. A bad deployment is "
                "more likely than so many bad messages (POISON_LIMIT)."
            )
