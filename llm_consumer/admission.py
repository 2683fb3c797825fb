"""The limiter of a provider, shared by all llm-consumers: one book in Redis, changed by one of them at a time.

Each keeps a copy of the book as it last was. Redis may vanish or throw it away: then the copy is what is known, and it
goes back to Redis when that returns. While Redis is unavailable the replicas do not see each other, and each keeps to
its share of every limit. A clock that is set forward or back changes no wait.
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

from llm_consumer.hints import Limit
from llm_consumer.limiter import Book, Bounds, Call, Limiter, ReportedLimit, follow_clock, newer
from llm_consumer.targets import Target
from pipeline import provider
from pipeline.batcher import Batcher
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.clock import Clock
from pipeline.errors import Unavailable
from pipeline.messages import CallError
from pipeline.provider import ProviderStatus, State
from pipeline.share import Share

log = structlog.get_logger()

ALIVE_SECONDS = 4.0
"""Between two words of a replica that has calls in flight: without them it would be taken for dead."""

BOOK_TTL_SECONDS = 2 * 86_400

Step = Callable[[Limiter, float], Any]
"""What is done with the limiter at a time; it may be repeated on another copy of the book."""


@dataclass(frozen=True)
class Identity:
    """Whose limits they are.

    Attributes:
        base_url: Of the API.
        api_key: Limits are those of an account.
    """

    base_url: str
    api_key: str

    @classmethod
    def of(cls, target: Target) -> Self:
        """Returns whose limits the calls of a target meet."""
        return cls(target.base_url, target.api_key.get_secret_value())

    @property
    def id(self) -> str:
        """A name that does not tell the key."""
        return hashlib.sha256(f"{self.base_url}\n{self.api_key}".encode()).hexdigest()[:16]


class Admission:
    """Whether a provider may be called, and what its calls have taught. Safe to use from several threads."""

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
            redis: Where the book lies.
            identity: Whose limits they are.
            bounds: What the settings say of them.
            share: This member's share of the fleet's calls.
            clock: The time.
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
            tokens: That it will take, as far as one can tell.

        Raises:
            Unavailable: It has to wait.
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
        """Notes that the provider answered a call, be it that the request is wrong."""
        self._end()
        self._exchanges.do(lambda limiter, now: limiter.answered(call_id, tokens, limits, now))

    def refused(self, call_id: str, error: CallError, limits: Sequence[Limit]) -> None:
        """Notes that the provider did not admit a call."""
        self._end()
        self._exchanges.do(
            lambda limiter, now: limiter.refused(
                call_id, error.cause, error.retry_after_seconds, error.message, limits, now
            )
        )

    def failed(self, call_id: str, question_id: str, since: datetime | None, error: CallError) -> bool:
        """Notes that the provider was unavailable to a call.

        Args:
            call_id: Of the call.
            question_id: Of its question.
            since: When a call for it last failed.
            error: What went wrong.

        Returns:
            Whether the question may be at fault: the provider answered others meanwhile.
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
        """Notes that a call was broken off by this process."""
        self._end()
        self._exchanges.do(lambda limiter, now: limiter.abandoned(call_id, now))

    def reopen(self) -> None:
        """Lets calls pass at once: somebody has just seen the provider answer."""
        self._exchanges.do(lambda limiter, now: limiter.reopen())

    def status(self) -> ProviderStatus:
        """Returns how the provider stands."""
        found: ProviderStatus = self._exchanges.do(self._status)
        return found

    def _report_alive(self) -> None:
        while True:
            time.sleep(ALIVE_SECONDS)
            try:
                if self._in_flight:
                    self._exchanges.do(lambda limiter, now: limiter.alive(self._replica, now))
            except Exception:  # the next word comes soon
                log.exception("failed to say that this replica lives")

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
            key = provider.status_key(self._identity.id)
            transaction.set(key, status.model_dump_json(), ex=provider.STATUS_TTL_SECONDS)
            transaction.sadd(provider.INDEX, self._identity.id)
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
        """Returns the book in Redis, or the copy of it where Redis has lost something."""
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
        """Logs once that calls wait, and once that they do not any more."""
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
            # A limit of a minute is everyday; all else needs somebody's attention.
            tell = about.info if status.cause == "rate_limit" else about.warning
            tell("waiting for the provider", state=status.state, cause=status.cause, until=until, said=status.message)


def write(book: Book) -> bytes:
    """Returns a book as JSON."""
    document = vars(book) | {
        "calls": {call_id: vars(call) for call_id, call in book.calls.items()},
        "told": {kind: vars(told) for kind, told in book.told.items()},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def read(stored: bytes) -> Book:
    """Reads a book; an empty one where there is none, or one of another version."""
    try:
        document = json.loads(stored)
        document["calls"] = {call_id: Call(**each) for call_id, each in document["calls"].items()}
        document["told"] = {kind: ReportedLimit(**each) for kind, each in document["told"].items()}
        return Book(**document)
    except (ValueError, TypeError, LookupError, AttributeError):
        return Book()
