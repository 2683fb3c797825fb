"""The way of one question, from asked to kept, in the order in which it happened. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from viz_service.schemas import Attempt, CallError, QuestionDetail

Kind = Literal["asked", "published", "attempt", "error", "waiting", "retried", "kept", "failed", "pending"]


@dataclass(frozen=True)
class Step:
    """Something that happened.

    Attributes:
        kind: What.
        at: When; None: it is not known, or has not happened yet.
        attempt: The generation, of `attempt`.
        error: The failed call, of `error`, `waiting` and `retried`.
    """

    kind: Kind
    at: datetime | None
    attempt: Attempt | None = None
    error: CallError | None = None


def steps(question: QuestionDetail, now: datetime) -> list[Step]:
    """Returns the steps, the first one first.

    Args:
        question: All that is known about it.
        now: Decides whether an error still waits for its due time.
    """
    happened = [Step("published", question.published_at)] if question.published_at else []
    happened += [Step("attempt", each.generated_at, attempt=each) for each in question.attempts]
    for each in question.errors:
        happened.append(Step("error", each.failed_at, error=each))
        if each.due_at and each.due_at <= now:
            happened.append(Step("retried", each.due_at, error=each))
    happened.sort(key=lambda step: step.at or now)
    # Nothing comes before the question: a clock that is off by some milliseconds must not say so.
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
