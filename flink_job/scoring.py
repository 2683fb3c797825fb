"""Asynchronous client of the scorer. Independent of Flink.

`ScorerClient.score` always returns, because an exception in an asynchronous PyFlink operator can drop the record
silently. While the scorer is unavailable it retries without limit: the record waits, Flink applies backpressure, and no
attempt of the question is used up.

A slow scorer is not unavailable. Each call states how long it waits (`Prefer: wait`, RFC 7240), so that the scorer
drops calls that nobody waits for any more. Timeouts grow, and fewer calls are in flight (`flink_job.capacity`), until
answers arrive in time.
"""

import asyncio
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from typing import Any

import aiohttp
import structlog

from flink_job.capacity import Limit, Slots
from pipeline import http
from pipeline.messages import ScoreWarning
from pipeline.routing import BertScore, NoScore
from pipeline.scores import bert_score

log = structlog.get_logger(__name__)

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries, each with random jitter of up to half of it added; the last one repeats."""

MAX_RETRY_AFTER_SECONDS = 30.0
"""Limit of the scorer's `Retry-After`: its queue may be empty sooner than it estimated."""

FIRST_TIMEOUT_SECONDS = 15.0
"""Doubled after a timeout (RFC 6298): for the same pair every time, for all pairs until the next answer."""

GRACE_SECONDS = 2.0
"""Extra wait beyond the stated timeout, so that the scorer can reply with the reason."""

LONGEST_TIMEOUT_SECONDS = 50.0
"""Less than the 60 s in one batch after which the scorer's `/ready` reports it as stuck."""

SMOOTHING = 1 / 8
"""Weight of the newest answer in the moving average of response times (RFC 6298)."""

SUSPECT_TRIES = 5
"""Consecutive failures of one pair, each while other pairs get their scores, after which it is given up. Failures are
unexpected replies and calls that reached the longest timeout."""

MAX_REPLY_BYTES = 65_536
"""Limit of the part of a reply that is read; a score takes about 300 bytes."""

CONNECT_SECONDS = 2.0
RECONNECT_SECONDS = 10
"""How long an address of the scorer is cached; it changes when the container is recreated."""

_REJECTIONS = {400, 413, 422}
"""The scorer understood the request and will never score this pair."""

_BUSY = {429, 503}
"""The scorer's queue is full, or the call would not be finished within its wait."""

_UNAVAILABLE = {502}
"""A proxy in front of the scorer cannot reach it."""

_TIMED_OUT = 504
"""The scorer was computing the pair when the stated wait ended."""

_PROBE = {"candidate": "Paris is the capital of France.", "reference": "The capital of France is Paris."}


@dataclass(frozen=True)
class Rejected:
    """The scorer rejects this pair; retries have no effect.

    Attributes:
        status_code: The HTTP status.
        message: The scorer's message.
    """

    status_code: int
    message: str


class _ScorerUnavailable(Exception):
    """The scorer cannot be reached, or cannot answer now.

    Attributes:
        retry_after_seconds: The wait that it asks for; 0 if it states none.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class _Busy(_ScorerUnavailable):
    """The scorer is overloaded."""


class _TimedOut(Exception):
    """There was no answer in time.

    Attributes:
        timeout_seconds: Timeout of the call.
        in_progress: Whether the scorer was computing the pair at that time; False also if unknown.
    """

    def __init__(self, timeout_seconds: float, in_progress: bool) -> None:
        super().__init__(f"no answer within {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds
        self.in_progress = in_progress


class _UnexpectedReply(Exception):
    """The scorer failed, possibly because of the pair."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


