"""Load over HTTP, from a process of its own: what is measured must not wait for the one who measures."""

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
    """What became of requests.

    Attributes:
        started: When the first one was sent, in seconds since the epoch.
        finished: When the last one was answered.
        latencies: Seconds of each, in no order.
        statuses: How many of each HTTP status there were.
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
        """Returns itself.

        Raises:
            SystemExit: There was another status than these: nothing was measured.
        """
        if other := {status: count for status, count in self.statuses.items() if status not in statuses}:
            raise SystemExit(f"could not measure: answered with {other} (status: count)")
        return self


def question(text: str, reference: str | None = None) -> bytes:
    """Returns the body of `POST /query`."""
    body = {"question_text": text} | ({} if reference is None else {"original_answer": reference})
    return json.dumps(body).encode()


def post(url: str, bodies: Sequence[bytes], connections: int) -> Load:
    """Posts bodies over so many connections, each as soon as its connection is free, and waits for all replies."""
    return asyncio.run(_all(url, "POST", bodies, connections))


def get(url: str, count: int, connections: int) -> Load:
    """Gets an address so often, over so many connections."""
    return asyncio.run(_all(url, "GET", [b""] * count, connections))


class Client:
    """A process that makes load. Start it before what is measured begins."""

    def __init__(self) -> None:
        # A fork would inherit this process's threads and clients.
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pool.submit(time.time).result()

    def post(self, url: str, bodies: Sequence[bytes], connections: int) -> "Future[Load]":
        """Begins `post` there."""
        return self._pool.submit(post, url, bodies, connections)

    def get(self, url: str, count: int, connections: int) -> "Future[Load]":
        """Begins `get` there."""
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
