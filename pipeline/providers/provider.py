"""A call through the limiter of its provider, which also gets the outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog

from pipeline.errors import Unavailable
from pipeline.messages import NOT_ADMITTED, ProviderError
from pipeline.providers.api import CallFailed, Stopped
from pipeline.providers.completions import Usage
from pipeline.providers.errors import unusable_response
from pipeline.providers.hints import Limit
from pipeline.providers.targets import Target

log = structlog.get_logger()

BYTES_PER_TOKEN = 4
"""Estimate that is used until the mean of earlier calls is known."""


class Admission(Protocol):
    """The limiter of a provider: `admit` is called once for each call, then one of the other methods."""

    def admit(self, tokens: int, /) -> str:
        """Admits a call and returns its id; raises `Unavailable` while it has to wait."""

    def answered(self, call_id: str, tokens: int, limits: tuple[Limit, ...], /) -> None:
        """Records that the provider answered."""

    def refused(self, call_id: str, error: ProviderError, limits: tuple[Limit, ...], /) -> None:
        """Records that the provider did not admit the call."""

    def failed(self, call_id: str, question_id: str, since: datetime | None, error: ProviderError, /) -> bool:
        """Records that the provider was unavailable; returns whether the question may be at fault."""

    def abandoned(self, call_id: str, /) -> None:
        """Records that this process cancelled the call."""


class Sized(Protocol):
    """A request."""

    @property
    def size(self) -> int:
        """Bytes of its texts."""


class Metered(Protocol):
    """An answer."""

    @property
    def usage(self) -> Usage:
        """Tokens of the call."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Limits that the provider has reported."""


Request = TypeVar("Request", bound=Sized)
Answer = TypeVar("Answer", bound=Metered)


@dataclass(frozen=True)
class Provider(Generic[Request, Answer]):
    """A target with the limiter of its provider.

    Attributes:
        target: Target of the calls.
        call: Makes a call; raises `CallFailed`, or `Stopped`.
        admission: Limiter of the provider; targets of the same provider share it.
        answer_tokens: Maximum number of tokens of an answer.
    """

    target: Target
    call: Callable[[Request], Answer]
    admission: Admission
    answer_tokens: int

    def ask(self, request: Request, question_id: str, failed_at: datetime | None = None) -> Answer:
        """Makes one call.

        Args:
            request: The request.
            question_id: The question that it is for.
            failed_at: When a call like this one last failed; None: none has failed.

        Raises:
            CallFailed: There was no answer; its error contains whether that counts as a retry of the question.
            Unavailable: The provider admits no call, or this process stops.
        """
        call_id = self.admission.admit(request.size // BYTES_PER_TOKEN + self.answer_tokens)
        try:
            answer = self.call(request)
        except CallFailed as failure:
            failure.error = self._noted(call_id, question_id, failed_at, failure)
            raise
        except Stopped as error:
            self.admission.abandoned(call_id)
            raise Unavailable("this process stops", already_logged=True) from error
        except Exception as error:  # a fault of this program or a library is a failed call, not a fault of the message
            log.exception("failed to make a call", question_id=question_id)
            self.admission.abandoned(call_id)
            raise CallFailed(unusable_response(f"unreadable answer: {type(error).__name__}: {error}")) from error
        self.admission.answered(call_id, answer.usage.prompt_tokens + answer.usage.completion_tokens, answer.limits)
        return answer

    def _noted(self, call_id: str, question_id: str, failed_at: datetime | None, failure: CallFailed) -> ProviderError:
        error = failure.error
        if error.cause in NOT_ADMITTED:
            self.admission.refused(call_id, error, failure.limits)
            return error.model_copy(update={"counts_as_retry": False})
        if error.cause == "unavailable":
            at_fault = self.admission.failed(call_id, question_id, failed_at, error)
            return error.model_copy(update={"counts_as_retry": at_fault})
        tokens = failure.usage.prompt_tokens + failure.usage.completion_tokens
        self.admission.answered(call_id, tokens, failure.limits)
        return error
