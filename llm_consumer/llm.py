"""One call to the model through the OpenAI SDK."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import openai

from llm_consumer.errors import no_answer, sort_status
from llm_consumer.prompt import Prompt, whole_sentences
from llm_consumer.settings import LlmSettings
from pipeline.messages import CallError

MAX_ANSWER_CHARACTERS = 32_000
"""Longer answers are cut, so that three of them with their question fit into a message."""


class CallFailed(Exception):
    """A call without an answer; `error` says what it means."""

    def __init__(self, error: CallError) -> None:
        super().__init__(error.message)
        self.error = error


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
    """An OpenAI-compatible API. Safe to use from several threads."""

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        # Retries are the fleet's: they wait in topics, where they outlive this process.
        self._client = openai.OpenAI(
            base_url=settings.llm_base_url,
            api_key=settings.llm_api_key.get_secret_value(),
            timeout=settings.llm_timeout,
            max_retries=0,
        )

    def ask(self, prompt: Prompt) -> Answer:
        """Asks the model once.

        Raises:
            EmptyAnswer: It said nothing.
            CallFailed: There was no answer.
        """
        started = time.monotonic()
        try:
            completion = self._client.chat.completions.create(
                model=self._settings.llm_model,
                messages=prompt.messages,
                temperature=prompt.temperature,
                top_p=0.9,
                max_tokens=self._settings.llm_max_tokens,
                extra_body=self._settings.llm_extra_body,
            )
            choice = completion.choices[0]
            text = (choice.message.content or "").strip()
        except openai.APIStatusError as error:
            raise CallFailed(
                sort_status(error.status_code, error.response.text, error.response.headers, datetime.now(UTC))
            ) from error
        except openai.APIConnectionError as error:  # includes time-outs
            raise CallFailed(no_answer(f"{error} {error.__cause__ or ''}".strip())) from error
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError) as error:
            # What a server sent that is not a completion shows as any of these in the SDK's models.
            raise CallFailed(no_answer(f"unreadable answer: {type(error).__name__}: {error}")) from error
        if not text:
            raise EmptyAnswer(no_answer("empty answer"))
        usage = completion.usage
        finish_reason = choice.finish_reason or "stop"
        return Answer(
            text=(whole_sentences(text) if finish_reason == "length" else text)[:MAX_ANSWER_CHARACTERS],
            model=completion.model or self._settings.llm_model,
            latency_ms=round((time.monotonic() - started) * 1000),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            finish_reason=finish_reason,
        )
