"""Health checks. A loop is healthy while it makes progress: it touches a heartbeat, whose age is checked.

The heartbeat is a file for the container's health check, and a time for the process itself. `watch` ends a process
whose loop hangs, because Docker restarts containers that exit, but not containers that are unhealthy.

The health check of a loop is `python -m pipeline.health`; it exits with 0 when the heartbeat is fresh. The health check
of a web service is `python -m pipeline.health URL`; it exits with 0 when the URL answers with success.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HEARTBEAT = Path("/tmp/heartbeat")
NOTE = Path("/tmp/health-note")
MAX_AGE_SECONDS = 30.0


class Heartbeat:
    """Touches a file, at most once a second."""

    def __init__(self, path: Path = HEARTBEAT) -> None:
        self._path = path
        self._last = time.monotonic()
        self._touched = 0.0

    def beat(self) -> None:
        """Records that the loop has made progress."""
        self._last = time.monotonic()
        if self._last - self._touched >= 1:
            self._path.touch()
            self._touched = self._last

    @property
    def age_seconds(self) -> float:
        """Time since the last beat, or since the object was created."""
        return time.monotonic() - self._last


def watch(
    heartbeat: Heartbeat,
    stop: threading.Event,
    give_up: Callable[[float], None],
    max_age_seconds: float = MAX_AGE_SECONDS,
    interval_seconds: float = 1,
) -> None:
    """Calls `give_up` with the age of the last beat, in seconds, when it is too old; returns when `stop` is set."""
    while not stop.wait(interval_seconds):
        if heartbeat.age_seconds > max_age_seconds:
            give_up(heartbeat.age_seconds)
            return


def note(text: str | None, path: Path = NOTE) -> None:
    """Sets a note that the health check of a healthy service prints; None removes the note."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)


def verdict(found: str | None, path: Path = NOTE) -> str:
    """Returns the output of the health check: the problem, or `healthy` with the note if there is one."""
    if found:
        return found
    return f"healthy; {path.read_text()}" if path.exists() else "healthy"


def problem(path: Path = HEARTBEAT, max_age_seconds: float = MAX_AGE_SECONDS) -> str | None:
    """Returns the problem in one line, or None when the heartbeat is fresh."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return f"no heartbeat at {path}: the loop has not started"
    return None if age <= max_age_seconds else f"last heartbeat {age:.0f} s ago: the loop makes no progress"


def http_problem(url: str, timeout_seconds: float = 4) -> str | None:
    """Returns the problem of a web service in one line, or None when it answers with success."""
    # Imported only here: the import takes longer than the whole check of a heartbeat.
    import urllib.error
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # see `pipeline.http`
    try:
        with direct.open(url, timeout=timeout_seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    found = http_problem(sys.argv[1]) if len(sys.argv) > 1 else problem()
    print(verdict(found))
    sys.exit(1 if found else 0)
