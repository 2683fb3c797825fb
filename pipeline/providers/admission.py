"""The limiter of a provider, shared by all llm-consumers: one record in Redis (the book), changed in transactions.

Each replica keeps a copy of the last book. When Redis is unavailable or has lost the book, the replica continues with
its copy, and writes it to Redis when Redis is back. While Redis is unavailable the replicas do not see each other, so
each uses only its share of every limit. A clock that is set forward or back changes no wait.
"""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import structlog

from pipeline import provider_status
from pipeline.batcher import Batcher
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.clock import Clock
from pipeline.errors import Unavailable
from pipeline.messages import ProviderError
from pipeline.provider_status import ProviderStatus, State
from pipeline.providers.hints import Limit
from pipeline.providers.limiter import Book, Bounds, Call, Limiter, ReportedLimit, follow_clock, newer
from pipeline.providers.targets import Target
from pipeline.share import Share

log = structlog.get_logger()

ALIVE_SECONDS = 4.0
"""Interval in which a replica with calls in flight reports that it is alive (see `REPLICA_TIMEOUT_SECONDS`)."""

BOOK_TTL_SECONDS = 2 * 86_400

Step = Callable[[Limiter, float], Any]
"""An operation on the limiter at a given time; it may be repeated on another version of the book."""


@dataclass(frozen=True)
class Identity:
    """Identity of a provider account, to which the limits belong.

    Attributes:
        base_url: Base URL of the API.
        api_key: API key of the account.
    """

    base_url: str
    api_key: str

    @classmethod
    def of(cls, target: Target) -> Self:
        """Returns the provider account of a target."""
        return cls(target.base_url, target.api_key.get_secret_value())

    @property
    def id(self) -> str:
        """An id that does not reveal the key."""
        return hashlib.sha256(f"{self.base_url}\n{self.api_key}".encode()).hexdigest()[:16]


