"""Health is progress: a heartbeat file that a loop touches after work, checked by its age.

`python -m pipeline.health [SECONDS]` is the containers' health check: 0 when the heartbeat is younger than that.
"""

import sys
import time
from pathlib import Path

HEARTBEAT = Path("/tmp/heartbeat")
MAX_AGE_SECONDS = 30.0


class Heartbeat:
    """Touches a file, at most once a second."""

    def __init__(self, path: Path = HEARTBEAT) -> None:
        self._path = path
        self._last = 0.0

    def beat(self) -> None:
        """Tells that the loop made progress."""
        now = time.monotonic()
        if now - self._last >= 1:
            self._path.touch()
            self._last = now


def problem(path: Path = HEARTBEAT, max_age_seconds: float = MAX_AGE_SECONDS) -> str | None:
    """Returns what is wrong in one line, or None when the heartbeat is fresh."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return f"no heartbeat at {path}: the loop has not started"
    return None if age <= max_age_seconds else f"last heartbeat {age:.0f} s ago: the loop makes no progress"


if __name__ == "__main__":
    found = problem(max_age_seconds=float(sys.argv[1]) if len(sys.argv) > 1 else MAX_AGE_SECONDS)
    print(found or "healthy")
    sys.exit(1 if found else 0)
