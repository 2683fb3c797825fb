"""Clocks that are set while programs run."""

import time
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from tests.drills.faults.base import BrokenPromise, Stage, execute
from tests.drills.faults.replacement import STOP_SECONDS, Replaced

JUMP_SECONDS = 300
WRONG_SECONDS = 15.0
"""For which the clock is wrong, each way."""

_LIBRARY = "/libfaketime.so.1"
_CLOCK = "/tmp/clock"  # in a container of its own


@dataclass(frozen=True)
class JumpClock(Replaced):
    """Sets the clock of one container five minutes forward, then five back, as somebody who corrects it does.

    The boot clock runs on, as it does on a machine. A container has no clock of its own: libfaketime changes what the
    C library tells the program.
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
                # A new clock does not change the times of files, by which gunicorn sees whether its worker is alive.
                "NO_FAKE_STAT": "1",
            },
            files={_LIBRARY: library.read_bytes()},
        )
        for jump in (JUMP_SECONDS, -JUMP_SECONDS):
            set_clock(container, jump)
            time.sleep(WRONG_SECONDS)
        set_clock(container, 0)


def set_clock(container: Container, offset_seconds: int) -> None:
    """Sets a container's clock to so many seconds from the right time; raises `BrokenPromise` when it does not take."""
    told = int(execute(container, f"echo {offset_seconds:+d} >{_CLOCK} && date +%s"))
    if abs(told - time.time() - offset_seconds) > 5:
        raise BrokenPromise(f"the clock of {container.name} was not set: it says {told}")
