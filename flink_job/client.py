"""Asynchronous client of a service that judges answers. Independent of Flink.

`PatientClient.ask` always returns, because an exception in an asynchronous PyFlink operator can drop the record
silently. While the service is unavailable it retries without limit: the record waits, Flink applies backpressure, and
no attempt of the question is used up.

A slow service is not unavailable. Each call states how long it waits (`Prefer: wait`, RFC 7240), so that the service
drops calls that nobody waits for any more. Timeouts grow, and fewer calls are in flight (`flink_job.capacity`), until
answers arrive in time.
"""

import asyncio
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp
import structlog

from flink_job.capacity import Limit, Slots
from pipeline import http

log = structlog.get_logger(__name__)

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries, each with random jitter of up to half of it added; the last one repeats."""

MAX_RETRY_AFTER_SECONDS = 30.0
"""Limit of a service's `Retry-After`: it may be ready sooner than it estimated."""

GRACE_SECONDS = 2.0
"""Extra wait beyond the stated timeout, so that the service can reply with the reason."""

SMOOTHING = 1 / 8
"""Weight of the newest answer in the moving average of response times (RFC 6298)."""

SUSPECT_TRIES = 5
"""Consecutive failures of one request, each while others get their answers, after which it is given up. Failures are
unexpected replies and calls that reached the longest timeout."""

MAX_REPLY_BYTES = 65_536
"""Limit of the part of a reply that is read; an answer takes about 300 bytes."""

CONNECT_SECONDS = 2.0
RECONNECT_SECONDS = 10
"""How long an address of the service is cached; it changes when the container is recreated."""

_REJECTIONS = {400, 413, 422}
"""The service understood the request and will never answer it."""

_BUSY = {429, 503}
"""The service's queue is full, or it does not admit the call now."""

_UNAVAILABLE = {502}
"""A proxy in front of the service cannot reach it."""

_TIMED_OUT = 504
"""The service was computing when the stated wait ended."""


@dataclass(frozen=True)
class Rejected:
    """The service rejects this request; retries have no effect.

    Attributes:
        status_code: The HTTP status.
        message: The service's message.
    """

    status_code: int
    message: str


