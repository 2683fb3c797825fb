"""The history of one question, from asked to kept, in chronological order. Pure functions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from viz_service.schemas import Attempt, ErrorRecord, QuestionDetail

Kind = Literal["asked", "published", "attempt", "error", "waiting", "retried", "kept", "failed", "pending"]


@dataclass(frozen=True)
class Step:
    """A step in the history of a question.

    Attributes:
        kind: Kind of the step.
        at: Its time; None if it is unknown or has not happened yet.
        attempt: The generation, for `attempt`.
        error: The failed call, for `error`, `waiting` and `retried`.
    """

    kind: Kind
    at: datetime | None
    attempt: Attempt | None = None
    error: ErrorRecord | None = None


def steps(question: QuestionDetail, now: datetime) -> list[Step]:
    """Returns the steps in chronological order.

    Args:
        question: The question with its history.
        now: Decides whether an error still waits for its due time.
    """
    happened = [Step("published", question.published_at)] if question.published_at else []
    happened += [Step("attempt", each.generated_at, attempt=each) for each in question.attempts]
    for each in question.errors:
        happened.append(Step("error", each.failed_at, error=each))
        if each.due_at and each.due_at <= now:
            happened.append(Step("retried", each.due_at, error=each))
    happened.sort(key=lambda step: step.at or now)
    # The question is always first, even if the clocks of two services differ by some milliseconds.
    found = [Step("asked", question.asked_at), *happened]
    if question.answer:
        return [*found, Step("kept", question.answer.created_at)]
    if question.failure:
        return [*found, Step("failed", question.failure.failed_at)]
    due = [each for each in question.errors if each.due_at and each.due_at > now]
    if due:
        last = max(due, key=lambda each: each.due_at or now)
        return [*found, Step("waiting", last.due_at, error=last)]
    return [*found, Step("pending", None)]
