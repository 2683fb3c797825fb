"""The timeline of one question."""

from datetime import timedelta

from tests.unit.viz_service.fakes import NOW, question
from viz_service import timeline
from viz_service.schemas import Failure

LATER = NOW + timedelta(minutes=1)


def kinds(**changes: object) -> list[str]:
    return [each.kind for each in timeline.steps(question(**changes), LATER)]


def test_steps_are_in_chronological_order() -> None:
    assert kinds() == ["asked", "published", "error", "retried", "attempt", "attempt", "kept"]


def test_a_question_without_attempts_is_pending() -> None:
    assert kinds(status="pending", answer=None, attempts=[], errors=[], published_at=None) == ["asked", "pending"]


def test_a_retry_that_is_not_due_yet_is_shown_as_waiting() -> None:
    found = timeline.steps(question(status="pending", answer=None, attempts=[]), NOW + timedelta(seconds=2))
    assert [each.kind for each in found] == ["asked", "published", "error", "waiting"]
    assert found[-1].at == NOW + timedelta(seconds=3)


def test_the_last_step_of_a_failed_question_is_its_failure() -> None:
    failure = Failure(reason="retries_exhausted", retry_count=3, last_error="503", failed_at=LATER)
    assert kinds(status="failed", answer=None, attempts=[], failure=failure)[-1] == "failed"


def test_the_kept_attempt_is_the_one_whose_answer_was_kept() -> None:
    assert question().kept_attempt == 2
    assert question(answer=None).kept_attempt is None
    assert question(attempts=[]).kept_attempt is None
