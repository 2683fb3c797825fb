from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.drills.ledger import Account, Entry, Row, Scored, keeps_best, reconcile
from tests.drills.scripts import SCRIPTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def entry(id="a", script="first good"):
    return Entry(id, f"question {id}", NOW, SCRIPTS[script])


def scored(*scores):
    return tuple(Scored(number, f"answer {number}", Decimal(str(each))) for number, each in enumerate(scores, 1))


GOOD = Row("completed", "accepted", None, 1, 0, "answer 1", Decimal("0.9"), scored(0.9))
SECOND = Row("completed", "accepted", None, 2, 0, "answer 2", Decimal("0.9"), scored(0.1, 0.9))
THIRD = Row("completed", "max_retries_reached", None, 3, 0, "answer 2", Decimal("0.8"), scored(0.6, 0.8, 0.7))
WRONG = Row("failed", None, "not_retryable")
EXHAUSTED = Row("failed", None, "retries_exhausted", 1, 3)


def reconcile_row(row, script="first good", again=None, calls=None, changed=()):
    rows = {} if row is None else {"a": row}
    if calls is None:
        needed = SCRIPTS[script]
        calls = {("a", number): needed.calls(number) for number in range(1, needed.generations + 1)}
    return reconcile([entry(script=script)], rows, rows if again is None else {"a": again}, calls, changed)


@pytest.mark.parametrize(
    ("row", "script"),
    [
        (GOOD, "first good"),
        (SECOND, "second good"),
        (THIRD, "never good"),
        (GOOD, "overloaded once"),
        (WRONG, "wrong request"),
        (EXHAUSTED, "always overloaded"),
    ],
)
def test_reconcile_passes_for_results_as_scripted(row, script):
    account = reconcile_row(row, script)
    assert account.kept(0)
    failed = row.status == "failed"
    assert (account.asked, account.completed, account.failed_as_scripted) == (1, not failed, failed)


def test_a_question_without_a_final_row_is_lost():
    for row in (None, Row("pending")):
        account = reconcile_row(row)
        assert account.lost == ["a"]
        assert (account.completed, account.doubled, account.unexpected) == (0, [], [])
        assert not account.kept(9)


def test_a_final_state_that_changes_is_reported_as_doubled():
    for again in (WRONG, replace(GOOD, kept="another"), Row("pending")):
        account = reconcile_row(GOOD, again=again)
        assert account.doubled == ["a"]
        assert not account.kept(9)


def test_a_row_with_answer_and_failure_is_reported_as_doubled():
    assert reconcile_row(replace(GOOD, reason="not_retryable")).doubled == ["a"]


def test_final_rows_of_any_question_that_changed_are_reported_as_doubled():
    assert reconcile_row(GOOD, changed=["a"]).doubled == ["a"]
    account = reconcile_row(GOOD, changed=["older"])
    assert account.doubled == ["older"]
    assert not account.kept(0)


def test_a_question_accepted_twice_is_counted_once():
    account = reconcile([entry(), entry()], {"a": GOOD}, {"a": GOOD}, {("a", 1): 1})
    assert (account.asked, account.completed) == (1, 1)


@pytest.mark.parametrize(
    ("row", "script"),
    [
        (WRONG, "first good"),
        (GOOD, "wrong request"),
        (replace(WRONG, reason="retries_exhausted"), "wrong request"),
        (replace(SECOND, quality="max_retries_reached"), "second good"),
        (GOOD, "second good"),
    ],
)
def test_a_result_other_than_scripted_is_unexpected(row, script):
    account = reconcile_row(row, script)
    assert account.unexpected == ["a"]
    assert account.failed_as_scripted == 0
    assert not account.kept(9)


def test_an_attempt_without_a_score_is_unexpected():
    assert reconcile_row(replace(SECOND, attempts=SECOND.attempts[1:]), "second good").unexpected == ["a"]


def test_reconcile_reports_more_attempts_than_scripted():
    assert reconcile_row(SECOND, "first good").over_limit == ["a"]
    assert reconcile_row(GOOD, "first good", calls={("a", 1): 1, ("a", 2): 1}).over_limit == ["a"]
    assert reconcile_row(replace(THIRD, generations=4), "never good").over_limit == ["a"]


def test_reconcile_reports_more_than_three_retries():
    assert reconcile_row(replace(EXHAUSTED, retries=3), "always overloaded").over_limit == []
    assert reconcile_row(replace(EXHAUSTED, retries=4), "always overloaded").over_limit == ["a"]


def test_calls_beyond_the_script_are_counted_by_attempt():
    assert reconcile_row(GOOD, "overloaded once", calls={("a", 1): 2}).extra == 0
    account = reconcile_row(SECOND, "second good", calls={("a", 1): 3, ("a", 2): 1})
    assert account.extra_calls == {("a", 1): 2}
    assert account.kept(2)
    assert not account.kept(1)


def test_a_call_that_used_up_no_retry_is_needed_again_only_if_all_calls_fail():
    """A provider that answers nobody is unavailable, and its errors do not count as retries."""
    calls = {("a", 1): 5}
    assert reconcile_row(replace(EXHAUSTED, waits=1), "always overloaded", calls=calls).extra == 0
    assert reconcile_row(EXHAUSTED, "always overloaded", calls=calls).extra == 1
    assert reconcile_row(replace(GOOD, waits=1), "overloaded once", calls={("a", 1): 3}).extra == 1


def test_missing_calls_are_not_offset_against_extra_calls():
    ledger = [entry("a", "overloaded once"), entry("b")]
    rows = {"a": GOOD, "b": GOOD}
    assert reconcile(ledger, rows, rows, {("a", 1): 1, ("b", 1): 2}).extra == 1


def test_calls_about_other_questions_are_not_counted():
    assert reconcile_row(GOOD, calls={("a", 1): 1, ("other", 1): 7}).extra == 0


@pytest.mark.parametrize(
    ("kept", "score", "scores", "best"),
    [
        ("answer 2", 0.8, (0.6, 0.8, 0.7), True),
        ("answer 3", 0.7, (0.6, 0.8, 0.7), False),
        ("answer 3", 0.9, (0.6, 0.8, 0.9), True),
        ("answer 1", 0.5, (0.5, 0.5), True),
        ("answer 2", 0.5, (0.5, 0.5), False),
        ("answer 1", 0.6, (0.5,), False),
        ("answer 1", -0.2, (-0.2, -0.3), True),
        ("answer 2", 0, (-0.2, 0), True),
    ],
)
def test_the_first_answer_with_the_best_score_must_be_kept(kept, score, scores, best):
    row = Row("completed", "accepted", None, len(scores), 0, kept, Decimal(str(score)), scored(*scores))
    assert keeps_best(row) is best


def test_reconcile_reports_an_answer_that_is_not_the_best():
    account = reconcile_row(replace(THIRD, kept="answer 3", kept_score=Decimal("0.7")), "never good")
    assert account.wrong_answer == ["a"]
    assert not account.kept(9)


def test_reconcile_of_no_questions_passes():
    assert reconcile([], {}, {}, {}) == Account(asked=0)
