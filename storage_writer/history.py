"""Restores the message of a question from its history in the database. Pure."""

import structlog
from pydantic import TypeAdapter, ValidationError

from pipeline import routing, sizes, topics
from pipeline.messages import MAX_ATTEMPTS_LIMIT, Attempt, BestAnswer, ErrorRecord, LowQuality, Question

log = structlog.get_logger()

_ATTEMPTS: TypeAdapter[tuple[Attempt, ...]] = TypeAdapter(tuple[Attempt, ...])
_ERRORS: TypeAdapter[tuple[ErrorRecord, ...]] = TypeAdapter(tuple[ErrorRecord, ...])


def best_of(low: LowQuality) -> BestAnswer:
    """Returns the best answer of a question, including this attempt."""
    return routing.better(low.best, BestAnswer.of(low))


def resumed(question: Question, best: str | None, attempts: str | None, errors: str | None) -> Question:
    """Returns the message with which a question continues after its recorded attempts.

    If all allowed attempts were made and the lost message was the final answer, there is one more attempt, and the best
    answer of all is kept.

    Args:
        question: The question as it was asked.
        best: The best scored answer so far, as JSON; null or None: none.
        attempts: Its scored attempts, as a JSON array; None: none.
        errors: Its failed calls, as a JSON array; None: none.
    """
    try:
        made = _ATTEMPTS.validate_json(attempts or "[]")
        history = question.model_copy(
            update={
                "processing_attempts": min(max((each.attempt for each in made), default=0) + 1, MAX_ATTEMPTS_LIMIT),
                "best": BestAnswer.model_validate_json(best) if best and best != "null" else None,
                "attempts": made,
                "errors": _ERRORS.validate_json(errors or "[]"),
            }
        )
    except ValidationError as error:  # for example rows that were written by hand
        log.warning(
            "restarted a question: its history cannot be read",
            question_id=question.question_id,
            error=error.errors(include_url=False, include_input=False)[0]["msg"],
        )
        return question
    fits = sizes.fits(topics.QUESTIONS_PENDING, question.question_id.encode(), history.to_bytes())
    return history if fits else sizes.with_short_history(history)  # type: ignore[return-value]
