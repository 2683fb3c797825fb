"""Event loop with a virtual clock that skips waits: minutes of time-outs take seconds, on a machine of any speed."""

import asyncio
import selectors

LOOPBACK_SECONDS = 0.001
"""Real time given to a message over the loopback before the clock jumps."""


class _Selector(selectors.DefaultSelector):
    skipped_seconds = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        ready = super().select(min(timeout, LOOPBACK_SECONDS))
        if not ready:
            self.skipped_seconds += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.skipped_seconds


def run(coroutine):
    """Runs a coroutine as `asyncio.run` does; waits end at once unless data arrives on a socket."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(coroutine)
