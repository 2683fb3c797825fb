"""Fault that changes the clock of running programs."""

import time
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from tests.drills.faults.base import BrokenPromise, Stage, execute
from tests.drills.faults.replacement import STOP_SECONDS, Replaced

JUMP_SECONDS = 300
WRONG_SECONDS = 15.0
"""Time for which the clock is wrong in each direction."""

_LIBRARY = "/libfaketime.so.1"
_CLOCK = "/tmp/clock"  # inside the container


@dataclass(frozen=True)
class JumpClock(Replaced):
    """Sets the clock of one container five minutes forward, then five minutes back.

    The monotonic clock is not changed, as on a machine whose clock is corrected. A container has no separate clock:
    libfaketime changes the time that the C library returns to the program.
    """

    def apply(self, stage: Stage) -> None:
        [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        self.original(stage).stop(timeout=STOP_SECONDS)
        container = self.replace(
            stage,
            environment={
                "LD_PRELOAD": _LIBRARY,
                "FAKETIME_TIMESTAMP_FILE": _CLOCK,
                "FAKETIME_CACHE_DURATION": "1",
                "DONT_FAKE_MONOTONIC": "1",
                # gunicorn checks its worker by the times of a file, which a new clock does not change.
                "NO_FAKE_STAT": "1",
            },
            files={_LIBRARY: library.read_bytes()},
        )
        for jump in (JUMP_SECONDS, -JUMP_SECONDS):
            set_clock(container, jump)
            time.sleep(WRONG_SECONDS)
        set_clock(container, 0)


def set_clock(container: Container, offset_seconds: int) -> None:
    """Sets a container's clock to an offset from the right time; raises `BrokenPromise` if that has no effect."""
    shown = int(execute(container, f"echo {offset_seconds:+d} >{_CLOCK} && date +%s"))
    if abs(shown - time.time() - offset_seconds) > 5:
        raise BrokenPromise(f"the clock of {container.name} was not set: it shows {shown}")
