"""From a question to what follows from asking it once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from llm_consumer.llm import Answer, CallFailed, EmptyAnswer
from llm_consumer.prompt import Prompt, hotter, prompt
from pipeline import metrics, topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import (
    MAX_RETRIES,
    MAX_SAMPLE_CHARACTERS,
    CallError,
    CallFailure,
    Failed,
    FailedCall,
    Question,
    Response,
    Source,
)
from pipeline.producer import Outgoing

log = structlog.get_logger()

_ERROR_TOPICS = {"overload": topics.ERROR_OVERLOAD, "quota": topics.ERROR_QUOTA}


class Gate(Protocol):
    """Whether the provider may be called."""

    def closed_seconds(self) -> float:
        """Returns for how long not; 0 when it may."""

    def close(self, seconds: float, /) -> None:
        """Forbids it to all for so long."""


class Memo(Protocol):
    """What came of calls of late."""

    def recall(self, question: Question, /) -> Outgoing | None:
        """Returns what came of this call, if it was made."""

    def keep(self, question: Question, outgoing: Outgoing, /) -> None:
        """Keeps what came of a call."""


@dataclass(frozen=True)
class SelfCheck:
    """What an answer without reference is compared with (SelfCheckGPT: Manakul et al. 2023, arXiv:2303.08896).

    Attributes:
        samples: Further answers to ask for; 0: none, such an answer stays unscored.
        temperature: Of their sampling, unless the answer's is higher.
    """

    samples: int = 0
    temperature: float = 1.0


class AskHandler:
    """Asks the model and addresses the answer or the error."""

    def __init__(
        self,
        ask: Callable[[Prompt], Answer],
        gate: Gate,
        memo: Memo,
        temperature: float,
        longest_closed_seconds: float,
        self_check: SelfCheck = SelfCheck(),
    ) -> None:
        """Makes a handler.

        Args:
            ask: The call.
            gate: Before the provider.
            memo: What came of calls of late: a question that comes again is not asked again.
            temperature: Of first attempts.
            longest_closed_seconds: For which a provider may have the gate closed at most.
            self_check: For questions without reference.
        """
        self._ask = ask
        self._gate = gate
        self._memo = memo
        self._temperature = temperature
        self._longest_closed_seconds = longest_closed_seconds
        self._self_check = self_check

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of `questions-pending`.

        Raises:
            Unavailable: The provider wants to be left alone.
        """
        question = incoming.message
        assert isinstance(question, Question)
        about = log.bind(
            question_id=question.question_id, attempt=question.processing_attempts, retry=question.retry_count
        )
        known = self._memo.recall(question)
        if known:
            metrics.LLM_CALLS.labels("spared").inc()
            about.info("sent again what came of this call", topic=known.topic)
            return [known]
        closed = self._gate.closed_seconds()
        if closed:
            raise Unavailable("the provider asked to be left alone", closed)
        outgoing = self._call(question, incoming.source, about)
        self._memo.keep(question, outgoing)
        return [outgoing]

    def _call(self, question: Question, source: Source, about: structlog.stdlib.BoundLogger) -> Outgoing:
        asked = prompt(question, self._temperature)
        wanted = 0 if question.original_answer else self._self_check.samples
        try:
            answer = self._counted(asked)
            # One after the other: LLM_CONCURRENCY stays the number of calls in flight. Not one call with `n`, which
            # many providers do not know. One that fails fails the attempt, as without it there is nothing to judge by.
            samples = [self._counted(hotter(asked, self._self_check.temperature)) for _ in range(wanted)]
        except CallFailed as failure:
            error = failure.error
            if isinstance(failure, EmptyAnswer) and question.retry_count >= MAX_RETRIES:
                error = error.model_copy(update={"type": "permanent"})
            metrics.LLM_CALLS.labels(error.type).inc()
            about.warning("failed to get an answer", meaning=error.type, status=error.status_code, error=error.message)
            if error.type == "quota" and error.retry_after_seconds:
                self._gate.close(min(error.retry_after_seconds, self._longest_closed_seconds))
            return _failure(question, error, source)
        about.info("got an answer", latency_ms=answer.latency_ms, tokens=answer.completion_tokens, samples=len(samples))
        response = question.become(
            Response,
            llm_response=answer.text,
            model=answer.model,
            llm_latency_ms=answer.latency_ms,
            prompt_tokens=sum(each.prompt_tokens for each in (answer, *samples)),
            completion_tokens=sum(each.completion_tokens for each in (answer, *samples)),
            finish_reason=answer.finish_reason,
            generated_at=datetime.now(UTC),
            samples=tuple(each.text[:MAX_SAMPLE_CHARACTERS] for each in samples),
        )
        return Outgoing.of(topics.RESPONSES_SUCCESS, response)

    def _counted(self, asked: Prompt) -> Answer:
        with metrics.LLM_SECONDS.time():
            answer = self._ask(asked)
        metrics.LLM_CALLS.labels("answer").inc()
        metrics.LLM_TOKENS.labels("prompt").inc(answer.prompt_tokens)
        metrics.LLM_TOKENS.labels("completion").inc(answer.completion_tokens)
        return answer


def _failure(question: Question, error: CallError, source: Source) -> Outgoing:
    now = datetime.now(UTC)
    failure = CallFailure(
        attempt=question.processing_attempts, retry=question.retry_count, failed_at=now, **error.model_dump()
    )
    errors = (*question.errors, failure)
    if error.type == "permanent":
        failed = question.become(
            Failed, errors=errors, reason="not_retryable", error=error, source=source, failed_at=now
        )
        return Outgoing.of(topics.PERMANENT, failed)
    failed_call = question.become(FailedCall, errors=errors, error=error, failed_at=now)
    return Outgoing.of(_ERROR_TOPICS[error.type], failed_call)