class _ServiceUnavailable(Exception):
    """The service cannot be reached, or cannot answer now.

    Attributes:
        retry_after_seconds: The wait that it asks for; 0 if it states none.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class _Busy(_ServiceUnavailable):
    """The service is overloaded."""


class _TimedOut(Exception):
    """There was no answer in time.

    Attributes:
        timeout_seconds: Timeout of the call.
        in_progress: Whether the service was computing at that time; False also if unknown.
    """

    def __init__(self, timeout_seconds: float, in_progress: bool) -> None:
        super().__init__(f"no answer within {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds
        self.in_progress = in_progress


class _UnexpectedReply(Exception):
    """The service failed, possibly because of the request."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of calls.

    Attributes:
        first_seconds: Doubled after a timeout (RFC 6298): for the same request every time, for all requests until the
            next answer.
        longest_seconds: Limit of that.
    """

    first_seconds: float
    longest_seconds: float


R = TypeVar("R")


class PatientClient(Generic[R]):
    """HTTP client of a service for one event loop."""

    def __init__(
        self,
        url: str,
        capacity: int,
        read: Callable[[bytes], R],
        timeouts: Timeouts,
        probe: Mapping[str, Any] | None = None,
        backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS,
    ) -> None:
        """Creates a client; the first call opens its session, in the loop of that call.

        Args:
            url: Address that requests are posted to.
            capacity: Maximum of calls in flight; fewer while the service does not answer them in time.
            read: Reads a successful reply; raises `ValueError`, `KeyError` or `TypeError` if it is not an answer.
            timeouts: Timeouts of calls.
            probe: A request that a working service answers. It is sent after an unexpected reply, to find out whether
                the request is the cause. None: it is the cause if others were answered meanwhile.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        self._url = url
        self._limit = Limit(capacity)
        self._slots = Slots(self._limit)
        self._read = read
        self._timeouts = timeouts
        self._probe = probe
        self._backoff = backoff_seconds
        self._session: aiohttp.ClientSession | None = None
        self._answers = 0
        self._answer_seconds: float | None = None
        self._timeout_seconds = timeouts.first_seconds
        self._unavailable = False

    async def ask(self, request: Mapping[str, Any]) -> R | Rejected:
        """Returns the answer to a request, or why there is none.

        Waits as long as the service is unavailable. Raises only `asyncio.CancelledError`.
        """
        tries = timeouts = failed_alone = 0
        answers = self._answers
        while True:
            asked_to_wait = 0.0
            try:
                result = await self._call(request, timeouts)
            except _UnexpectedReply as error:
                # Once is not enough: the service may have recovered between the two calls.
                failed_alone = failed_alone + 1 if await self._answers_others(answers) else 0
                answers = self._answers
                if failed_alone >= SUSPECT_TRIES:
                    return Rejected(error.status_code, f"failed {failed_alone} times alone: {error}")
                self._log_unavailable(str(error))
            except _TimedOut as error:
                timeouts += 1
                others_are_fast = self._answers > answers and self._is_fast()
                if error.timeout_seconds == self._timeouts.longest_seconds and error.in_progress and others_are_fast:
                    failed_alone += 1
                answers = self._answers
                if failed_alone >= SUSPECT_TRIES:
                    return Rejected(_TIMED_OUT, f"failed {failed_alone} times alone: {error}")
                self._log_unavailable(str(error))
            except _Busy as error:  # not a failure of the request
                asked_to_wait = error.retry_after_seconds
                self._log_unavailable(str(error))
            except _ServiceUnavailable as error:
                failed_alone = 0
                asked_to_wait = error.retry_after_seconds
                self._log_unavailable(str(error))
            except Exception as error:
                failed_alone = 0
                self._log_unavailable(f"{type(error).__name__}: {error}")
            else:
                self._log_available()
                return result
            wait = max(self._backoff[min(tries, len(self._backoff) - 1)], asked_to_wait)
            tries += 1
            await asyncio.sleep(wait * (1 + random.random() / 2))

    async def close(self) -> None:
        """Closes the connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _timeout(self, timeouts: int) -> float:
        """Returns the timeout of a call, in seconds, after this number of timeouts of its request."""
        grown = self._timeouts.first_seconds * 2.0 ** min(timeouts, 8)
        return min(self._timeouts.longest_seconds, max(grown, self._timeout_seconds))

    async def _call(self, request: Mapping[str, Any], timeouts: int) -> R | Rejected:
        """Makes a call when a slot is free, and adapts limit and timeout to its result.

        The timeout begins with the call: the wait for a slot does not count.
        """
        async with self._slots.slot():
            timeout, decreases = self._timeout(timeouts), self._limit.decreases
            began = asyncio.get_running_loop().time()
            try:
                result = await self._ask(request, timeout)
            except (_TimedOut, _Busy) as error:
                self._limit.overloaded(decreases)
                if isinstance(error, _TimedOut):
                    self._timeout_seconds = max(self._timeout_seconds, 2 * timeout)
                raise
            self._limit.answered()
            self._answers += 1
            self._learn(asyncio.get_running_loop().time() - began)
            return result

    def _is_fast(self) -> bool:
        """Whether answers are fast: if all requests are slow, a timeout says nothing about one of them."""
        return self._answer_seconds is not None and self._answer_seconds < self._timeouts.first_seconds

    def _learn(self, seconds: float) -> None:
        """Updates the average response time; the timeout is at least twice that."""
        usual = seconds if self._answer_seconds is None else self._answer_seconds
        self._answer_seconds = usual + SMOOTHING * (seconds - usual)
        self._timeout_seconds = 2 * self._answer_seconds

    async def _ask(self, request: Mapping[str, Any], timeout_seconds: float) -> R | Rejected:
        """Makes one call.

        Raises:
            _TimedOut: There was no answer in time.
            _ServiceUnavailable: The service is unavailable or busy.
            _UnexpectedReply: The reply is not an answer.
            aiohttp.ClientError: The service could not be reached.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit of connections here: `Slots` limits the calls.
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=RECONNECT_SECONDS),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,  # a small reply could become a large one
            )
        timeout = aiohttp.ClientTimeout(total=timeout_seconds + GRACE_SECONDS, sock_connect=CONNECT_SECONDS)
        prefer = {"Prefer": f"wait={math.ceil(timeout_seconds)}"}
        try:
            async with self._session.post(
                self._url, json=request, headers=prefer, timeout=timeout, allow_redirects=False
            ) as answer:
                status, body = answer.status, await _body(answer)
                after = min(http.retry_after(answer.headers) or 0.0, MAX_RETRY_AFTER_SECONDS)
        except aiohttp.ServerTimeoutError as error:  # a subclass of TimeoutError; there was no connection yet
            raise _ServiceUnavailable(str(error)) from None
        except TimeoutError:
            raise _TimedOut(timeout_seconds, in_progress=False) from None
        if status in _REJECTIONS:
            return Rejected(status, reason(body))
        if status == _TIMED_OUT:
            raise _TimedOut(timeout_seconds, in_progress=True)
        if status in _BUSY:
            raise _Busy(f"HTTP {status}", after)
        if status in _UNAVAILABLE:
            raise _ServiceUnavailable(f"HTTP {status}", after)
        if status != 200:
            raise _UnexpectedReply(status, f"HTTP {status}: {reason(body)}")
        try:
            return self._read(body)
        except (ValueError, KeyError, TypeError) as error:
            raise _UnexpectedReply(status, f"unexpected reply: {error!r}") from None

    async def _answers_others(self, answers: int) -> bool:
        """Returns whether the service answers other requests; `answers` is their number before the failed call."""
        if self._probe is None:
            return self._answers > answers
        try:
            return not isinstance(await self._ask(self._probe, self._timeouts.first_seconds), Rejected)
        except Exception:
            return False

    # An outage is logged once, not once for each record that waits.

    def _log_unavailable(self, error: str) -> None:
        if not self._unavailable:
            self._unavailable = True
            log.warning("began to wait for a service", url=self._url, error=error)

    def _log_available(self) -> None:
        if self._unavailable:
            self._unavailable = False
            log.info("reached the service again", url=self._url)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """Returns the body of a reply, cut at `MAX_REPLY_BYTES`, because a longer one is no answer."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            answer.close()  # `release` would read the rest
            return body[:MAX_REPLY_BYTES]
    return body


def reason(body: bytes, limit: int = 300) -> str:
    """Returns the message of an error reply: the detail of a problem+json document, or the text itself, cut."""
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text[:limit]
    if isinstance(document, dict):
        for field in ("detail", "title", "error"):
            if isinstance(document.get(field), str):
                return str(document[field])[:limit]
    return text[:limit]
