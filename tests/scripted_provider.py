"""A fake language model, for tests and drills only: an OpenAI-compatible API that says what it is told to.

It misbehaves on demand as providers do, and counts its calls by question and attempt. A request does not name its
attempt, but each one is sampled hotter than the one before (`llm_consumer.prompt`), so the temperature tells it.
"""

import asyncio
import json
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

from aiohttp import web

from llm_consumer.prompt import TEMPERATURE_STEP
from pipeline.question import normalise

TEMPERATURE = 0.7
"""Of first attempts; the llm-consumers that ask this provider are told so."""

DRIP_INTERVAL_SECONDS = 0.5
TOKENS = 15
"""Of each answer, prompt included."""

NEVER_SECONDS = 600.0
"""Longer than any caller waits."""


@dataclass(frozen=True)
class Reply:
    """What a call gets.

    Attributes:
        body: Bytes of the body.
        status: HTTP status.
        headers: Beside Content-Type, which is JSON.
        latency_seconds: Time before the first byte.
        manner: How the body is sent: as a whole; never; behind white space that drips for `NEVER_SECONDS`; or only
            the first half of it, before the connection breaks.
        retry_at_seconds: Adds a `Retry-After` that is an HTTP date this far from the reply.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_seconds: float = 0
    manner: Literal["whole", "hang", "drip", "drop"] = "whole"
    retry_at_seconds: float | None = None


def completion(content: object, model: str = "scripted") -> bytes:
    """Returns a chat completion with this content (text, as a rule) as JSON."""
    return json.dumps(
        {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    ).encode()


def answer(text: str, latency_seconds: float = 0) -> Reply:
    """An answer; an empty text is an empty answer."""
    return Reply(completion(text), latency_seconds=latency_seconds)


def refusal(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """An HTTP error: 429 (with `Retry-After` or `retry-after-ms` among its headers), 402, 503, 401, …"""
    return Reply(body.encode(), status, headers or {})


def refusal_until(status: int, body: str, seconds: float) -> Reply:
    """An HTTP error whose `Retry-After` is a date, `seconds` from the reply."""
    return Reply(body.encode(), status, retry_at_seconds=seconds)


def error_in_success() -> Reply:
    """Status 200 with an error for a body."""
    return Reply(b'{"error": {"message": "the model crashed", "type": "server_error"}}')


def invalid_utf8() -> Reply:
    """A completion whose bytes are no UTF-8."""
    return Reply(completion("broken").replace(b"broken", b"\xff\xfe\xfa"))


def not_a_number() -> Reply:
    """A completion whose content is NaN, which Python's JSON reads as a number."""
    return Reply(completion(float("nan")))


def hang() -> Reply:
    """No byte, for as long as the caller waits."""
    return Reply(manner="hang")


def drip() -> Reply:
    """A byte now and then, so that each single read succeeds but the answer never ends."""
    return Reply(completion("late"), manner="drip")


def drop() -> Reply:
    """The connection breaks in the middle of the body."""
    return Reply(completion("This is cut in the middle."), manner="drop")


Step = Reply | str | tuple[int, Mapping[str, str], str]
"""A reply, a text (an answer) or (status, headers, body)."""

ByAttempt = Sequence[Sequence[Reply]]
"""The replies to each attempt, call by call; the last of each repeats, and so does the last attempt."""


def untold(text: str) -> ByAttempt:
    """Makes the script of a question that nobody thought of."""
    return [[answer("I was not told what to say.")]]


@dataclass(frozen=True)
class RateLimit:
    """What a provider admits in any minute.

    Attributes:
        requests: Calls; None: any number.
        tokens: That its answers take; None: any number.
        headers: Its answers and refusals tell the limit, as OpenAI's do.
        retry_after: Its refusals say after how many seconds there is room for one more; None: they do not.
    """

    requests: int | None = None
    tokens: int | None = None
    headers: bool = False
    retry_after: float | None = None


class _Limited:
    """A sliding window of a minute over requests and tokens."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()

    def admit(self, tokens: int) -> bool:
        """Takes a call in, or refuses it."""
        now = time.monotonic()
        while self._taken and self._taken[0][0] <= now - 60:
            self._taken.popleft()
        requests, limit = len(self._taken), self._limit
        if limit.requests is not None and requests >= limit.requests:
            return False
        if limit.tokens is not None and sum(each for _, each in self._taken) + tokens > limit.tokens:
            return False
        self._taken.append((now, tokens))
        return True

    @property
    def headers(self) -> dict[str, str]:
        """What replies tell of the limit."""
        limit = self._limit
        told = {} if limit.retry_after is None else {"Retry-After": f"{limit.retry_after:g}"}
        if not limit.headers:
            return told
        reset = f"{60 - (time.monotonic() - self._taken[0][0]) if self._taken else 0:.3f}s"
        for kind, most, taken in (
            ("requests", limit.requests, len(self._taken)),
            ("tokens", limit.tokens, sum(each for _, each in self._taken)),
        ):
            if most is not None:
                told |= {
                    f"x-ratelimit-limit-{kind}": str(most),
                    f"x-ratelimit-remaining-{kind}": str(most - taken),
                    f"x-ratelimit-reset-{kind}": reset,
                }
        return told


class Gate:
    """An event of another thread's loop: calls pass while it is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._event.set()

    def set(self) -> None:
        """Lets calls pass."""
        self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Holds calls back."""
        self._loop.call_soon_threadsafe(self._event.clear)

    async def passed(self, seconds: float) -> None:
        """Waits until calls pass, but for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass


