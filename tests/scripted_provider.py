"""A fake language model, for tests and drills only: an OpenAI-compatible API that replies by a script.

It misbehaves on demand as providers do, and counts its calls by question and attempt. A request does not contain the
number of its attempt, which follows from the temperature: each attempt has a higher one (`llm_consumer.prompt`).
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
"""Temperature of first attempts, set in the llm-consumers that call this provider."""

DRIP_INTERVAL_SECONDS = 0.5
TOKENS = 15
"""Tokens of each call, prompt included."""

NEVER_SECONDS = 600.0
"""Duration of endless replies; longer than any caller waits."""


@dataclass(frozen=True)
class Reply:
    """Reply to a call.

    Attributes:
        body: Bytes of the body.
        status: HTTP status.
        headers: Headers in addition to Content-Type, which is JSON.
        latency_seconds: Time before the first byte.
        manner: Way of sending the body: `whole`; `hang`: never; `drip`: after white space that is sent byte by byte
            for `NEVER_SECONDS`; `drop`: the first half, then the connection breaks.
        retry_at_seconds: Seconds until the HTTP date in an added `Retry-After`.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_seconds: float = 0
    manner: Literal["whole", "hang", "drip", "drop"] = "whole"
    retry_at_seconds: float | None = None


def completion(content: object, model: str = "scripted") -> bytes:
    """Returns a chat completion with this content, normally a text, as JSON."""
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
    """Returns an answer; an empty text is an empty answer."""
    return Reply(completion(text), latency_seconds=latency_seconds)


def refusal(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """Returns an HTTP error: 429 (with `Retry-After` or `retry-after-ms` among its headers), 402, 503, 401, …"""
    return Reply(body.encode(), status, headers or {})


def refusal_until(status: int, body: str, seconds: float) -> Reply:
    """Returns an HTTP error whose `Retry-After` is a date, `seconds` after the reply."""
    return Reply(body.encode(), status, retry_at_seconds=seconds)


def error_in_success() -> Reply:
    """Returns status 200 with an error in the body."""
    return Reply(b'{"error": {"message": "the model crashed", "type": "server_error"}}')


def invalid_utf8() -> Reply:
    """Returns a completion that is not valid UTF-8."""
    return Reply(completion("broken").replace(b"broken", b"\xff\xfe\xfa"))


def not_a_number() -> Reply:
    """Returns a completion whose content is NaN, which Python's JSON reads as a number."""
    return Reply(completion(float("nan")))


def hang() -> Reply:
    """Returns a reply that sends no byte."""
    return Reply(manner="hang")


def drip() -> Reply:
    """Returns a reply of single bytes at intervals: each read succeeds but the answer never ends."""
    return Reply(completion("late"), manner="drip")


def drop() -> Reply:
    """Returns a reply whose connection breaks in the middle of the body."""
    return Reply(completion("This is cut in the middle."), manner="drop")


Step = Reply | str | tuple[int, Mapping[str, str], str]
"""A reply, the text of an answer, or (status, headers, body)."""

ByAttempt = Sequence[Sequence[Reply]]
"""Replies to the calls of each attempt. The last reply of an attempt repeats, and so does the last attempt."""


def default_script(text: str) -> ByAttempt:
    """Returns the script of a question without a script."""
    return [[answer("I was not told what to say.")]]


@dataclass(frozen=True)
class RateLimit:
    """Limit of a provider in any minute.

    Attributes:
        requests: Number of calls; None for no limit.
        tokens: Number of tokens; None for no limit.
        headers: Whether replies have the limit in their headers, as those of OpenAI do.
        retry_after: `Retry-After` of refusals in seconds; None for no header.
    """

    requests: int | None = None
    tokens: int | None = None
    headers: bool = False
    retry_after: float | None = None


class _Limited:
    """Sliding window of a minute over requests and tokens."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()

    def admit(self, tokens: int) -> bool:
        """Counts a call and returns True, or returns False when it exceeds the limit."""
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
        """Headers of a reply that report the limit."""
        limit = self._limit
        headers = {} if limit.retry_after is None else {"Retry-After": f"{limit.retry_after:g}"}
        if not limit.headers:
            return headers
        reset = f"{60 - (time.monotonic() - self._taken[0][0]) if self._taken else 0:.3f}s"
        for kind, most, taken in (
            ("requests", limit.requests, len(self._taken)),
            ("tokens", limit.tokens, sum(each for _, each in self._taken)),
        ):
            if most is not None:
                headers |= {
                    f"x-ratelimit-limit-{kind}": str(most),
                    f"x-ratelimit-remaining-{kind}": str(most - taken),
                    f"x-ratelimit-reset-{kind}": reset,
                }
        return headers


class Gate:
    """Event of another thread's event loop; calls pass while it is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._event.set()

    def set(self) -> None:
        """Lets calls pass."""
        self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Blocks calls."""
        self._loop.call_soon_threadsafe(self._event.clear)

    async def passed(self, seconds: float) -> None:
        """Waits until calls pass, for `seconds` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass


class ScriptedProvider:
    """Answers each question by its script and counts the calls.

    The script of other questions is the result of `default` for their text.
    """

    def __init__(self, default: Callable[[str], ByAttempt] | None = None, limit: RateLimit | None = None) -> None:
        """Starts to serve in a thread.

        Args:
            default: Function that returns the script of a question without one; None for `default_script`.
            limit: Rate limit; None for no limit.
        """
        self._limited = _Limited(limit) if limit else None
        self.refused = 0
        """Number of calls refused by the limit."""
        self.default = default or default_script
        """Function that returns the script of a question without one; it may be replaced at any time."""
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
        """Sets the replies to the calls of a question; the last one repeats."""
        self._sequences[normalise(question)] = [_reply(step) for step in steps]

    def calls(self, question: str) -> list[dict[str, Any]]:
        """Returns the requests of a question that has a script."""
        with self._lock:
            return list(self._requests[normalise(question)])

    def counts(self) -> dict[tuple[str, int], int]:
        """Returns the number of calls by normalised text and attempt of a question."""
        with self._lock:
            return dict(self._counts)

    def watch_peak(self) -> Callable[[], int]:
        """Returns a function that returns the highest number of calls in flight from now on."""
        with self._lock:
            self._peak = self._in_flight

        def peak() -> int:
            with self._lock:
                return self._peak

        return peak

    def go_down(self) -> None:
        """Refuses new connections and breaks the existing ones."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)

    def come_up(self) -> None:
        """Accepts connections again at the same address."""
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
        # With cancellation, the call of a disconnected caller is no longer in flight.
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
            # A context follows the question in the same message.
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
    """Returns the number of the attempt that a request belongs to."""
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
