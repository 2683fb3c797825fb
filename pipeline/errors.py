"""Errors that have a meaning across services."""


class Unavailable(Exception):
    """A dependency (database, broker, scorer, …) is unavailable. The work is not at fault and has to wait.

    Attributes:
        wait_seconds: Time after which a retry makes sense; None when it is unknown.
        already_logged: The code that raised the error has logged it, so each retry need not be logged as a warning.
    """

    def __init__(self, why: str, wait_seconds: float | None = None, already_logged: bool = False) -> None:
        super().__init__(why)
        self.wait_seconds = wait_seconds
        self.already_logged = already_logged
