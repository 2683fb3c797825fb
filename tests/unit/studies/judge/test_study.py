"""The study of judges, with invented scores and judgements."""

from datetime import date

import pytest

from studies.answers.labelled import LabelledAnswer
from studies.judge.results import Result, append, read_results
from studies.judge.study import Gate, Judged, chosen_threshold, document, joined, outcome, reliability

BOTH = Gate("both", 0.3, 0.5)


def judged(question, attempt, label, score, probability):
    answer = LabelledAnswer("m", question, "q", "r", attempt, "a", (label,) * 3)
    return Judged(answer, Result("m", question, attempt, score, "judge", probability, None, 100, 1.5))


def test_a_question_ends_with_its_first_accepted_answer():
    answers = [
        judged("1a", 2, "right", 0.9, 0.9),
        judged("1a", 1, "wrong", 0.9, 0.4),
        judged("1a", 3, "wrong", 0.9, 0.9),
        judged("2a", 1, "partly", 0.4, 0.5),
        judged("3a", 1, "right", 0.2, 1.0),
    ]
    found = outcome(answers, BOTH)
    assert (found.questions, found.accepted, found.labels) == (3, 2, {"right": 1, "partly": 1})
    assert (found.right.value, found.not_wrong.value, found.kept.value) == (0.5, 1.0, 0.5)
    assert found.answers == pytest.approx(4 / 3)


@pytest.mark.parametrize(("score", "probability"), [(None, 1.0), (0.9, None)])
def test_an_answer_without_score_or_probability_is_not_accepted(score, probability):
    assert outcome([judged("1a", 1, "right", score, probability)], BOTH).accepted == 0


def test_the_threshold_separates_wrong_answers_from_the_others():
    labels = [("wrong", 0.1), ("wrong", 0.44), ("partly", 0.52), ("right", 0.9)]
    answers = [judged(f"{number}a", 1, label, 0.9, each) for number, (label, each) in enumerate(labels)]
    assert chosen_threshold(answers, 0.3) == 0.45


def test_a_threshold_needs_wrong_answers_and_others():
    with pytest.raises(ValueError, match="must have wrong ones"):
        chosen_threshold([judged("1a", 1, "right", 0.9, 0.9)], 0.3)


def test_the_reliability_counts_each_answer_once():
    answers = [judged("1a", 1, "right", 0.5, p) for p in (0.0, 0.2, 0.39, 1.0)]
    assert [(row[0], row[1]) for row in reliability(answers)] == [
        ("0.0 to 0.2", 1),
        ("0.2 to 0.4", 2),
        ("0.8 to 1.0", 1),
    ]


def test_results_are_the_same_after_they_were_written(tmp_path):
    results = [
        Result("m", "1a", 1, 0.25, "judge", 0.5, "wrong", 100, 1.5),
        Result("m", "1a", 2, None, "judge", None, None, 0, 0.0),
    ]
    for each in results:
        append(tmp_path / "r.csv", each)
    assert read_results(tmp_path / "r.csv") == results
    assert read_results(tmp_path / "none.csv") == []


def test_the_document_has_the_threshold_and_a_row_for_each_gate(tmp_path):
    answers = [
        judged(question, attempt, label, score, probability)
        for question in ("10", "20", "31", "41")
        for attempt, label, score, probability in ((1, "wrong", 0.5, 0.2), (2, "right", 0.6, 0.7))
    ]
    text = document(answers, 0.32, tmp_path, date(2026, 1, 2))
    assert "`JUDGE_THRESHOLD=0.25`" in text
    assert "| m | score ≥ 0.32 | 2 of 2 | 0 | 0 | 2 |" in text
    assert "| m | score ≥ 0.32, judge ≥ 0.25 | 2 of 2 | 2 | 0 | 0 | 1.000" in text
    assert (tmp_path / "judge.png").stat().st_size > 1000


def test_answers_without_result_are_left_out():
    one = judged("1a", 1, "right", 0.9, 0.9)
    assert joined([one.answer, one.answer._replace(attempt=2)], [one.result]) == [one]
