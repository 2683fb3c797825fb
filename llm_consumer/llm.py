"""One call to the model through the OpenAI SDK."""

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from llm_consumer.errors import no_answer, sort_empty, sort_error_body, sort_status
from llm_consumer.prompt import Prompt
from llm_consumer.settings import LlmSettings
from llm_consumer.targets import Target
from llm_consumer.text import storable, whole_sentences
from pipeline.messages import CallError

MAX_ANSWER_CHARACTERS = 32_000
"""Longer answers are cut, so that three of them with their question fit into a message."""


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
        # Retries are the fleet's: they wait in topics, where they outlive this process.
        self._client = openai.AsyncOpenAI(
            base_url=self._target.base_url,
            api_key=self._target.api_key.get_secret_value(),
            timeout=settings.llm_timeout,
            max_retries=0,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="llm-calls", daemon=True).start()

    def ask(self, prompt: Prompt) -> Answer:
        """Asks the model once, for `LLM_TIMEOUT` seconds at most.

        Raises:
            EmptyAnswer: It said nothing.
            CallFailed: There was no answer, or it refused to give one.
        """
        started = time.monotonic()
        completion = asyncio.run_coroutine_threadsafe(self._complete(prompt), self._loop).result()
        try:
            choice = completion.choices[0]
            text = storable(choice.message.content or "").strip()
        except (TypeError, AttributeError, LookupError, ValueError) as error:
            raise _unreadable(error, completion) from error
        prompt_tokens = _tokens(completion, "prompt_tokens")
        # What a model thinks is paid for as what it says. OpenAI counts it among the tokens of the completion, others
        # only in the total (router-for-me/CLIProxyAPI#5733, mozilla-ai/any-llm#1290).
        thought_and_said = _tokens(completion, "total_tokens") - prompt_tokens
        completion_tokens = max(_tokens(completion, "completion_tokens"), thought_and_said)
        finish_reason = choice.finish_reason or "stop"
        if not text:
            refusal = getattr(choice.message, "refusal", None)
            meaning = sort_empty(finish_reason, refusal if isinstance(refusal, str) else None)
            kind = CallFailed if meaning.type == "permanent" else EmptyAnswer
            raise kind(meaning, prompt_tokens, completion_tokens)
        return Answer(
            text=(whole_sentences(text) if finish_reason == "length" else text)[:MAX_ANSWER_CHARACTERS],
            model=storable(completion.model or self._target.model),
            latency_ms=round((time.monotonic() - started) * 1000),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            finish_reason=finish_reason,
        )

    async def _complete(self, prompt: Prompt) -> ChatCompletion:
        settings = self._settings
        fields = {"temperature": prompt.temperature, "top_p": 0.9, "max_tokens": settings.llm_max_tokens}
        fields |= self._target.extra_body
        try:
            async with asyncio.timeout(settings.llm_timeout):
                return await self._client.chat.completions.create(
                    model=self._target.model,
                    messages=prompt.messages,
                    extra_body={name: value for name, value in fields.items() if value is not None},
                )
        except TimeoutError as error:
            raise CallFailed(no_answer(f"timed out after {settings.llm_timeout:g} s")) from error
        except openai.APIStatusError as error:
            raise CallFailed(
                sort_status(error.status_code, error.response.text, error.response.headers, datetime.now(UTC))
            ) from error
        except openai.APIConnectionError as error:  # includes the SDK's time-outs
            raise CallFailed(no_answer(f"{error} {error.__cause__ or ''}")) from error
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError) as error:
            # What a server sent that is not a completion shows as any of these in the SDK.
            raise _unreadable(error) from error


def _tokens(completion: ChatCompletion, kind: str) -> int:
    """Returns a count of the usage; 0 where the provider sends none, or something else."""
    count = getattr(completion.usage, kind, 0)
    return count if isinstance(count, int) and count >= 0 else 0


def _unreadable(error: Exception, completion: Any = None) -> CallFailed:
    """Sorts a success without a completion: an error of the provider, or garbage."""
    body = getattr(completion, "error", None)
    if getattr(completion, "object", None) == "error":  # the body is the error itself
        body = completion.model_dump()
    if isinstance(body, dict):
        return CallFailed(sort_error_body(body, datetime.now(UTC)))
    return CallFailed(no_answer(f"unreadable answer: {type(error).__name__}: {error}"))