class Admission:
    """Admits calls to a provider and records their outcomes. Safe to use from several threads."""

    def __init__(
        self,
        redis: BestEffortRedis,
        identity: Identity,
        bounds: Bounds,
        share: Share,
        clock: Clock = Clock(),
    ) -> None:
        """Makes the admission of one provider.

        Args:
            redis: Holds the book.
            identity: The account to which the limits belong.
            bounds: Limits from the settings.
            share: This replica's share of the fleet's calls.
            clock: The clock.
        """
        self._redis = redis
        self._identity = identity
        self._bounds = bounds
        self._share = share
        self._clock = clock
        self._replica = uuid.uuid4().hex[:8]
        self._key = f"provider-book:{identity.id}"
        self._copy = b""
        self._logged: tuple[str, str | None] = ("open", None)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._exchanges: Batcher[Step, Any] = Batcher(self._exchange)
        threading.Thread(target=self._report_alive, name="admission-alive", daemon=True).start()

    def admit(self, tokens: int) -> str:
        """Admits a call and returns its id.

        Args:
            tokens: Estimated tokens of the call.

        Raises:
            Unavailable: The call has to wait.
        """
        with self._lock:
            if self._in_flight >= max(1, self._share.of(self._bounds.concurrency)):
                raise Unavailable(f"all calls allowed to {self._identity.base_url} are in flight", already_logged=True)
            self._in_flight += 1
        call_id = uuid.uuid4().hex[:12]
        try:
            wait = float(self._exchanges.do(lambda limiter, now: limiter.admit(call_id, self._replica, tokens, now)))
            if wait > 0:
                raise Unavailable(f"{self._identity.base_url} has no room for a call", wait, already_logged=True)
        except BaseException:
            self._end()
            raise
        return call_id

    def answered(self, call_id: str, tokens: int, limits: Sequence[Limit]) -> None:
        """Records that the provider answered a call; an error about the request counts as an answer."""
        self._end()
        self._exchanges.do(lambda limiter, now: limiter.answered(call_id, tokens, limits, now))

    def refused(self, call_id: str, error: ProviderError, limits: Sequence[Limit]) -> None:
        """Records that the provider did not admit a call."""
        self._end()
        self._exchanges.do(
            lambda limiter, now: limiter.refused(
                call_id, error.cause, error.retry_after_seconds, error.message, limits, now
            )
        )

    def failed(self, call_id: str, question_id: str, since: datetime | None, error: ProviderError) -> bool:
        """Records that the provider was unavailable for a call.

        Args:
            call_id: Id of the call.
            question_id: Id of its question.
            since: Time of the last failed call for this question.
            error: The error.

        Returns:
            Whether the question may be at fault: the provider answered other calls meanwhile.
        """
        self._end()
        return bool(
            self._exchanges.do(
                lambda limiter, now: limiter.failed(
                    call_id,
                    question_id,
                    since.timestamp() if since else None,
                    error.message,
                    error.retry_after_seconds or 0.0,
                    now,
                )
            )
        )

    def abandoned(self, call_id: str) -> None:
        """Records that this process has cancelled a call."""
        self._end()
        self._exchanges.do(lambda limiter, now: limiter.abandoned(call_id, now))

    def reopen(self) -> None:
        """Admits calls at once, because the provider has just answered."""
        self._exchanges.do(lambda limiter, now: limiter.reopen())

    def status(self) -> ProviderStatus:
        """Returns the state of the provider."""
        found: ProviderStatus = self._exchanges.do(self._status)
        return found

    def _report_alive(self) -> None:
        while True:
            time.sleep(ALIVE_SECONDS)
            try:
                if self._in_flight:
                    self._exchanges.do(lambda limiter, now: limiter.alive(self._replica, now))
            except Exception:  # the next report follows soon
                log.exception("failed to report that this replica is alive")

    def _end(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def _exchange(self, steps: Sequence[Step]) -> Sequence[Any]:
        now = self._clock.now().timestamp()

        def take(transaction: Any) -> tuple[list[Any], bytes, ProviderStatus]:
            stored = transaction.get(self._key)
            book = self._newest(stored)
            done = self._take(steps, book, 1.0, now)
            status = done[2]
            transaction.multi()
            transaction.set(self._key, done[1], ex=BOOK_TTL_SECONDS)
            key = provider_status.status_key(self._identity.id)
            transaction.set(key, status.model_dump_json(), ex=provider_status.STATUS_TTL_SECONDS)
            transaction.sadd(provider_status.INDEX, self._identity.id)
            return done

        def change(client: Any) -> tuple[list[Any], bytes, ProviderStatus]:
            changed: tuple[list[Any], bytes, ProviderStatus] = client.transaction(
                take, self._key, value_from_callable=True
            )
            return changed

        done = self._redis.attempt(change)
        if done is None:
            share = self._share.fraction or 1.0
            done = self._take(steps, self._read(self._copy), share, now)
        results, self._copy, status = done
        self._log_change(status)
        return results

    def _newest(self, stored: bytes | None) -> Book:
        """Returns the book in Redis, or the copy of this replica when Redis has lost the last version."""
        if not stored:
            return self._read(self._copy)
        if stored == self._copy or not self._copy:
            return self._read(stored)
        shared, copy = self._read(stored), self._read(self._copy)
        return shared if shared.version > copy.version else newer(shared, copy)

    def _read(self, stored: bytes) -> Book:
        book = read(stored)
        follow_clock(book, self._clock.machine, self._clock.started())
        return book

    def _take(
        self, steps: Sequence[Step], book: Book, share: float, now: float
    ) -> tuple[list[Any], bytes, ProviderStatus]:
        limiter = Limiter(book, self._bounds, share)
        results = [step(limiter, now) for step in steps]
        return results, write(book), self._status(limiter, now)

    def _status(self, limiter: Limiter, now: float) -> ProviderStatus:
        book = limiter.book
        requests, source = limiter.per_minute("requests")
        tokens, tokens_source = limiter.per_minute("tokens")
        calls, refused, taken = limiter.last_minute(now)
        cause, until = limiter.waiting_for(now), limiter.waiting_until(now)
        state: State = "open" if cause is None else "unavailable" if cause == "unavailable" else "limited"
        return ProviderStatus(
            provider=self._identity.base_url,
            state=state,
            cause=cause,
            message=book.message or None if cause else None,
            waiting_until=datetime.fromtimestamp(until, UTC) if until else None,
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            limit_source=source or tokens_source,
            calls_last_minute=calls,
            refused_last_minute=refused,
            tokens_last_minute=taken,
            in_flight=len(book.calls),
            at=datetime.fromtimestamp(now, UTC),
        )

    def _log_change(self, status: ProviderStatus) -> None:
        """Logs when calls start to wait, when the cause changes, and when calls are admitted again."""
        current = (status.state, status.cause)
        if current == self._logged:
            return
        self._logged = current
        about = log.bind(
            provider=status.provider,
            requests_per_minute=status.requests_per_minute,
            tokens_per_minute=status.tokens_per_minute,
            calls_last_minute=status.calls_last_minute,
        )
        if status.state == "open":
            about.info("the provider admits calls again")
        else:
            until = status.waiting_until.isoformat(timespec="seconds") if status.waiting_until else None
            # Rate limits are normal; other causes need attention.
            write = about.info if status.cause == "rate_limit" else about.warning
            write("waiting for the provider", state=status.state, cause=status.cause, until=until, said=status.message)


def write(book: Book) -> bytes:
    """Returns a book as JSON."""
    document = vars(book) | {
        "calls": {call_id: vars(call) for call_id, call in book.calls.items()},
        "told": {kind: vars(reported) for kind, reported in book.told.items()},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def read(stored: bytes) -> Book:
    """Reads a book; returns an empty one when there is none or it has another version."""
    try:
        document = json.loads(stored)
        document["calls"] = {call_id: Call(**each) for call_id, each in document["calls"].items()}
        document["told"] = {kind: ReportedLimit(**each) for kind, each in document["told"].items()}
        return Book(**document)
    except (ValueError, TypeError, LookupError, AttributeError):
        return Book()
