"""Asks the scorer for the score of an answer. Knows nothing of Flink.

`ScorerClient.score` always returns: an exception in an asynchronous PyFlink operator can drop the record without a
trace. While the scorer is away it tries again, for ever: the record waits, the operators before it feel the back
pressure, and no attempt of the question is burnt.
"""

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from typing import Any

import aiohttp
import structlog

from pipeline import http
from pipeline.routing import BertScore

log = structlog.get_logger(__name__)

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits between tries, each with up to half of it added at random; the last one repeats."""

MAX_RETRY_AFTER_SECONDS = 30.0
"""A scorer that asks for more is asked after as much: its queue may be empty sooner than it thought."""

SUSPECT_TRIES = 5
"""Odd failures of one pair in a row, each while another pair gets its score, after which this one is given up."""

CONNECT_SECONDS = 2.0
RECONNECT_SECONDS = 10
"""How long an address of the scorer is remembered; it changes when the container is made anew."""

_REFUSALS = {400, 413, 422}
"""The scorer understood the request and will never score this pair."""

_AWAY = {429, 502, 503, 504}
"""The scorer, or something before it, says that it is not there now."""

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


class _Away(Exception):
    """The scorer cannot be reached, or not now.

    Attributes:
        retry_after_seconds: When it asks to be called again; 0 when it does not say.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class _Odd(Exception):
    """The scorer failed in a way that may be the pair's fault."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


class ScorerClient:
    """HTTP client of the scorer for one event loop."""

    def __init__(
        self, url: str, timeout_seconds: float, connections: int, backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS
    ) -> None:
        """Makes a client; its session is opened by the first call, in the loop of that call.

        Args:
            url: Base address of the scorer.
            timeout_seconds: For one call.
            connections: Calls in flight.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        self._url = f"{url.rstrip('/')}/score"
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(CONNECT_SECONDS, timeout_seconds))
        self._connections = connections
        self._backoff = backoff_seconds
        self._session: aiohttp.ClientSession | None = None
        self._away = False

    async def score(self, candidate: str, reference: str) -> BertScore | Refused:
        """Returns the score of an answer against its reference, or why there never will be one.

        It takes as long as the scorer is away. It raises nothing but `asyncio.CancelledError`.
        """
        tries = 0
        failed_alone = 0
        while True:
            asked_to_wait = 0.0
            try:
                result = await self._ask({"candidate": candidate, "reference": reference})
            except _Odd as error:
                # Once is not enough: the scorer may have got well between the two calls.
                failed_alone = failed_alone + 1 if await self._scores_others() else 0
                if failed_alone >= SUSPECT_TRIES:
                    return Refused(error.status_code, f"failed {failed_alone} times on this pair alone: {error}")
                self._tell_away(str(error))
            except _Away as error:
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

    async def _ask(self, pair: dict[str, str]) -> BertScore | Refused:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=RECONNECT_SECONDS),
            )
        async with self._session.post(self._url, json=pair) as answer:
            status, body = answer.status, await answer.read()
            after = min(http.retry_after(answer.headers) or 0.0, MAX_RETRY_AFTER_SECONDS)
        if status in _REFUSALS:
            return Refused(status, reason(body))
        if status in _AWAY:
            raise _Away(f"HTTP {status}", after)
        if status != 200:
            raise _Odd(status, f"HTTP {status}: {reason(body)}")
        try:
            return parse(body)
        except (ValueError, KeyError, TypeError) as error:
            raise _Odd(status, f"the answer is not a score: {error!r}") from None

    async def _scores_others(self) -> bool:
        try:
            return isinstance(await self._ask(_PROBE), BertScore)
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


def parse(body: bytes) -> BertScore:
    """Reads the scorer's answer.

    Raises:
        ValueError: It is not JSON, or a number is not finite.
        KeyError: A field is missing.
        TypeError: A field is of another type.
    """
    answer = json.loads(body)
    return BertScore(
        score=_cosine(answer["score"]),
        precision=_cosine(answer["precision"]),
        recall=_cosine(answer["recall"]),
        f1=_cosine(answer["f1"]),
        scorer=str(answer["scorer"]),
    )


def _cosine(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    # Equal texts may come out a rounding error above 1 in single precision, which the messages do not allow.
    return max(-1.0, min(1.0, number))


def reason(body: bytes, limit: int = 300) -> str:
    """Returns what an error answer says: the detail of a problem+json document, or the text itself, cut."""
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text[:limit]
    if isinstance(document, dict):
        for field in ("detail", "title", "error"):
            if isinstance(document.get(field), str):
                return str(document[field])[:limit]
    return text[:limit]
