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


def books(row, script="first good", again=None, calls=None, changed=()):
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
def test_kept_promises(row, script):
    account = books(row, script)
    assert account.kept(0)
    failed = row.status == "failed"
    assert (account.asked, account.completed, account.failed_as_scripted) == (1, not failed, failed)


def test_without_a_row_or_a_final_state_it_is_lost():
    for row in (None, Row("pending")):
        account = books(row)
        assert account.lost == ["a"]
        assert (account.completed, account.doubled, account.unexpected) == (0, [], [])
        assert not account.kept(9)


def test_a_final_state_that_changes_is_doubled():
    for again in (WRONG, replace(GOOD, kept="another"), Row("pending")):
        account = books(GOOD, again=again)
        assert account.doubled == ["a"]
        assert not account.kept(9)


def test_an_answer_and_a_failure_are_two_final_states():
    assert books(replace(GOOD, reason="not_retryable")).doubled == ["a"]


def test_what_changed_during_the_drill_is_doubled_whosever_it_is():
    assert books(GOOD, changed=["a"]).doubled == ["a"]
    account = books(GOOD, changed=["older"])
    assert account.doubled == ["older"]
    assert not account.kept(0)


def test_a_question_that_was_promised_twice_is_one():
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
def test_another_end_than_scripted_is_unexpected(row, script):
    account = books(row, script)
    assert account.unexpected == ["a"]
    assert account.failed_as_scripted == 0
    assert not account.kept(9)


def test_a_generation_without_its_score_is_unexpected():
    assert books(replace(SECOND, attempts=SECOND.attempts[1:]), "second good").unexpected == ["a"]


def test_more_generations_than_the_script_needs_are_burnt():
    assert books(SECOND, "first good").burnt == ["a"]
    assert books(GOOD, "first good", calls={("a", 1): 1, ("a", 2): 1}).burnt == ["a"]
    assert books(replace(THIRD, generations=4), "never good").burnt == ["a"]


def test_a_fourth_retry_is_burnt():
    assert books(replace(EXHAUSTED, retries=3), "always overloaded").burnt == []
    assert books(replace(EXHAUSTED, retries=4), "always overloaded").burnt == ["a"]


def test_extra_calls_are_counted_by_attempt_beyond_what_the_script_needs():
    assert books(GOOD, "overloaded once", calls={("a", 1): 2}).extra == 0
    account = books(SECOND, "second good", calls={("a", 1): 3, ("a", 2): 1})
    assert account.extra_calls == {("a", 1): 2}
    assert account.kept(2)
    assert not account.kept(1)


def test_missing_calls_do_not_make_up_for_extra_ones():
    ledger = [entry("a", "overloaded once"), entry("b")]
    rows = {"a": GOOD, "b": GOOD}
    assert reconcile(ledger, rows, rows, {("a", 1): 1, ("b", 1): 2}).extra == 1


def test_calls_of_others_do_not_count():
    assert books(GOOD, calls={("a", 1): 1, ("stranger", 1): 7}).extra == 0


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
def test_the_best_is_kept_and_of_equals_the_first(kept, score, scores, best):
    row = Row("completed", "accepted", None, len(scores), 0, kept, Decimal(str(score)), scored(*scores))
    assert keeps_best(row) is best


def test_a_worse_answer_than_the_best_breaks_the_promise():
    account = books(replace(THIRD, kept="answer 3", kept_score=Decimal("0.7")), "never good")
    assert account.wrong_answer == ["a"]
    assert not account.kept(9)


def test_empty_books_are_kept():
    assert reconcile([], {}, {}, {}) == Account(asked=0)
