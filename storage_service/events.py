"""Waiting for a question to become final.

storage-writer notifies the channel `question_final` with the id in the transaction that finishes a question. One
thread listens and rings the bells of those who wait for that id. Whoever waits looks at the table after its bell is
hung up, so that no wake-up is lost; while the listener has no connection it looks every 2 s instead.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import Engine

from pipeline import postgres
from pipeline.errors import Unavailable
from storage_service.schemas import State

log = structlog.get_logger()

POLL_SECONDS = 2
"""Between looks at the table while nobody listens, and between tries to listen again."""
CALM_SECONDS = 15
"""Between looks at the table while the listener has its connection: it may be dead without knowing yet."""
HEARTBEAT_SECONDS = 15
"""Between comments on an event stream, so that proxies keep it open and a gone client is noticed."""
STREAM_SECONDS = 900
"""Longest life of an event stream; browsers come back by themselves."""
BROWSER_RETRY_MS = 3000


class Bells:
    """One bell for each thread that waits; at most `seats` of them, so that waiting cannot take every thread."""

    def __init__(self, seats: int) -> None:
        self._seats = threading.Semaphore(seats)
        self._lock = threading.Lock()
        self._hung: dict[str, set[threading.Event]] = {}
        self.listening = False
        """Whether bells are rung by notifications at present."""
        self.closed = False
        """Whether nobody is to wait any more."""

    @contextmanager
    def bell(self, question_id: str) -> Iterator[threading.Event | None]:
        """Hangs up a bell for a question; None when too many wait already."""
        if self.closed or not self._seats.acquire(blocking=False):
            yield None
            return
        bell = threading.Event()
        with self._lock:
            self._hung.setdefault(question_id, set()).add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                others = self._hung[question_id]
                others.discard(bell)
                if not others:
                    del self._hung[question_id]
            self._seats.release()

    def ring(self, question_id: str) -> None:
        """Wakes those who wait for a question."""
        with self._lock:
            for bell in self._hung.get(question_id, ()):
                bell.set()

    def listen(self, listening: bool) -> None:
        """Tells whether notifications arrive from now on; wakes everybody, for some may have been missed."""
        self.listening = listening
        self._ring_all()

    def close(self) -> None:
        """Sends everybody home: the service is about to stop."""
        self.closed = True
        self._ring_all()

    def _ring_all(self) -> None:
        with self._lock:
            for bells in self._hung.values():
                for bell in bells:
                    bell.set()


class Watch:
    """Waits for questions."""

    def __init__(self, find: Callable[[str], State | None], bells: Bells) -> None:
        self._find = find
        self._bells = bells

    def wait(self, known: State, seconds: float) -> State:
        """Returns a question once it is final, or as it stands after `seconds`, or at once when too many wait.

        One that is deleted meanwhile is returned as it was known.

        Args:
            known: How it stands now.
            seconds: Longest wait.
        """
        if known.final or seconds <= 0:
            return known
        until = time.monotonic() + seconds
        with self._bells.bell(known.question_id) as bell:
            if bell is None:
                return known
            for latest in self._looks(known, bell, until):
                known = latest or known
        return known

    def stream(self, known: State) -> Iterator[str]:
        """Yields server-sent events: how a question stands, and once more when it is final.

        The stream ends after the final event, when the question is deleted, when too many wait, or after 15 minutes;
        browsers then ask again.
        """
        yield f"retry: {BROWSER_RETRY_MS}\n{_event(known)}"
        if known.final:
            return
        with self._bells.bell(known.question_id) as bell:
            if bell is None:
                return
            for latest in self._looks(known, bell, time.monotonic() + STREAM_SECONDS, HEARTBEAT_SECONDS):
                if latest is None:
                    yield ": still pending\n\n"
                elif latest.final:
                    yield _event(latest)

    def _looks(
        self, known: State, bell: threading.Event, until: float, heartbeat_seconds: float = float("inf")
    ) -> Iterator[State | None]:
        """Yields each look at the table, the final one last, and None for each heartbeat in between.

        It ends when the question is gone.
        """
        heartbeat_at = time.monotonic() + heartbeat_seconds
        while True:
            bell.clear()  # before the look: a ring in between is not lost
            latest = self._look(known)
            if latest is None:
                return
            yield latest
            now = time.monotonic()
            if latest.final or now >= until or self._bells.closed:
                return
            next_look = now + (CALM_SECONDS if self._bells.listening else POLL_SECONDS)
            while not bell.wait(max(0, min(next_look, heartbeat_at, until) - time.monotonic())):
                if time.monotonic() < heartbeat_at:
                    break
                yield None
                heartbeat_at += heartbeat_seconds

    def _look(self, known: State) -> State | None:
        """Returns how a question stands, or as it was known while nobody can tell; None when it is gone."""
        try:
            return self._find(known.question_id)
        except Unavailable as error:
            # Whoever waits has been told nothing yet, and the database may be back in time.
            log.warning("could not look at a question that is waited for", error=str(error))
            return known


def _event(state: State) -> str:
    return f"id: {event_id(state)}\nevent: {state.status}\ndata: {state.model_dump_json()}\n\n"


def event_id(state: State) -> str:
    """Returns the id of the event that tells a state."""
    return f"{state.question_id}-{state.status}"


class Listener:
    """The one connection that listens to notifications."""

    def __init__(self, pool: Engine, bells: Bells) -> None:
        self._pool = pool
        self._bells = bells

    def run(self, stop: threading.Event) -> None:
        """Listens until `stop` is set, and connects again whenever the connection breaks."""
        while not stop.is_set():
            try:
                self._listen(stop)
            except Exception as error:  # whatever the driver raises means: connect again
                log.warning("lost the connection for notifications", error=str(error).strip())
            finally:
                self._bells.listen(False)
            stop.wait(POLL_SECONDS)

    def _listen(self, stop: threading.Event) -> None:
        lent = self._pool.raw_connection()
        connection: Any = lent.driver_connection
        lent.detach()  # it is kept for good: the pool may open another one in its place
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {postgres.FINAL_CHANNEL}")
                self._bells.listen(True)
                log.info("began to listen to notifications", channel=postgres.FINAL_CHANNEL)
                while not stop.is_set():
                    if select.select([connection], [], [], POLL_SECONDS)[0]:
                        connection.poll()
                    else:
                        cursor.execute("SELECT 1")  # finds out about a dead connection; brings notifications, too
                    while connection.notifies:
                        self._bells.ring(connection.notifies.pop(0).payload)
        finally:
            connection.close()
