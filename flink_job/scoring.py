"""Asks the scorer for the score of an answer. Knows nothing of Flink.

`ScorerClient.score` always returns: an exception in an asynchronous PyFlink operator can drop the record without a
trace. While the scorer is away it tries again, for ever: the record waits, the operators before it feel the back
pressure, and no attempt of the question is burnt.

A slow scorer is not away. A call tells how long it will be waited for (`Prefer: wait`, RFC 7240), so that the scorer
drops what nobody waits for; time-outs grow, and fewer calls are in flight (`flink_job.capacity`), until answers come in
time.
"""

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean as mean

import aiohttp
import structlog

from flink_job.capacity import Limit, Slots
from pipeline import http
from pipeline.routing import BertScore
from pipeline.scores import bert_score

log = structlog.get_logger(__name__)

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries, each with up to half of it added at random; the last one repeats."""

MAX_RETRY_AFTER_SECONDS = 30.0
"""A scorer that asks for more is asked after as much: its queue may be empty sooner than it thought."""

FIRST_TIMEOUT_SECONDS = 15.0
"""Of a call. Doubled after a time-out (RFC 6298): for the same pair each time, for all until the next answer."""

GRACE_SECONDS = 2.0
"""For which a call is waited for beyond the time-out that it tells, so that the scorer can say what became of it."""

LONGEST_TIMEOUT_SECONDS = 50.0
"""Below what the scorer's `/ready` calls stuck (60 s in one batch): who takes longer is not slow but broken."""

SMOOTHING = 1 / 8
"""Share of the newest answer in the time that answers take (RFC 6298)."""

SUSPECT_TRIES = 5
"""Failures of one pair in a row, each while another pair gets its score, after which this one is given up: odd
answers, and calls that reached the longest time-out."""

MAX_REPLY_BYTES = 65_536
"""What is read of a reply; a score takes about 300 bytes."""

CONNECT_SECONDS = 2.0
RECONNECT_SECONDS = 10
"""How long an address of the scorer is remembered; it changes when the container is made anew."""

_REFUSALS = {400, 413, 422}
"""The scorer understood the request and will never score this pair."""

_BUSY = {429, 503}
"""The scorer has more to do than it takes, or than it gets done while it is waited for."""

_AWAY = {502}
"""Something before the scorer says that it is not there now."""

_TIMED_OUT = 504
"""The scorer was at work on the pair when its time was over."""

_PROBE = {"candidate": "Paris is the capital of France.", "reference": "The capital of France is Paris."}


@dataclass(frozen=True)
class Refused:
    """The scorer will not score this pair, however often it is asked.

    Attributes:
        status_code: Its HTTP status.
        message: What it said.
    """

    status_code: int
    message: str


class _ScorerUnavailable(Exception):
    """The scorer cannot be reached, or not now.

    Attributes:
        retry_after_seconds: When it asks to be called again; 0 when it does not say.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class _Busy(_ScorerUnavailable):
    """The scorer has too much to do."""


class _TimedOut(Exception):
    """There was no answer in time.

    Attributes:
        timeout_seconds: For which the call was waited for.
        at_work: Whether the scorer was at work on the pair then; False also when it did not say.
    """

    def __init__(self, timeout_seconds: float, at_work: bool) -> None:
        super().__init__(f"no answer within {timeout_seconds:g} s")
        self.timeout_seconds = timeout_seconds
        self.at_work = at_work


class _UnexpectedReply(Exception):
    """The scorer failed in a way that may be the pair's fault."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


