"""Notes of the service in `/health`: what an operator should know."""

import threading


class Notes:
    """Notes by subject. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[str, str] = {}

    def set(self, subject: str, text: str | None) -> None:
        """Sets the note about a subject; None removes it."""
        with self._lock:
            if text is None:
                self._notes.pop(subject, None)
            else:
                self._notes[subject] = text

    def all(self) -> list[str]:
        """Returns all notes."""
        with self._lock:
            return list(self._notes.values())
