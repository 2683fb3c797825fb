"""One HTTP call to a provider: time-outs, size limits, and adaptation to the fields that it supports.

It does not use OpenAI's SDK, which needs ten times the processor time. Its retries are not needed, because failed calls
wait in a topic, and its types do not fit, because servers of many kinds may answer.
"""

import asyncio
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import aiohttp
import structlog

from pipeline import http
from pipeline.messages import ProviderError
from pipeline.providers import hints
from pipeline.providers.adaptation import Adaptation, apply, learn, may_be_about_fields
from pipeline.providers.completions import NoCompletion, Usage
from pipeline.providers.errors import classify_status, redacted, unusable_response
from pipeline.providers.hints import Limit
from pipeline.providers.targets import NO_KEY, Target

log = structlog.get_logger()

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Maximum size of a body after decompression: a worker has little memory, and real answers are much smaller."""

MAX_HEADER_BYTES = 65_536
"""Maximum size of one header."""

MAX_ADAPTATIONS = 4
"""Maximum number of adaptations in one call; each needs a further request."""


class CallFailed(Exception):
    """A call without an answer.

    Attributes:
        error: The classified error.
        usage: Tokens of the call.
        limits: Limits that the provider has reported.
    """

    def __init__(self, error: ProviderError, usage: Usage = Usage(), limits: Sequence[Limit] = ()) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage
        self.limits = tuple(limits)


class EmptyAnswer(CallFailed):
    """The model returned an empty answer."""


class Stopped(Exception):
    """The call was cancelled because the process stops. Neither the question nor the provider is at fault."""


R = TypeVar("R")


@dataclass(frozen=True)
class Reply(Generic[R]):
    """What a provider replied.

    Attributes:
        content: What was read from its body.
        latency_ms: Time from the request to the last byte.
        limits: Limits that the provider has reported.
    """

    content: R
    latency_ms: int
    limits: tuple[Limit, ...] = ()


class Adaptations(Protocol):
    """Adaptations of targets, shared by all workers."""

    def recall(self, target: Target, /) -> Adaptation:
        """Returns the adaptation of a target."""

    def keep(self, target: Target, adaptation: Adaptation, /) -> None:
        """Stores the adaptation of a target."""


class LocalAdaptations:
    """Adaptations that are not shared."""

    def recall(self, target: Target) -> Adaptation:
        """Returns an empty adaptation."""
        return frozenset()

    def keep(self, target: Target, adaptation: Adaptation) -> None:
        """Does nothing."""


class Api:
    """Client of a provider's API. Safe to use from several threads.

    Calls run in a separate event loop, because only there a call can have a timeout as a whole. The timeouts of HTTP
    clients apply to each read, so a response that arrives byte by byte would never reach them.
    """

    def __init__(self, target: Target, timeout_seconds: float, adaptations: Adaptations | None = None) -> None:
        """Makes a client.

        Args:
            target: Target of the calls.
            timeout_seconds: Timeout of a whole call.
            adaptations: Adaptations that are shared with other workers; None: they are not shared.
        """
        self.target = target
        self._timeout_seconds = timeout_seconds
        self._adaptations = LocalAdaptations() if adaptations is None else adaptations
        self.adaptation = self._adaptations.recall(target)
        """Learnt rules about fields that the target does not support."""
        self._closing = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True).start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def post(self, path: str, fields: Mapping[str, Any], read: Callable[[bytes, datetime], R]) -> Reply[R]:
        """Makes a call, for at most `timeout_seconds`.

        If the provider refuses a request because of a field, it is sent again without the field, and so are all later
        requests.

        Args:
            path: Path below the target's base URL, with a slash at its start.
            fields: Fields of the request; those that are None are left out.
            read: Reads a successful body; raises `NoCompletion` if it has no answer.

        Raises:
            EmptyAnswer: The answer was empty.
            CallFailed: There was no answer, or the provider refused the call.
            Stopped: `close` was called meanwhile.
        """
        fields = {name: value for name, value in fields.items() if value is not None}
        until = time.monotonic() + self._timeout_seconds
        for _ in range(MAX_ADAPTATIONS):
            known = self.adaptation
            request = apply(fields, known)
            try:
                return self._call(path, request, read, until)
            except CallFailed as failure:
                if not may_be_about_fields(failure.error.status_code, failure.error.message):
                    raise
                learnt = learn(failure.error.message, request, known)
                if learnt is None:
                    raise
                self._learn(learnt - known)
        return self._call(path, apply(fields, self.adaptation), read, until)

    def close(self) -> None:
        """Cancels running calls and closes the connections."""
        self._closing = True
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _learn(self, rules: Adaptation) -> None:
        self.adaptation |= rules
        self._adaptations.keep(self.target, self.adaptation)
        log.warning(
            "adapted requests to the target",
            model=self.target.model,
            base_url=self.target.base_url,
            learnt=sorted(rules),
        )

    def _call(self, path: str, request: dict[str, Any], read: Callable[[bytes, datetime], R], until: float) -> Reply[R]:
        started = time.monotonic()
        try:
            sent = asyncio.run_coroutine_threadsafe(self._post(path, request, until), self._loop)
            status, headers, body = sent.result()
        except CallFailed:
            if self._closing:
                raise Stopped from None
            raise
        now = datetime.now(UTC)
        if not 200 <= status < 300:
            text = redacted(body.decode(errors="replace"), self._keys)
            raise CallFailed(classify_status(status, text, headers, now), limits=hints.limits(headers, text, now))
        limits = hints.limits(headers, "", now)
        try:
            content = read(body, now)
        except NoCompletion as none:
            kind = EmptyAnswer if none.empty else CallFailed
            error = none.error.model_copy(update={"message": redacted(none.error.message, self._keys)})
            raise kind(error, none.usage, limits) from none
        return Reply(content, round((time.monotonic() - started) * 1000), limits)

    @property
    def _keys(self) -> list[str]:
        """Keys to remove from texts of the provider, which may repeat parts of the request."""
        key = self.target.api_key.get_secret_value()
        return [] if key == NO_KEY.get_secret_value() else [key]

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self.target.api_key.get_secret_value()}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            auto_decompress=False,  # `_read` decompresses with a size limit
            connector=aiohttp.TCPConnector(limit=0),  # the limiter limits the calls in flight
            timeout=aiohttp.ClientTimeout(),  # `_post` has a timeout for the whole call
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trust_env=http.is_outside(self.target.base_url),  # whether to use a proxy of the environment
        )

    async def _shut(self) -> None:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await self._session.close()

    async def _post(self, path: str, request: dict[str, Any], until: float) -> tuple[int, dict[str, str], bytes]:
        """Returns the status, the headers (with lower-case names) and the body of a response."""
        seconds = self._timeout_seconds
        url = f"{self.target.base_url.rstrip('/')}{path}"
        try:
            async with (
                asyncio.timeout(until - time.monotonic()),
                # A redirect could send the prompt to another server.
                self._session.post(url, json=request, allow_redirects=False) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers.items()}
                if 300 <= response.status < 400:
                    where = headers.get("location", "nowhere")
                    error = unusable_response(f"redirected to {where}: LLM_BASE_URL has to name where the API is")
                    raise CallFailed(error.model_copy(update={"status_code": response.status}))
                return response.status, headers, await _read(response.content, headers.get("content-encoding", ""))
        except CallFailed:
            raise
        except asyncio.CancelledError:
            raise CallFailed(unusable_response("broken off")) from None
        except TimeoutError as error:
            raise CallFailed(unusable_response(f"timed out after {seconds:g} s")) from error
        except aiohttp.ClientError as error:
            raise CallFailed(unusable_response(f"Connection error: {error}")) from error
        except (
            Exception
        ) as error:  # unusual bytes may raise any error; it is a failed call, not a fault of the question
            raise CallFailed(unusable_response(f"unreadable answer: {type(error).__name__}: {error}")) from error


async def _read(content: aiohttp.StreamReader, encoding: str) -> bytes:
    """Reads and decompresses a body; never decompresses more than `MAX_BODY_BYTES`.

    Raises:
        CallFailed: The body is larger.
        zlib.error: The compressed data are invalid.
    """
    packed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # detects gzip or zlib
    body = bytearray()
    async for chunk in content.iter_any():
        body += unpacker.decompress(chunk, MAX_BODY_BYTES + 1 - len(body)) if packed else chunk
        if len(body) > MAX_BODY_BYTES:
            raise CallFailed(unusable_response(f"answer too large: more than {MAX_BODY_BYTES} bytes"))
    return bytes(body)
