import pytest

from studies.threshold.regeneration import at_threshold, best_of, complete, recommend

QUESTIONS = [[0.6, 0.1, 0.1], [0.2, 0.5, 0.9], [0.2, 0.1, 0.4]]


def test_only_questions_with_every_attempt_are_complete():
    scores = [("a", 1, 0.1), ("a", 2, 0.2), ("b", 1, 0.3), ("a", 3, 0.0), ("c", 2, 0.1), ("c", 3, 0.1)]
    assert complete(scores, 3) == [[0.1, 0.2, 0.0]]


def test_the_loop_stops_at_the_first_pass_and_keeps_the_best_otherwise():
    row = at_threshold(QUESTIONS, 0.5)
    assert row.first == pytest.approx(1 / 3)
    assert row.accepted == pytest.approx(2 / 3)
    assert row.calls == pytest.approx((1 + 2 + 3) / 3)
    assert row.kept == pytest.approx((0.6 + 0.5 + 0.4) / 3)
    assert row.gain == pytest.approx(0.5 / 3)
    assert row.calls_for_a_point == pytest.approx(1 / (0.5 / 3 * 100))


def test_a_threshold_that_all_pass_costs_and_gains_nothing():
    row = at_threshold(QUESTIONS, 0)
    assert (row.calls, row.gain, row.calls_for_a_point) == (1, 0, float("inf"))


def test_best_of():
    assert best_of(QUESTIONS, 1).value == 0
    assert best_of(QUESTIONS, 2).value == pytest.approx(0.1)
    assert best_of(QUESTIONS, 3).value == pytest.approx(0.3)


def test_the_recommended_threshold_lies_between_chance_and_good_answers():
    advice = recommend([0.0] * 99 + [0.1], [0.5] * 100, QUESTIONS, budget=3)
    assert advice.ceiling == advice.threshold == 0.5
    cheap = recommend([0.0] * 99 + [0.1], [0.5] * 100, QUESTIONS, budget=5 / 3)
    assert cheap.threshold == 0.2
    assert cheap.floor < 0.1


def test_without_money_the_threshold_is_the_floor():
    assert recommend([0.3] * 100, [0.5] * 100, QUESTIONS, budget=1).threshold == 0.3
