"""From a question to what follows from asking it once."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from llm_consumer.llm import Answer, CallFailed, EmptyAnswer
from llm_consumer.prompt import Prompt, prompt
from pipeline import metrics, topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import MAX_RETRIES, CallError, CallFailure, Failed, FailedCall, Question, Response, Source
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


class AskHandler:
    """Asks the model and addresses the answer or the error."""

    def __init__(
        self,
        ask: Callable[[Prompt], Answer],
        gate: Gate,
        memo: Memo,
        temperature: float,
        longest_closed_seconds: float,
    ) -> None:
        """Makes a handler.

        Args:
            ask: The call.
            gate: Before the provider.
            memo: What came of calls of late: a question that comes again is not asked again.
            temperature: Of first attempts.
            longest_closed_seconds: For which a provider may have the gate closed at most.
        """
        self._ask = ask
        self._gate = gate
        self._memo = memo
        self._temperature = temperature
        self._longest_closed_seconds = longest_closed_seconds

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
        try:
            with metrics.LLM_SECONDS.time():
                answer = self._ask(prompt(question, self._temperature))
        except CallFailed as failure:
            error = failure.error
            if isinstance(failure, EmptyAnswer) and question.retry_count >= MAX_RETRIES:
                error = error.model_copy(update={"type": "permanent"})
            metrics.LLM_CALLS.labels(error.type).inc()
            about.warning("failed to get an answer", meaning=error.type, status=error.status_code, error=error.message)
            if error.type == "quota" and error.retry_after_seconds:
                self._gate.close(min(error.retry_after_seconds, self._longest_closed_seconds))
            return _failure(question, error, source)
        metrics.LLM_CALLS.labels("answer").inc()
        metrics.LLM_TOKENS.labels("prompt").inc(answer.prompt_tokens)
        metrics.LLM_TOKENS.labels("completion").inc(answer.completion_tokens)
        about.info("got an answer", latency_ms=answer.latency_ms, tokens=answer.completion_tokens)
        response = question.become(
            Response,
            llm_response=answer.text,
            model=answer.model,
            llm_latency_ms=answer.latency_ms,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            finish_reason=answer.finish_reason,
            generated_at=datetime.now(UTC),
        )
        return Outgoing.of(topics.RESPONSES_SUCCESS, response)


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