class ScriptedProvider:
    """Answers each question by its script, and counts the calls.

    Questions without a script of their own get the one that `default` makes of their text.
    """

    def __init__(self, default: Callable[[str], ByAttempt] | None = None, limit: RateLimit | None = None) -> None:
        """Starts serving, in a thread.

        Args:
            default: Makes the script of a question without one; None: `untold`.
            limit: What it admits; None: everything.
        """
        self._limited = _Limited(limit) if limit else None
        self.refused = 0
        """Calls that it did not admit."""
        self.default = default or untold
        """Makes the script of a question without one; it may be replaced at any time."""
        self._sequences: dict[str, list[Reply]] = {}
        self._requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._counts: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._peak = 0
        self._loop = asyncio.new_event_loop()
        self.hold = Gate(self._loop)
        """Calls are answered while it is set."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-provider", daemon=True)
        self._thread.start()
        self._runner, port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        self.base_url = f"http://{socket.gethostbyname(socket.gethostname())}:{port}/v1"

    def script(self, question: str, *steps: Step) -> None:
        """Tells what to answer to a question, call by call; the last step repeats."""
        self._sequences[normalise(question)] = [_reply(step) for step in steps]

    def calls(self, question: str) -> list[dict[str, Any]]:
        """Returns the requests about a question that has a script of its own."""
        with self._lock:
            return list(self._requests[normalise(question)])

    def counts(self) -> dict[tuple[str, int], int]:
        """Returns how many calls there were of each question (its normalised text) and attempt."""
        with self._lock:
            return dict(self._counts)

    def watch_peak(self) -> Callable[[], int]:
        """Begins to watch how many calls are in flight; the function that it returns gives the most so far."""
        with self._lock:
            self._peak = self._in_flight

        def peak() -> int:
            with self._lock:
                return self._peak

        return peak

    def go_down(self) -> None:
        """Refuses connections from now on, and breaks those that there are."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)

    def come_up(self) -> None:
        """Takes connections again, at the same address."""
        port = int(self.base_url.split(":")[2].split("/")[0])
        self._runner, _ = asyncio.run_coroutine_threadsafe(self._serve(port), self._loop).result(10)

    def close(self) -> None:
        """Stops serving."""
        self.hold.set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, port: int = 0) -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        # A caller that is gone, killed for example, is no call in flight.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "0.0.0.0", port)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        with self._lock:
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
        try:
            asked = await request.json()
            if self._limited and not self._limited.admit(TOKENS):
                self.refused += 1
                return await _send(request, refusal(429, "too many requests", self._limited.headers))
            reply = self._next(asked)
            if self._limited:
                reply = replace(reply, headers={**reply.headers, **self._answer_headers()})
            await self.hold.passed(30)
            await asyncio.sleep(reply.latency_seconds)
            return await _send(request, reply)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _answer_headers(self) -> dict[str, str]:
        headers = self._limited.headers if self._limited else {}
        return {name: value for name, value in headers.items() if name != "Retry-After"}

    def _next(self, request: dict[str, Any]) -> Reply:
        asked = normalise(next(str(each["content"]) for each in request["messages"] if each["role"] == "user"))
        attempt = attempt_of(request)
        with self._lock:
            # A context stands behind the question in the same message.
            scripted = asked if asked in self._sequences else next((q for q in self._sequences if q in asked), None)
            key = scripted or asked
            self._counts[key, attempt] += 1
            if scripted:
                self._requests[key].append(request)
                steps: Sequence[Reply] = self._sequences[scripted]
                number = len(self._requests[key])
            else:
                by_attempt = self.default(asked)
                steps = by_attempt[min(attempt, len(by_attempt)) - 1]
                number = self._counts[key, attempt]
            return steps[min(number, len(steps)) - 1]


def attempt_of(request: Mapping[str, Any]) -> int:
    """Returns which generation a request asks for."""
    return max(1, round((float(request.get("temperature", TEMPERATURE)) - TEMPERATURE) / TEMPERATURE_STEP) + 1)


def _reply(step: Step) -> Reply:
    if isinstance(step, str):
        return answer(step)
    if isinstance(step, tuple):
        status, headers, body = step
        return refusal(status, body, headers)
    return step


async def _send(request: web.Request, reply: Reply) -> web.StreamResponse:
    headers = {"Content-Type": "application/json", **reply.headers}
    if reply.retry_at_seconds is not None:
        at = datetime.now(UTC) + timedelta(seconds=reply.retry_at_seconds)
        headers["Retry-After"] = format_datetime(at, usegmt=True)
    if reply.manner == "whole":
        return web.Response(body=reply.body, status=reply.status, headers=headers)
    if reply.manner == "hang":
        await asyncio.sleep(NEVER_SECONDS)
    response = web.StreamResponse(status=reply.status, headers=headers)
    if reply.manner == "drop":
        response.content_length = len(reply.body)
    await response.prepare(request)
    if reply.manner == "drop":
        await response.write(reply.body[: len(reply.body) // 2])
        if request.transport:
            request.transport.close()
        return response
    for _ in range(int(NEVER_SECONDS / DRIP_INTERVAL_SECONDS)):
        await response.write(b" ")
        await asyncio.sleep(DRIP_INTERVAL_SECONDS)
    await response.write(reply.body)
    return response
