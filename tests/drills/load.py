"""Open-loop load: slow replies do not delay later questions."""

import asyncio
import json
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp

from pipeline.question import normalise
from tests.drills.ledger import Entry
from tests.drills.scripts import REFERENCE, Mix
from tests.fleet import STORAGE

REQUEST_SECONDS = 15.0
RETRY_SECONDS = 1.0
"""Wait of a refused client without `Retry-After`."""


class Load:
    """Asks new questions at a steady rate in a thread and keeps the ledger.

    A question is in the ledger when the fleet has promised its answer. A 503 or a broken connection is not a promise:
    the client retries after `Retry-After` until `patience_seconds` after the last question was due.
    """

    def __init__(self, name: str, mix: Mix, rate: float, seconds: float, patience_seconds: float) -> None:
        """Prepares `rate` questions per second for `seconds`."""
        nonce = uuid.uuid4().hex[:12]
        self._texts = [
            f"Drill {name}, question {number}: at what temperature does water boil? ({nonce})"
            for number in range(round(rate * seconds))
        ]
        self._mix = mix
        self._rate = rate
        self._patience = seconds + patience_seconds
        self._entries: list[Entry] = []
        self._refused: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def start(self) -> None:
        """Starts to ask questions."""
        self._thread.start()

    def join(self) -> None:
        """Waits until every question is in the ledger or is refused for good."""
        self._thread.join()

    def cancel(self) -> None:
        """Stops asking questions."""
        self._stop.set()
        self._thread.join()

    @property
    def ledger(self) -> Sequence[Entry]:
        """Promises so far."""
        return tuple(self._entries)

    @property
    def ids(self) -> dict[str, str]:
        """Question ids in the ledger so far, by normalised text."""
        return {normalise(entry.text): entry.question_id for entry in self.ledger}

    @property
    def refused(self) -> Sequence[str]:
        """Errors of the questions that got no promise, one line each."""
        return tuple(self._refused)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = []
            for number, text in enumerate(self._texts):
                await asyncio.sleep(started + number / self._rate - loop.time())
                if self._stop.is_set():
                    break
                tasks.append(asyncio.create_task(self._ask(session, text, started + self._patience)))
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, text: str, until: float) -> None:
        loop = asyncio.get_running_loop()
        body = {"question_text": text, "original_answer": REFERENCE}
        while True:
            wait = RETRY_SECONDS
            try:
                async with session.post(f"{STORAGE}/query", json=body) as reply:
                    said = await reply.text()
                    if reply.status in (200, 202):
                        id = json.loads(said)["question_id"]
                        self._entries.append(Entry(id, text, datetime.now(UTC), self._mix.script_of(text)))
                        return
                    why = f"{reply.status} {said[:200]}"
                    if reply.status != 503:
                        self._refused.append(why)
                        return
                    wait = float(reply.headers.get("Retry-After", RETRY_SECONDS))
            except (aiohttp.ClientError, TimeoutError) as error:
                why = repr(error)
            except (ValueError, LookupError, TypeError) as error:
                self._refused.append(f"an unreadable promise: {error!r}")
                return
            if self._stop.is_set() or loop.time() + wait > until:
                self._refused.append(why)
                return
            await asyncio.sleep(wait)