class ScorerClient:
    """HTTP client of the scorer for one event loop."""

    def __init__(self, url: str, capacity: int, backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS) -> None:
        """Makes a client; its session is opened by the first call, in the loop of that call.

        Args:
            url: Base address of the scorer.
            capacity: Calls in flight at most; fewer while the scorer does not answer them in time.
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
        self._away = False

    async def score(self, candidate: str, reference: str) -> BertScore | Refused:
        """Returns the score of an answer against its reference, or why there never will be one.

        It takes as long as the scorer is away. It raises nothing but `asyncio.CancelledError`.
        """
        tries = timeouts = failed_alone = 0
        answers = self._answers
        while True:
            asked_to_wait = 0.0
            try:
                result = await self._call({"candidate": candidate, "reference": reference}, timeouts)
            except _UnexpectedReply as error:
                # Once is not enough: the scorer may have got well between the two calls.
                failed_alone = failed_alone + 1 if await self._scores_others() else 0
                if failed_alone >= SUSPECT_TRIES:
                    return Refused(error.status_code, f"failed {failed_alone} times on this pair alone: {error}")
                self._tell_away(str(error))
            except _TimedOut as error:
                timeouts += 1
                others_are_fast = self._answers > answers and self._is_fast()
                if error.timeout_seconds == LONGEST_TIMEOUT_SECONDS and error.at_work and others_are_fast:
                    failed_alone += 1
                answers = self._answers
                if failed_alone >= SUSPECT_TRIES:
                    return Refused(_TIMED_OUT, f"failed {failed_alone} times on this pair alone: {error}")
                self._tell_away(str(error))
            except _Busy as error:  # which says nothing about the pair
                asked_to_wait = error.retry_after_seconds
                self._tell_away(str(error))
            except _ScorerUnavailable as error:
                failed_alone = 0
                asked_to_wait = error.retry_after_seconds
                self._tell_away(str(error))
            except Exception as error:
                failed_alone = 0
                self._tell_away(f"{type(error).__name__}: {error}")
            else:
                self._tell_back()
                return result
            wait = max(self._backoff[min(tries, len(self._backoff) - 1)], asked_to_wait)
            tries += 1
            await asyncio.sleep(wait * (1 + random.random() / 2))

    async def agreement(self, answer: str, samples: Sequence[str]) -> BertScore | None:
        """Returns the mean scores of an answer against further answers to the same prompt.

        The mean, as in SelfCheckGPT (Manakul et al. 2023, arXiv:2303.08896): one sample that strays counts with its
        share, where a minimum would be that sample alone and a maximum would overlook all others. Samples that the
        scorer refuses are left out. It waits and raises as `score` does.

        Args:
            answer: The answer to judge.
            samples: At least one.

        Returns:
            None if the scorer refuses all samples: the answer is not at fault, it stays without a score.
        """
        # A call for each, not one batch, which a single sample without words would fail as a whole. The scorer puts
        # what arrives together into one batch.
        results = await asyncio.gather(*(self.score(answer, sample) for sample in samples))
        scores = [result for result in results if isinstance(result, BertScore)]
        if not scores:
            return None
        return BertScore(
            score=mean(each.score for each in scores),
            precision=mean(each.precision for each in scores),
            recall=mean(each.recall for each in scores),
            f1=mean(each.f1 for each in scores),
            scorer=scores[0].scorer,
        )

    async def close(self) -> None:
        """Closes the connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _timeout(self, timeouts: int) -> float:
        """Returns the seconds that a call is waited for whose pair timed out so often before."""
        return min(LONGEST_TIMEOUT_SECONDS, max(FIRST_TIMEOUT_SECONDS * 2.0 ** min(timeouts, 8), self._timeout_seconds))

    async def _call(self, pair: dict[str, str], timeouts: int) -> BertScore | Refused:
        """Makes a call when its turn comes, and learns from how it ends.

        The time-out begins when the call does: the wait for a turn is no fault of the scorer.
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
        """Whether answers come soon: where all pairs are slow, a time-out says nothing about its pair."""
        return self._answer_seconds is not None and self._answer_seconds < FIRST_TIMEOUT_SECONDS

    def _learn(self, seconds: float) -> None:
        """Learns how long an answer takes; a time-out is never less than twice that."""
        usual = seconds if self._answer_seconds is None else self._answer_seconds
        self._answer_seconds = usual + SMOOTHING * (seconds - usual)
        self._timeout_seconds = 2 * self._answer_seconds

    async def _ask(self, pair: dict[str, str], timeout_seconds: float) -> BertScore | Refused:
        """Makes one call.

        Raises:
            _TimedOut: There was no answer in time.
            _ScorerUnavailable: The scorer is not there, or busy.
            _UnexpectedReply: The answer is no score.
            aiohttp.ClientError: It could not be reached.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # As many connections as there are calls: who may begin one is decided before.
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
        except aiohttp.ServerTimeoutError as error:  # also a TimeoutError, but there was no connection yet
            raise _ScorerUnavailable(str(error)) from None
        except TimeoutError:
            raise _TimedOut(timeout_seconds, at_work=False) from None
        if status in _REFUSALS:
            return Refused(status, reason(body))
        if status == _TIMED_OUT:
            raise _TimedOut(timeout_seconds, at_work=True)
        if status in _BUSY:
            raise _Busy(f"HTTP {status}", after)
        if status in _AWAY:
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

    # An outage is told once, not once for each record that waits for its end.

    def _tell_away(self, error: str) -> None:
        if not self._away:
            self._away = True
            log.warning("began to wait for the scorer", url=self._url, error=error)

    def _tell_back(self) -> None:
        if self._away:
            self._away = False
            log.info("reached the scorer again", url=self._url)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Returns the body of a reply, cut at its limit: what is longer is no score, and must not fill the memory."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            answer.close()  # not `release`, which would read the rest
            return body[:MAX_REPLY_BYTES]
    return body


def parse(body: bytes) -> BertScore:
    """Reads the scorer's answer.

    Raises:
        ValueError: It is not JSON, or a number is not from -1 to 1.
        KeyError: A field is missing.
        TypeError: A field is of another type.
    """
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return bert_score(answer)


def reason(body: bytes, limit: int = 300) -> str:
    """Returns what an error answer says: the detail of a problem+json document, or the text itself, cut."""
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
