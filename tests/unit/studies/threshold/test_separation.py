import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.reporting.statistics import auc, bootstrap, roc
from studies.threshold.separation import gain, separation

SCORES = {f"q{number}": {"good": 0.5 + number / 100, "wrong": 0.4 + (number % 3) / 10} for number in range(20)}


def test_auc_of_known_cases():
    assert auc([2, 3], [0, 1]) == 1
    assert auc([0, 1], [2, 3]) == 0
    assert auc([1, 1], [1, 1]) == 0.5
    assert auc([1, 3], [2, 0]) == 0.75
    with pytest.raises(ValueError, match="both"):
        auc([], [1])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_auc_turns_round(left, right):
    assert auc(left, right) == pytest.approx(1 - auc(right, left))


def test_the_area_under_the_curve_is_the_auc():
    left, right = [0.9, 0.7, 0.4], [0.8, 0.3, 0.1]
    x, y = roc(left, right)
    area = sum((x[i + 1] - x[i]) * (y[i + 1] + y[i]) / 2 for i in range(len(x) - 1))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert area == pytest.approx(auc(left, right))


def test_the_interval_holds_the_figure_and_narrows_with_more_questions():
    few = separation(dict(list(SCORES.items())[:6]), "good", "wrong")
    many = separation(SCORES | {f"{question}b": labels for question, labels in SCORES.items()}, "good", "wrong")
    assert few.low <= few.value <= few.high
    assert many.high - many.low < few.high - few.low
    assert str(few).startswith(f"{few.value:.3f} [")


def test_questions_without_both_labels_take_no_part():
    assert separation(SCORES | {"alone": {"good": -1.0}}, "good", "wrong") == separation(SCORES, "good", "wrong")


def test_a_score_gains_nothing_over_itself():
    assert gain(SCORES, SCORES, "good", "wrong") == (0, 0, 0)
    perfect = {question: {"good": 1.0, "wrong": 0.0} for question in SCORES}
    assert gain(perfect, SCORES, "good", "wrong").low > 0


def test_the_same_seed_gives_the_same_interval():
    def share(drawn):
        return len(set(drawn)) / len(drawn)

    assert bootstrap(list(SCORES), share) == bootstrap(list(SCORES), share)
