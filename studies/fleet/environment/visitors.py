"""Simulates visitors who ask one question each and give up after a timeout."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

PATIENCE_SECONDS = 60.0
"""Timeout of a visitor; usual defaults of browsers and load balancers are 30 to 60 s."""

CONNECT_SECONDS = 1.0
"""Time between tries while no server listens."""

POLL_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Time between polls of a pending question if the service does not delay its replies; the last one repeats."""
HOLD_SECONDS = 10

Outcome = Literal["answered", "gave up", "refused", "broken"]


@dataclass(frozen=True)
class VisitResult:
    """The result of one visitor. Times are seconds from when the question was due.

    Attributes:
        outcome: answered; gave up: timeout; refused: an error status; broken: the connection ended without a reply.
        accepted: Whether the service accepted the question.
        first_reply: Time of the first reply; None: no reply.
        answer: Time of the answer; None: no answer.
    """

    outcome: Outcome
    accepted: bool
    first_reply: float | None
    answer: float | None


def visit(url: str, bodies: Sequence[bytes], due: Sequence[float], start: float) -> list[VisitResult]:
    """Asks each question when it is due, independent of the others, and waits for all results.

    Args:
        url: Address of the service; after a reply of 202 `/status/ID` is polled.
        bodies: Bodies of `POST /query`.
        due: When each question is due, in seconds from the start.
        start: Start time, in seconds since the epoch.
    """
    return asyncio.run(_all(url, bodies, due, start))


async def _all(url: str, bodies: Sequence[bytes], due: Sequence[float], start: float) -> list[VisitResult]:
    async with aiohttp.ClientSession(
        # A connection for each visitor, so that none waits for another.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers={"Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        offset = time.monotonic() - time.time()
        return await asyncio.gather(
            *(_visitor(session, url, body, start + offset + at) for body, at in zip(bodies, due, strict=True))
        )


async def _visitor(session: aiohttp.ClientSession, url: str, body: bytes, due: float) -> VisitResult:
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    first: float | None = None
    accepted = False
    try:
        async with asyncio.timeout(due + PATIENCE_SECONDS - time.monotonic()):
            try:
                status, said = await _ask(session, f"{url}/query", body)
            except aiohttp.ClientError:
                return VisitResult("broken", False, None, None)
            first = time.monotonic() - due
            if status == 200:
                return VisitResult("answered", True, first, first)
            if status != 202:
                return VisitResult("refused", False, first, None)
            accepted = True
            return await _follow(session, f"{url}/status/{json.loads(said)['question_id']}", due, first)
    except TimeoutError:
        return VisitResult("gave up", accepted, first, None)


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, bytes]:
    """Returns status and body of the reply; retries while no server listens."""
    while True:
        try:
            async with session.post(url, data=body) as reply:
                return reply.status, await reply.read()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(CONNECT_SECONDS)


async def _follow(session: aiohttp.ClientSession, url: str, due: float, first: float) -> VisitResult:
    polls = 0
    while True:
        began = time.monotonic()
        found = await _poll(session, url)
        if found.get("status") == "completed":
            return VisitResult("answered", True, first, time.monotonic() - due)
        if found.get("status") == "failed":
            return VisitResult("refused", True, first, None)
        pause = POLL_SECONDS[min(polls, len(POLL_SECONDS) - 1)]
        if (held := time.monotonic() - began) < pause:
            polls += 1  # the reply was not delayed: too many clients wait, or the service is unavailable
            await asyncio.sleep(pause - held)


async def _poll(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Returns the status of a question; empty while the service is unavailable."""
    try:
        async with session.get(url, params={"wait": HOLD_SECONDS}) as reply:
            return dict(await reply.json()) if reply.status == 200 else {}
    except aiohttp.ClientError:
        return {}
