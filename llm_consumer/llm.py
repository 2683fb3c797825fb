"""One call to the model: `POST /chat/completions`, as OpenAI's API has it and many others do.

Not through OpenAI's SDK: it takes ten times the processor time for it, and what it adds (retries, types) is not wanted
here, where any of a dozen servers may answer and an error waits in a topic.
"""

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Self

import aiohttp

from llm_consumer.errors import no_answer, sort_empty, sort_error_body, sort_status
from llm_consumer.prompt import Prompt
from llm_consumer.settings import LlmSettings
from llm_consumer.targets import Target
from llm_consumer.text import storable, whole_sentences
from pipeline.messages import CallError

MAX_ANSWER_CHARACTERS = 32_000
"""Longer answers are cut, so that three of them with their question fit into a message."""


MAX_HEADER_BYTES = 65_536
"""Of one header of an answer."""


class CallFailed(Exception):
    """A call without an answer.

    Attributes:
        error: What it means.
        prompt_tokens: Taken all the same.
        completion_tokens: Taken all the same.
    """

    def __init__(self, error: CallError, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        super().__init__(error.message)
        self.error = error
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


class EmptyAnswer(CallFailed):
    """The model answered with nothing."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it took."""

    text: str
    model: str
    latency_ms: int
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class Llm:
    """An OpenAI-compatible API. Safe to use from several threads.

    Calls run in an event loop of their own: only there a call can be given up as a whole. The time-outs of HTTP clients
    are for each read, so that an answer that drips byte by byte would never meet them.
    """

    def __init__(self, settings: LlmSettings, target: Target | None = None) -> None:
        """Makes a client.

        Args:
            settings: How long to wait, and the like.
            target: Whom to ask; None for whom the first attempts ask.
        """
        self._settings = settings
        self._target = target or settings.targets[0]
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True).start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def ask(self, prompt: Prompt) -> Answer:
        """Asks the model once, for `LLM_TIMEOUT` seconds at most.

        Raises:
            EmptyAnswer: It said nothing.
            CallFailed: There was no answer, or it refused to give one.
        """
        started = time.monotonic()
        completion = asyncio.run_coroutine_threadsafe(self._complete(prompt), self._loop).result()
        try:
            choice = completion["choices"][0]
            message = choice["message"]
            text = storable(message.get("content") or "").strip()
            finish_reason = choice.get("finish_reason") or "stop"
        except (TypeError, AttributeError, LookupError) as error:
            raise _unreadable(error, completion) from error
        prompt_tokens = _tokens(completion, "prompt_tokens")
        # What a model thinks is paid for as what it says. OpenAI counts it among the tokens of the completion, others
        # only in the total (router-for-me/CLIProxyAPI#5733, mozilla-ai/any-llm#1290).
        thought_and_said = _tokens(completion, "total_tokens") - prompt_tokens
        completion_tokens = max(_tokens(completion, "completion_tokens"), thought_and_said)
        if not text:
            refusal = message.get("refusal")
            meaning = sort_empty(finish_reason, refusal if isinstance(refusal, str) else None)
            kind = CallFailed if meaning.type == "permanent" else EmptyAnswer
            raise kind(meaning, prompt_tokens, completion_tokens)
        return Answer(
            text=(whole_sentences(text) if finish_reason == "length" else text)[:MAX_ANSWER_CHARACTERS],
            model=storable(completion.get("model") or self._target.model),
            latency_ms=round((time.monotonic() - started) * 1000),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            finish_reason=finish_reason,
        )

    def close(self) -> None:
        """Ends the connections; a call that is still under way fails."""
        asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {self._target.api_key.get_secret_value()}",
                "Accept": "application/json",
            },
            connector=aiohttp.TCPConnector(limit=0),  # LLM_CONCURRENCY is the limit
            timeout=aiohttp.ClientTimeout(),  # `_complete` limits the whole of it
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trust_env=True,  # proxies
        )

    async def _complete(self, prompt: Prompt) -> dict[str, Any]:
        settings = self._settings
        fields = {
            "model": self._target.model,
            "messages": prompt.messages,
            "temperature": prompt.temperature,
            "top_p": 0.9,
            "max_tokens": settings.llm_max_tokens,
            **self._target.extra_body,
        }
        asked = {name: value for name, value in fields.items() if value is not None}
        try:
            async with (
                asyncio.timeout(settings.llm_timeout),
                self._session.post(f"{self._target.base_url.rstrip('/')}/chat/completions", json=asked) as response,
            ):
                body = await response.read()
        except TimeoutError as error:
            raise CallFailed(no_answer(f"timed out after {settings.llm_timeout:g} s")) from error
        except aiohttp.ClientError as error:
            raise CallFailed(no_answer(f"Connection error: {error}")) from error
        if not response.ok:
            text = body.decode(errors="replace")
            raise CallFailed(sort_status(response.status, text, response.headers, datetime.now(UTC)))
        try:
            completion = json.loads(body)
        except ValueError as error:
            raise _unreadable(error) from error
        if not isinstance(completion, dict):
            raise CallFailed(no_answer("unreadable answer: not a JSON object"))
        return completion


def _tokens(completion: Mapping[str, Any], kind: str) -> int:
    """Returns a count of the usage; 0 where the provider sends none, or something else."""
    usage = completion.get("usage")
    count = usage.get(kind) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else 0


def _unreadable(error: Exception, completion: Mapping[str, Any] = MappingProxyType({})) -> CallFailed:
    """Sorts a success without a completion: an error of the provider, or garbage."""
    body = completion if completion.get("object") == "error" else completion.get("error")
    if isinstance(body, dict):
        return CallFailed(sort_error_body(body, datetime.now(UTC)))
    return CallFailed(no_answer(f"unreadable answer: {type(error).__name__}: {error}"))
