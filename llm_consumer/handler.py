"""From a question to what follows from asking it once."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from llm_consumer.llm import Answer, CallFailed, EmptyAnswer
from llm_consumer.prompt import Prompt, prompt
from pipeline import metrics, topics
from pipeline.consumer import Incoming
from pipeline.messages import MAX_RETRIES, CallError, Failed, FailedCall, Question, Response, Source
from pipeline.producer import Outgoing

log = structlog.get_logger()

_ERROR_TOPICS = {"overload": topics.ERROR_OVERLOAD, "quota": topics.ERROR_QUOTA}


class AskHandler:
    """Asks the model and addresses the answer or the error."""

    def __init__(self, ask: Callable[[Prompt], Answer], temperature: float) -> None:
        """Takes the call and the temperature of first attempts."""
        self._ask = ask
        self._temperature = temperature

    def __call__(self, incoming: Incoming) -> Sequence[Outgoing]:
        """Handles one message of `questions-pending`."""
        question = incoming.message
        assert isinstance(question, Question)
        about = log.bind(
            question_id=question.question_id, attempt=question.processing_attempts, retry=question.retry_count
        )
        try:
            with metrics.LLM_SECONDS.time():
                answer = self._ask(prompt(question, self._temperature))
        except CallFailed as failure:
            error = failure.error
            if isinstance(failure, EmptyAnswer) and question.retry_count >= MAX_RETRIES:
                error = error.model_copy(update={"type": "permanent"})
            metrics.LLM_CALLS.labels(error.type).inc()
            about.warning("failed to get an answer", meaning=error.type, status=error.status_code, error=error.message)
            return [_failure(question, error, incoming.source)]
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
        return [Outgoing.of(topics.RESPONSES_SUCCESS, response)]


def _failure(question: Question, error: CallError, source: Source) -> Outgoing:
    now = datetime.now(UTC)
    if error.type == "permanent":
        failed = question.become(Failed, reason="not_retryable", error=error, source=source, failed_at=now)
        return Outgoing.of(topics.PERMANENT, failed)
    return Outgoing.of(_ERROR_TOPICS[error.type], question.become(FailedCall, error=error, failed_at=now))
