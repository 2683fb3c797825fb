"""Visitors who ask one question each and give up after a while, from a process of its own."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

PATIENCE_SECONDS = 60.0
"""After this time a browser's page, a load balancer or its user gives up: defaults of the usual ones are 30 to 60 s."""

CONNECT_SECONDS = 1.0
"""Between tries while no server listens."""

LOOK_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Between looks at a pending question when the service does not hold them back; the last repeats."""
HOLD_SECONDS = 10

Outcome = Literal["answered", "gave up", "refused", "broken"]


@dataclass(frozen=True)
class Fate:
    """What became of one visitor. Times are seconds from when the question was due.

    Attributes:
        outcome: answered; gave up waiting; refused: an error status; broken: the connection ended without a reply.
        accepted: Whether the service said that it has the question.
        first_reply: When there was any reply; None: never.
        answer: When there was an answer; None: never.
    """

    outcome: Outcome
    accepted: bool
    first_reply: float | None
    answer: float | None


def visit(url: str, bodies: Sequence[bytes], due: Sequence[float], start: float) -> list[Fate]:
    """Asks each question when it is due, whatever becomes of the others, and waits for all fates.

    Args:
        url: Of the service; a reply of 202 is followed by looks at `/status/ID`.
        bodies: Of `POST /query`.
        due: Seconds from the start, one for each.
        start: Seconds since the epoch.
    """
    return asyncio.run(_all(url, bodies, due, start))


async def _all(url: str, bodies: Sequence[bytes], due: Sequence[float], start: float) -> list[Fate]:
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


async def _visitor(session: aiohttp.ClientSession, url: str, body: bytes, due: float) -> Fate:
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    first: float | None = None
    accepted = False
    try:
        async with asyncio.timeout(due + PATIENCE_SECONDS - time.monotonic()):
            try:
                status, said = await _ask(session, f"{url}/query", body)
            except aiohttp.ClientError:
                return Fate("broken", False, None, None)
            first = time.monotonic() - due
            if status == 200:
                return Fate("answered", True, first, first)
            if status != 202:
                return Fate("refused", False, first, None)
            accepted = True
            return await _follow(session, f"{url}/status/{json.loads(said)['question_id']}", due, first)
    except TimeoutError:
        return Fate("gave up", accepted, first, None)


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, bytes]:
    """Returns status and body of the reply, and tries again while no server listens."""
    while True:
        try:
            async with session.post(url, data=body) as reply:
                return reply.status, await reply.read()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(CONNECT_SECONDS)


async def _follow(session: aiohttp.ClientSession, url: str, due: float, first: float) -> Fate:
    looks = 0
    while True:
        began = time.monotonic()
        found = await _look(session, url)
        if found.get("status") == "completed":
            return Fate("answered", True, first, time.monotonic() - due)
        if found.get("status") == "failed":
            return Fate("refused", True, first, None)
        pause = LOOK_SECONDS[min(looks, len(LOOK_SECONDS) - 1)]
        if (held := time.monotonic() - began) < pause:
            looks += 1  # not held back: too many wait, or the service is unavailable
            await asyncio.sleep(pause - held)


async def _look(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Returns the status of a question; nothing while the service is unavailable."""
    try:
        async with session.get(url, params={"wait": HOLD_SECONDS}) as reply:
            return dict(await reply.json()) if reply.status == 200 else {}
    except aiohttp.ClientError:
        return {}
