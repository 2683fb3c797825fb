"""Time within a process. Waits use a clock that cannot be set."""

import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def elapsed_seconds() -> float:
    """Returns a time that only increases, in seconds; on Linux it also counts while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def time_of_day() -> datetime:
    """Returns the time in UTC. The clock may be set forward or back at any moment."""
    return datetime.now(UTC)


class Clock:
    """The time of day and the elapsed time. Setting the clock does not change waits that use the elapsed time."""

    def __init__(
        self, now: Callable[[], datetime] = time_of_day, elapsed: Callable[[], float] = elapsed_seconds
    ) -> None:
        """Takes a function for the time of day, in UTC, and one for elapsed seconds, which only increase."""
        self.now = now
        self.elapsed = elapsed
        self.machine = _machine()
        """Id of the machine since its start. Processes with the same id have the same `elapsed`."""

    def started(self) -> float:
        """Returns when `elapsed` was 0, in seconds since the epoch. This changes only when the clock is set."""
        return self.now().timestamp() - self.elapsed()

    def running(self) -> Callable[[], datetime]:
        """Returns a clock that starts at the current time of day and ignores later changes of the system clock."""
        began, base = self.now(), self.elapsed()
        return lambda: began + timedelta(seconds=self.elapsed() - base)


def _machine() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux: processes share no id
        return uuid.uuid4().hex
