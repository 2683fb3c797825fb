import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_generator import prediction

weights = st.lists(st.floats(min_value=0.01, max_value=100), min_size=1, max_size=4)
more_weights = st.lists(st.floats(min_value=0.001, max_value=1000), min_size=1, max_size=100)


def enumerated(weights: Sequence[float], asked: int) -> tuple[float, float]:
    """Returns mean and variance of the number of distinct questions over all possible sequences."""
    total = sum(weights)
    mean = square = 0.0
    for drawn in itertools.product(range(len(weights)), repeat=asked):
        probability = math.prod(weights[place] / total for place in drawn)
        mean += probability * len(set(drawn))
        square += probability * len(set(drawn)) ** 2
    return mean, square - mean**2


@given(weights, st.integers(min_value=0, max_value=5))
def test_the_prediction_is_the_mean_over_all_possible_sequences(weights: list[float], asked: int) -> None:
    predicted = prediction.drawn(weights, asked)
    mean, variance = enumerated(weights, asked)
    assert predicted.distinct == pytest.approx(mean, abs=1e-9)
    assert predicted.distinct_deviation**2 >= variance - 1e-9


@given(more_weights, st.integers(min_value=0, max_value=10_000))
def test_distinct_is_between_0_and_the_number_of_questions(weights: list[float], asked: int) -> None:
    predicted = prediction.drawn(weights, asked)
    assert -1e-9 <= predicted.distinct <= min(asked, len(weights)) + 1e-9
    assert predicted.distinct_deviation >= 0


@given(more_weights, st.integers(min_value=0, max_value=1000), st.integers(min_value=1, max_value=100))
def test_the_hit_rate_grows_with_the_number_of_requests(weights: list[float], asked: int, more: int) -> None:
    fewer, many = prediction.drawn(weights, asked), prediction.drawn(weights, asked + more)
    assert fewer.distinct <= many.distinct + 1e-9
    if asked:
        assert fewer.hit_rate is not None
        assert many.hit_rate is not None
        assert fewer.hit_rate <= many.hit_rate + 1e-9


@given(more_weights, st.integers(min_value=1, max_value=1000))
def test_the_uniform_distribution_has_the_most_distinct_questions(weights: list[float], asked: int) -> None:
    skewed = prediction.drawn(weights, asked)
    uniform = prediction.drawn([1.0] * len(weights), asked)
    assert skewed.distinct <= uniform.distinct + 1e-9


@given(more_weights, st.integers(min_value=0, max_value=1000), st.floats(min_value=0.01, max_value=100))
def test_scaling_all_weights_does_not_change_the_prediction(weights: list[float], asked: int, factor: float) -> None:
    scaled = [weight * factor for weight in weights]
    assert prediction.drawn(scaled, asked).distinct == pytest.approx(
        prediction.drawn(weights, asked).distinct, rel=1e-6
    )


def test_the_uniform_prediction_equals_the_birthday_formula() -> None:
    assert prediction.drawn([1.0] * 365, 23).distinct == pytest.approx(365 * (1 - (364 / 365) ** 23))


def test_a_single_question_is_a_hit_from_the_second_request_on() -> None:
    assert prediction.drawn([2.0], 4).hit_rate == 0.75
    assert prediction.drawn([2.0], 0).distinct == 0.0


def test_the_prediction_is_exact_for_very_rare_questions() -> None:
    # 1 - 1e-17 is 1 in floating point, so that a naive formula would ignore the rare question.
    assert prediction.drawn([1.0, 1e-17], 10**6).distinct == pytest.approx(1 + 1e-11, abs=1e-15)


@given(st.integers(min_value=1, max_value=50), st.integers(min_value=0, max_value=200))
def test_each_once_repeats_questions_only_after_the_whole_set(size: int, asked: int) -> None:
    predicted = prediction.each_once(size, asked)
    assert predicted.distinct == len({index % size for index in range(asked)})
    assert predicted.distinct_deviation == 0


def test_the_hit_rate_is_none_without_requests() -> None:
    nothing = prediction.each_once(5, 0)
    assert (nothing.hit_rate, nothing.hit_rate_deviation) == (None, None)
