"""One answer of a model: `POST /chat/completions` of OpenAI's API, which many providers offer."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pipeline.providers import completions
from pipeline.providers.adaptation import Adaptation
from pipeline.providers.api import Adaptations, Api
from pipeline.providers.completions import Usage
from pipeline.providers.hints import Limit
from pipeline.providers.targets import Target


@dataclass(frozen=True)
class Prompt:
    """One request to the model.

    Attributes:
        messages: The conversation, in the format of the OpenAI chat API.
        temperature: Sampling temperature, from 0 to 2.
    """

    messages: list[dict[str, str]]
    temperature: float

    @property
    def size(self) -> int:
        """Bytes of its texts."""
        return sum(len(each["content"].encode()) for each in self.messages)


@dataclass(frozen=True)
class Answer:
    """An answer of the model.

    Attributes:
        text: The answer, without thoughts.
        model: Name of the model that the provider has returned.
        latency_ms: Time from the request to the last byte.
        usage: Tokens of the call.
        finish_reason: Finish reason of the provider.
        limits: Limits that the provider has reported.
    """

    text: str
    model: str
    latency_ms: int
    usage: Usage
    finish_reason: str
    limits: tuple[Limit, ...] = ()


class Llm:
    """Client of an OpenAI-compatible chat API. Safe to use from several threads."""

    def __init__(
        self, target: Target, timeout_seconds: float, max_tokens: int, adaptations: Adaptations | None = None
    ) -> None:
        """Makes a client.

        Args:
            target: Target of the calls.
            timeout_seconds: Timeout of a whole call.
            max_tokens: Longest answer, in tokens.
            adaptations: Adaptations that are shared with other workers; None: they are not shared.
        """
        self._api = Api(target, timeout_seconds, adaptations)
        self._max_tokens = max_tokens

    @property
    def adaptation(self) -> Adaptation:
        """Learnt rules about fields that the target does not support."""
        return self._api.adaptation

    def ask(self, prompt: Prompt) -> Answer:
        """Makes a call; raises what `Api.post` raises."""
        model = self._api.target.model
        reply = self._api.post(
            "/chat/completions", self._fields(prompt), lambda body, now: completions.read(body, model, now)
        )
        return Answer(
            text=reply.content.text,
            model=reply.content.model,
            latency_ms=reply.latency_ms,
            usage=reply.content.usage,
            finish_reason=reply.content.finish_reason,
            limits=reply.limits,
        )

    def close(self) -> None:
        """Cancels running calls and closes the connections."""
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _fields(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self._api.target.model,
            "messages": prompt.messages,
            "temperature": prompt.temperature,
            "top_p": 0.9,
            "max_tokens": self._max_tokens,
            "stream": False,
            **self._api.target.extra_body,
        }
