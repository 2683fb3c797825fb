"""Sample messages for the unit tests."""

from datetime import UTC, datetime
from typing import Any

from pipeline.messages import ErrorRecord, ProviderError, Question, RecordPosition, Response, RetryableFailure
from pipeline.question import question_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = RecordPosition(topic="questions-pending", partition=0, offset=7)


def question(**changes: Any) -> Question:
    text = changes.pop("question_text", "Why is the sky blue?")
    fields = {
        "question_id": question_id(text),
        "question_text": text,
        "original_answer": "Air scatters blue light more than red light.",
        "asked_at": NOW,
    }
    return Question(**fields | changes)


def response(**changes: Any) -> Response:
    fields = {
        "llm_response": "Because of scattering.",
        "model": "scripted",
        "llm_latency_ms": 120,
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "generated_at": NOW,
    }
    names = Question.model_fields.keys() & changes.keys()
    asked = question(**{name: changes.pop(name) for name in names})
    return asked.convert_to(Response, **fields | changes)


def failed_call(kind: str = "overload", **changes: Any) -> RetryableFailure:
    error = ProviderError(
        type=kind,
        status_code=503,
        message="busy",
        retry_after_seconds=changes.pop("retry_after", None),
        counts_as_retry=changes.pop("counts", True),
    )
    times = changes.pop("times", 1)
    asked = question(**changes)
    failure = ErrorRecord(
        attempt=asked.processing_attempts,
        retry=asked.retry_count,
        times=times,
        failed_at=NOW,
        **error.model_dump(),
    )
    return asked.convert_to(RetryableFailure, errors=(*asked.errors, failure), error=error, failed_at=NOW)
