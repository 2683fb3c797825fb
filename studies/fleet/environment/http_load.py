"""HTTP load from a separate process, so that the measurement does not slow it down."""

import asyncio
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """The results of requests.

    Attributes:
        started: When the first one was sent, in seconds since the epoch.
        finished: When the last one was answered.
        latencies: Seconds of each request, unordered.
        statuses: Number of replies by HTTP status.
    """

    started: float
    finished: float
    latencies: tuple[float, ...]
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Requests/s."""
        return len(self.latencies) / (self.finished - self.started)

    def require(self, *statuses: int) -> "Load":
        """Returns itself if all statuses are allowed.

        Raises:
            SystemExit: There was another status.
        """
        if other := {status: count for status, count in self.statuses.items() if status not in statuses}:
            raise SystemExit(f"could not measure: answered with {other} (status: count)")
        return self


def question(text: str, reference: str | None = None) -> bytes:
    """Returns the body of `POST /query`."""
    body = {"question_text": text} | ({} if reference is None else {"original_answer": reference})
    return json.dumps(body).encode()


def post(url: str, bodies: Sequence[bytes], connections: int) -> Load:
    """Posts bodies over a number of connections, each as soon as a connection is free; waits for all replies."""
    return asyncio.run(_all(url, "POST", bodies, connections))


def get(url: str, count: int, connections: int) -> Load:
    """Sends `count` GET requests over a number of connections."""
    return asyncio.run(_all(url, "GET", [b""] * count, connections))


class Client:
    """A process that sends load. Start it before the measurement."""

    def __init__(self) -> None:
        # A fork would inherit this process's threads and clients.
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pool.submit(time.time).result()

    def post(self, url: str, bodies: Sequence[bytes], connections: int) -> "Future[Load]":
        """Starts `post` in the process."""
        return self._pool.submit(post, url, bodies, connections)

    def get(self, url: str, count: int, connections: int) -> "Future[Load]":
        """Starts `get` in the process."""
        return self._pool.submit(get, url, count, connections)

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


async def _all(url: str, method: str, bodies: Sequence[bytes], connections: int) -> Load:
    waiting = iter(bodies)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    headers = {"Content-Type": "application/json"} if method == "POST" else {}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        headers=headers,
    ) as session:

        async def connection() -> None:
            for body in waiting:
                began = time.perf_counter()
                async with session.request(method, url, data=body or None) as reply:
                    await reply.read()
                latencies.append(time.perf_counter() - began)
                statuses[reply.status] += 1

        started = time.time()
        tasks: list[Any] = [connection() for _ in range(connections)]
        await asyncio.gather(*tasks)
        finished = time.time()
    return Load(started, finished, tuple(latencies), dict(statuses))
