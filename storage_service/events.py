"""Waits until a question is final.

storage-writer sends the id of a question to the channel `question_final`, in the transaction that makes the question
final. One thread listens and wakes the waiters of that question. A waiter registers before it reads the table, so that
no notification is lost. While the listener has no connection, waiters poll the table every 2 s.
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
"""Interval of polls of the table while the listener has no connection, and of its attempts to connect."""
CONNECTED_POLL_SECONDS = 15
"""Interval of polls of the table while the listener is connected, because a broken connection may not be detected."""
HEARTBEAT_SECONDS = 15
"""Interval of comments on an event stream, so that proxies keep it open and a disconnected client is detected."""
STREAM_SECONDS = 900
"""Maximum duration of an event stream; browsers reconnect automatically."""
BROWSER_RETRY_MS = 3000


class Waiters:
    """Registry of waiting threads. At most `most` threads wait, so that some threads stay free for other requests."""

    def __init__(self, most: int) -> None:
        self._permits = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._registered: dict[str, set[threading.Event]] = {}
        self.listening = False
        """Whether notifications currently arrive."""
        self.closed = False
        """Whether waiting is no longer allowed."""

    @contextmanager
    def register(self, question_id: str) -> Iterator[threading.Event | None]:
        """Registers a waiter for a question; provides the event that wakes it, or None when too many threads wait."""
        if self.closed or not self._permits.acquire(blocking=False):
            yield None
            return
        woken = threading.Event()
        with self._lock:
            self._registered.setdefault(question_id, set()).add(woken)
        try:
            yield woken
        finally:
            with self._lock:
                others = self._registered[question_id]
                others.discard(woken)
                if not others:
                    del self._registered[question_id]
            self._permits.release()

    def notify(self, question_id: str) -> None:
        """Wakes the waiters of a question."""
        with self._lock:
            for woken in self._registered.get(question_id, ()):
                woken.set()

    def listen(self, listening: bool) -> None:
        """Records whether notifications arrive from now on, and wakes all waiters: some may have been missed."""
        self.listening = listening
        self._notify_all()

    def close(self) -> None:
        """Ends all waits, because the service is about to stop."""
        self.closed = True
        self._notify_all()

    def _notify_all(self) -> None:
        with self._lock:
            for waiters in self._registered.values():
                for woken in waiters:
                    woken.set()


class QuestionWaiter:
    """Waits for questions."""

    def __init__(self, find: Callable[[str], State | None], waiters: Waiters) -> None:
        self._find = find
        self._waiters = waiters

    def wait(self, known: State, seconds: float) -> State:
        """Returns a question once it is final, or its state after `seconds`, or at once when too many wait.

        For a question that is deleted meanwhile it returns the known state.

        Args:
            known: Its state now.
            seconds: Longest wait.
        """
        if known.final or seconds <= 0:
            return known
        until = time.monotonic() + seconds
        with self._waiters.register(known.question_id) as woken:
            if woken is None:
                return known
            for latest in self._polls(known, woken, until):
                known = latest or known
        return known

    def stream(self, known: State) -> Iterator[str]:
        """Yields server-sent events: the state of a question, and its final state.

        The stream ends after the final event, when the question is deleted, when too many wait, or after 15 minutes;
        browsers then reconnect.
        """
        yield f"retry: {BROWSER_RETRY_MS}\n{_event(known)}"
        if known.final:
            return
        with self._waiters.register(known.question_id) as woken:
            if woken is None:
                return
            for latest in self._polls(known, woken, time.monotonic() + STREAM_SECONDS, HEARTBEAT_SECONDS):
                if latest is None:
                    yield ": still pending\n\n"
                elif latest.final:
                    yield _event(latest)

    def _polls(
        self, known: State, woken: threading.Event, until: float, heartbeat_seconds: float = float("inf")
    ) -> Iterator[State | None]:
        """Yields the result of each poll, the final one last, and None for each heartbeat in between.

        It ends when the question is gone.
        """
        heartbeat_at = time.monotonic() + heartbeat_seconds
        while True:
            woken.clear()  # before the poll, so that a notification in between is not lost
            latest = self._poll(known)
            if latest is None:
                return
            yield latest
            now = time.monotonic()
            if latest.final or now >= until or self._waiters.closed:
                return
            next_poll = now + (CONNECTED_POLL_SECONDS if self._waiters.listening else POLL_SECONDS)
            while not woken.wait(max(0, min(next_poll, heartbeat_at, until) - time.monotonic())):
                if time.monotonic() < heartbeat_at:
                    break
                yield None
                heartbeat_at += heartbeat_seconds

    def _poll(self, known: State) -> State | None:
        """Returns the state of a question, or the known one while PostgreSQL is unavailable; None if deleted."""
        try:
            return self._find(known.question_id)
        except Unavailable as error:
            # The request is not answered yet, and the database may be back in time.
            log.warning("failed to poll a question", error=str(error))
            return known


def _event(state: State) -> str:
    return f"id: {event_id(state)}\nevent: {state.status}\ndata: {state.model_dump_json()}\n\n"


def event_id(state: State) -> str:
    """Returns the id of the event for a state."""
    return f"{state.question_id}-{state.status}"


class Listener:
    """The one connection that listens to notifications."""

    def __init__(self, pool: Engine, waiters: Waiters) -> None:
        self._pool = pool
        self._waiters = waiters

    def run(self, stop: threading.Event) -> None:
        """Listens until `stop` is set, and connects again whenever the connection breaks."""
        while not stop.is_set():
            try:
                self._listen(stop)
            except Exception as error:  # after any error of the driver, connect again
                log.warning("lost the connection for notifications", error=str(error).strip())
            finally:
                self._waiters.listen(False)
            stop.wait(POLL_SECONDS)

    def _listen(self, stop: threading.Event) -> None:
        lent = self._pool.raw_connection()
        connection: Any = lent.driver_connection
        lent.detach()  # it is never returned, so the pool may open another one
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {postgres.FINAL_CHANNEL}")
                self._waiters.listen(True)
                log.info("started to listen to notifications", channel=postgres.FINAL_CHANNEL)
                while not stop.is_set():
                    if select.select([connection], [], [], POLL_SECONDS)[0]:
                        connection.poll()
                    else:
                        cursor.execute("SELECT 1")  # detects a broken connection, and also receives notifications
                    while connection.notifies:
                        self._waiters.notify(connection.notifies.pop(0).payload)
        finally:
            connection.close()
