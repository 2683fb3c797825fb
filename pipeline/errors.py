"""Errors that have a meaning across services."""


class Unavailable(Exception):
    """A neighbour (database, broker, scorer, …) is away: the work has to wait, it is not at fault.

    Attributes:
        wait_seconds: After which another try makes sense; None when nobody knows.
        told: Whoever raised it has logged it, once: nobody needs to log each further try.
    """

    def __init__(self, why: str, wait_seconds: float | None = None, already_logged: bool = False) -> None:
        super().__init__(why)
        self.wait_seconds = wait_seconds
        self.already_logged = already_logged
