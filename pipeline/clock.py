"""Time within a process. What waits here goes by a clock that nobody can set."""

import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def elapsed_seconds() -> float:
    """Returns a time that only goes forward, in seconds; on Linux also while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def time_of_day() -> datetime:
    """Returns the time in UTC, by a clock that may be set forward or back at any moment."""
    return datetime.now(UTC)


class Clock:
    """The time of day, and the time that passes: a wait by the latter is not changed by setting a clock."""

    def __init__(
        self, now: Callable[[], datetime] = time_of_day, elapsed: Callable[[], float] = elapsed_seconds
    ) -> None:
        """Takes the time of day, in UTC, and one in seconds that only goes forward."""
        self.now = now
        self.elapsed = elapsed
        self.machine = _machine()
        """Those who have the same one share `elapsed`: processes on one machine since it was started."""

    def started(self) -> float:
        """Returns when `elapsed` was 0, in seconds since the epoch: this changes only when the clock is set."""
        return self.now().timestamp() - self.elapsed()

    def running(self) -> Callable[[], datetime]:
        """Returns a time of day that begins with that of now, and goes on whatever the clock is set to."""
        began, base = self.now(), self.elapsed()
        return lambda: began + timedelta(seconds=self.elapsed() - base)


def _machine() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux: each process by itself
        return uuid.uuid4().hex
