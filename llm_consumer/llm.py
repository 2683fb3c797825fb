"""One call to the model: `POST /chat/completions`, as OpenAI's API has it and many others do.

Not through OpenAI's SDK: it takes ten times the processor time for it, and what it adds (retries, types) is not wanted
here, where any of a dozen servers may answer and an error waits in a topic.
"""

import asyncio
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
import structlog

from llm_consumer import completions, hints
from llm_consumer.adaptation import Adaptation, apply, learn
from llm_consumer.completions import NoCompletion, Usage
from llm_consumer.errors import classify_status, redacted, unusable_response
from llm_consumer.hints import Limit
from llm_consumer.prompt import Prompt
from llm_consumer.settings import LlmSettings
from llm_consumer.targets import NO_KEY, Target
from pipeline import http
from pipeline.messages import CallError

log = structlog.get_logger()

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of an answer, unpacked: a worker has little memory, and no honest answer comes near."""

MAX_HEADER_BYTES = 65_536
"""Of one header of an answer."""

MAX_ADAPTATIONS = 4
"""Of one call: each is a further request."""


class CallFailed(Exception):
    """A call without an answer.

    Attributes:
        error: What it means.
        usage: Tokens that it took all the same.
        limits: What the provider told of its limits.
    """

    def __init__(self, error: CallError, usage: Usage = Usage(), limits: Sequence[Limit] = ()) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage
        self.limits = tuple(limits)


class EmptyAnswer(CallFailed):
    """The model answered with nothing."""


class Stopped(Exception):
    """The call was broken off since the process stops: nobody is at fault."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it took.

    Attributes:
        text: The answer, without thoughts.
        model: That the provider names.
        latency_ms: From the request to the last byte.
        usage: Tokens.
        finish_reason: Of the provider.
        limits: What the provider told of its limits.
    """

    text: str
    model: str
    latency_ms: int
    usage: Usage
    finish_reason: str
    limits: tuple[Limit, ...] = ()


class Adaptations(Protocol):
    """What targets do not take, shared by all workers."""

    def recall(self, target: Target, /) -> Adaptation:
        """Returns what was learnt of a target."""

    def keep(self, target: Target, adaptation: Adaptation, /) -> None:
        """Keeps what was learnt."""


class LocalAdaptations:
    """Adaptations of one process."""

    def recall(self, target: Target) -> Adaptation:
        """Returns none."""
        return frozenset()

    def keep(self, target: Target, adaptation: Adaptation) -> None:
        """Does nothing."""


class Llm:
    """An OpenAI-compatible API. Safe to use from several threads.

    Calls run in an event loop of their own: only there a call can be given up as a whole. The time-outs of HTTP clients
    are for each read, so that an answer that drips byte by byte would never meet them.
    """

    def __init__(
        self, settings: LlmSettings, target: Target | None = None, adaptations: Adaptations | None = None
    ) -> None:
        """Makes a client.

        Args:
            settings: How long to wait, and the like.
            target: Whom to ask; None for whom the first attempts ask.
            adaptations: Where what the target does not take is shared; None: nowhere.
        """
        self._settings = settings
        self._target = target or settings.targets[0]
        self._adaptations = LocalAdaptations() if adaptations is None else adaptations
        self.adaptation = self._adaptations.recall(self._target)
        """What is known of fields that the target does not take."""
        self._closing = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True).start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def ask(self, prompt: Prompt) -> Answer:
        """Asks the model, for `LLM_TIMEOUT` seconds at most.

        A request that the provider refuses for one of its fields is sent again without it, and so are all after it.

        Raises:
            EmptyAnswer: It said nothing.
            CallFailed: There was no answer, or it refused to give one.
            Stopped: `close` was called meanwhile.
        """
        fields = self._fields(prompt)
        until = time.monotonic() + self._settings.llm_timeout
        for _ in range(MAX_ADAPTATIONS):
            known = self.adaptation
            request = apply(fields, known)
            try:
                return self._ask(request, until)
            except CallFailed as failure:
                if failure.error.status_code not in (400, 422):
                    raise
                learnt = learn(failure.error.message, request, known)
                if learnt is None:
                    raise
                self._learn(learnt - known)
        return self._ask(apply(fields, self.adaptation), until)

    def close(self) -> None:
        """Ends the connections and breaks off calls that are under way."""
        self._closing = True
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _fields(self, prompt: Prompt) -> dict[str, Any]:
        fields = {
            "model": self._target.model,
            "messages": prompt.messages,
            "temperature": prompt.temperature,
            "top_p": 0.9,
            "max_tokens": self._settings.llm_max_tokens,
            "stream": False,
            **self._target.extra_body,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _learn(self, rules: Adaptation) -> None:
        self.adaptation |= rules
        self._adaptations.keep(self._target, self.adaptation)
        log.warning(
            "learnt what the target does not take",
            model=self._target.model,
            base_url=self._target.base_url,
            learnt=sorted(rules),
        )

    def _ask(self, request: dict[str, Any], until: float) -> Answer:
        started = time.monotonic()
        try:
            status, headers, body = asyncio.run_coroutine_threadsafe(self._post(request, until), self._loop).result()
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
            completion = completions.read(body, self._target.model, now)
        except NoCompletion as none:
            kind = EmptyAnswer if none.empty else CallFailed
            error = none.error.model_copy(update={"message": redacted(none.error.message, self._keys)})
            raise kind(error, none.usage, limits) from none
        return Answer(
            text=completion.text,
            model=completion.model,
            latency_ms=round((time.monotonic() - started) * 1000),
            usage=completion.usage,
            finish_reason=completion.finish_reason,
            limits=limits,
        )

    @property
    def _keys(self) -> list[str]:
        """What is taken out of a provider's words, for it may repeat what it was sent."""
        key = self._target.api_key.get_secret_value()
        return [] if key == NO_KEY.get_secret_value() else [key]

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self._target.api_key.get_secret_value()}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            auto_decompress=False,  # `_read` does it, within its limit
            connector=aiohttp.TCPConnector(limit=0),  # LLM_CONCURRENCY is the limit
            timeout=aiohttp.ClientTimeout(),  # `_post` limits the whole of it
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trust_env=http.is_outside(self._target.base_url),  # a proxy of the environment
        )

    async def _shut(self) -> None:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await self._session.close()

    async def _post(self, request: dict[str, Any], until: float) -> tuple[int, dict[str, str], bytes]:
        """Returns the status, the headers (with lower-case names) and the body of an answer."""
        seconds = self._settings.llm_timeout
        url = f"{self._target.base_url.rstrip('/')}/chat/completions"
        try:
            async with (
                asyncio.timeout(until - time.monotonic()),
                # A redirect would carry the prompt elsewhere.
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
        except Exception as error:  # whatever a client makes of odd bytes is this call's fault, not the question's
            raise CallFailed(unusable_response(f"unreadable answer: {type(error).__name__}: {error}")) from error


async def _read(content: aiohttp.StreamReader, encoding: str) -> bytes:
    """Reads a body up to `MAX_BODY_BYTES` once unpacked, without ever unpacking more than that.

    Raises:
        CallFailed: It is larger.
        zlib.error: It is not packed as it says.
    """
    packed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out which of the two
    body = bytearray()
    async for chunk in content.iter_any():
        body += unpacker.decompress(chunk, MAX_BODY_BYTES + 1 - len(body)) if packed else chunk
        if len(body) > MAX_BODY_BYTES:
            raise CallFailed(unusable_response(f"answer too large: more than {MAX_BODY_BYTES} bytes"))
    return bytes(body)