class ScorerClient:
    """HTTP client of the scorer for one event loop."""

    def __init__(self, url: str, capacity: int, backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS) -> None:
        """Creates a client; the first call opens its session, in the loop of that call.

        Args:
            url: Base address of the scorer.
            capacity: Maximum of calls in flight; fewer while the scorer does not answer them in time.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        self._url = f"{url.rstrip('/')}/score"
        self._limit = Limit(capacity)
        self._slots = Slots(self._limit)
        self._backoff = backoff_seconds
        self._session: aiohttp.ClientSession | None = None
        self._answers = 0
        self._answer_seconds: float | None = None
        self._timeout_seconds = FIRST_TIMEOUT_SECONDS
        self._unavailable = False

    async def score(self, candidate: str, *references: str) -> BertScore | NoScore | Rejected:
        """Returns the score of an answer against its best reference, or why there is none.

        Waits as long as the scorer is unavailable. Raises only `asyncio.CancelledError`.

        Args:
            candidate: The answer.
            references: At least one; all are sent in one call.
        """
        pair = _pair(candidate, references)
        tries = timeouts = failed_alone = 0
        answers = self._answers
        while True:
            asked_to_wait = 0.0
            try:
                result = await self._call(pair, timeouts)
            except _UnexpectedReply as error:
                # Once is not enough: the scorer may have recovered between the two calls.
                failed_alone = failed_alone + 1 if await self._scores_others() else 0
                if failed_alone >= SUSPECT_TRIES:
                    return Rejected(error.status_code, f"failed {failed_alone} times on this pair alone: {error}")
                self._log_unavailable(str(error))
            except _TimedOut as error:
                timeouts += 1
                others_are_fast = self._answers > answers and self._is_fast()
                if error.timeout_seconds == LONGEST_TIMEOUT_SECONDS and error.in_progress and others_are_fast:
                    failed_alone += 1
                answers = self._answers
                if failed_alone >= SUSPECT_TRIES:
                    return Rejected(_TIMED_OUT, f"failed {failed_alone} times on this pair alone: {error}")
                self._log_unavailable(str(error))
            except _Busy as error:  # not a failure of the pair
                asked_to_wait = error.retry_after_seconds
                self._log_unavailable(str(error))
            except _ScorerUnavailable as error:
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

    async def agreement(self, answer: str, samples: Sequence[str]) -> BertScore | NoScore | None:
        """Returns the mean scores of an answer against further answers to the same prompt.

        The mean, as in SelfCheckGPT (Manakul et al. 2023, arXiv:2303.08896): one deviating sample counts only with its
        share, while a minimum would depend on it alone and a maximum on one agreeing sample. Samples that the scorer
        rejects or cannot read are left out. Waits and raises as `score` does.

        Args:
            answer: The answer to judge.
            samples: At least one.

        Returns:
            `NoScore` if the scorer cannot read the answer. None if it rejects or cannot read any sample: the cause is
            not the answer, which stays without a score.
        """
        # One call per sample: a single sample without words would fail a batch as a whole. The scorer combines calls
        # that arrive together into one batch.
        results = await asyncio.gather(*(self.score(answer, sample) for sample in samples))
        scores = [result for result in results if isinstance(result, BertScore)]
        if not scores:
            unreadable = (each for each in results if isinstance(each, NoScore) and each.only_answer)
            return next(unreadable, None)
        warned: set[ScoreWarning] = {warning for each in scores for warning in each.warnings}
        return BertScore(
            score=mean(each.score for each in scores),
            precision=mean(each.precision for each in scores),
            recall=mean(each.recall for each in scores),
            f1=mean(each.f1 for each in scores),
            scorer=scores[0].scorer,
            warnings=tuple(sorted(warned, reverse=True)),
        )

    async def close(self) -> None:
        """Closes the connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _timeout(self, timeouts: int) -> float:
        """Returns the timeout of a call, in seconds, after this number of timeouts of its pair."""
        return min(LONGEST_TIMEOUT_SECONDS, max(FIRST_TIMEOUT_SECONDS * 2.0 ** min(timeouts, 8), self._timeout_seconds))

    async def _call(self, pair: Mapping[str, Any], timeouts: int) -> BertScore | NoScore | Rejected:
        """Makes a call when a slot is free, and adapts limit and timeout to its result.

        The timeout begins with the call: the wait for a slot does not count.
        """
        async with self._slots.slot():
            timeout, decreases = self._timeout(timeouts), self._limit.decreases
            began = asyncio.get_running_loop().time()
            try:
                result = await self._ask(pair, timeout)
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
        """Whether answers are fast: if all pairs are slow, a timeout says nothing about its pair."""
        return self._answer_seconds is not None and self._answer_seconds < FIRST_TIMEOUT_SECONDS

    def _learn(self, seconds: float) -> None:
        """Updates the average response time; the timeout is at least twice that."""
        usual = seconds if self._answer_seconds is None else self._answer_seconds
        self._answer_seconds = usual + SMOOTHING * (seconds - usual)
        self._timeout_seconds = 2 * self._answer_seconds

    async def _ask(self, pair: Mapping[str, Any], timeout_seconds: float) -> BertScore | NoScore | Rejected:
        """Makes one call.

        Raises:
            _TimedOut: There was no answer in time.
            _ScorerUnavailable: The scorer is unavailable or busy.
            _UnexpectedReply: The answer is not a score.
            aiohttp.ClientError: The scorer could not be reached.
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
                self._url, json=pair, headers=prefer, timeout=timeout, allow_redirects=False
            ) as answer:
                status, body = answer.status, await _read(answer)
                after = min(http.retry_after(answer.headers) or 0.0, MAX_RETRY_AFTER_SECONDS)
        except aiohttp.ServerTimeoutError as error:  # a subclass of TimeoutError; there was no connection yet
            raise _ScorerUnavailable(str(error)) from None
        except TimeoutError:
            raise _TimedOut(timeout_seconds, in_progress=False) from None
        if status in _REJECTIONS:
            return Rejected(status, reason(body))
        if status == _TIMED_OUT:
            raise _TimedOut(timeout_seconds, in_progress=True)
        if status in _BUSY:
            raise _Busy(f"HTTP {status}", after)
        if status in _UNAVAILABLE:
            raise _ScorerUnavailable(f"HTTP {status}", after)
        if status != 200:
            raise _UnexpectedReply(status, f"HTTP {status}: {reason(body)}")
        try:
            return parse(body)
        except (ValueError, KeyError, TypeError) as error:
            raise _UnexpectedReply(status, f"the answer is not a score: {error!r}") from None

    async def _scores_others(self) -> bool:
        try:
            return isinstance(await self._ask(_PROBE, FIRST_TIMEOUT_SECONDS), BertScore)
        except Exception:
            return False

    # An outage is logged once, not once for each record that waits.

    def _log_unavailable(self, error: str) -> None:
        if not self._unavailable:
            self._unavailable = True
            log.warning("began to wait for the scorer", url=self._url, error=error)

    def _log_available(self) -> None:
        if self._unavailable:
            self._unavailable = False
            log.info("reached the scorer again", url=self._url)


def _pair(candidate: str, references: Sequence[str]) -> dict[str, Any]:
    """Returns the body of a request. A scorer of an earlier release reads a single reference, too."""
    if len(references) == 1:
        return {"candidate": candidate, "reference": references[0]}
    return {"candidate": candidate, "references": list(references)}


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Returns the body of a reply, cut at `MAX_REPLY_BYTES`, because a longer one is not a score."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            answer.close()  # `release` would read the rest
            return body[:MAX_REPLY_BYTES]
    return body


def parse(body: bytes) -> BertScore | NoScore:
    """Parses the scorer's answer.

    Raises:
        ValueError: It is not JSON, or a number is not between -1 and 1.
        KeyError: A field is missing.
        TypeError: A field is of another type.
    """
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return bert_score(answer)


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
