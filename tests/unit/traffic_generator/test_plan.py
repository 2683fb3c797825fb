import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_generator import dataset, plan
from traffic_generator.dataset import Question
from traffic_generator.plan import Arrivals, Distribution, Traffic

QUESTIONS = [Question("t", f"Question {number}?", "", "") for number in range(30)]

intervals = st.floats(min_value=0.001, max_value=100)
traffics = st.builds(
    Traffic,
    interval_seconds=intervals,
    count=st.integers(min_value=0, max_value=300),
    distribution=st.sampled_from(Distribution),
    arrivals=st.sampled_from(Arrivals),
    zipf_exponent=st.floats(min_value=0.01, max_value=10),
    burst_size=st.integers(min_value=1, max_value=50),
)
seeds = st.integers(min_value=0, max_value=10**6)


def test_seeds_plan_the_same_questions_as_in_earlier_releases() -> None:
    # Recorded when the seed was the only option.
    questions = dataset.load().questions
    assert plan.shuffled(len(questions), 6, seed=7) == [82, 38, 101, 166, 12, 18]
    assert plan.shuffled(len(questions), 230, seed=1)[220:] == [37, 172, 132, 172, 147, 205, 82, 168, 161, 109]


@given(traffics, seeds)
def test_the_same_seed_makes_the_same_plan(traffic: Traffic, seed: int) -> None:
    assert plan.make(QUESTIONS, traffic, seed) == plan.make(QUESTIONS, traffic, seed)


@pytest.mark.parametrize("distribution", Distribution)
def test_another_seed_makes_another_order(distribution: Distribution) -> None:
    traffic = Traffic(1.0, count=20, distribution=distribution)
    assert plan.make(QUESTIONS, traffic, seed=1).order != plan.make(QUESTIONS, traffic, seed=2).order


@given(traffics, seeds, st.integers(min_value=0, max_value=300))
def test_a_plan_of_fewer_questions_is_the_beginning_of_a_longer_one(traffic: Traffic, seed: int, fewer: int) -> None:
    assert traffic.count is not None
    fewer = min(fewer, traffic.count)
    whole = plan.make(QUESTIONS, traffic, seed)
    part = plan.make(QUESTIONS, replace(traffic, count=fewer), seed)
    assert list(part.order) == list(whole.order[:fewer])
    assert part.due_seconds == whole.due_seconds[:fewer]


@given(traffics, seeds)
def test_order_and_due_times_are_independent(traffic: Traffic, seed: int) -> None:
    orders = {tuple(plan.make(QUESTIONS, replace(traffic, arrivals=each), seed).order) for each in Arrivals}
    times = {
        tuple(plan.make(QUESTIONS, replace(traffic, distribution=each), seed).due_seconds) for each in Distribution
    }
    assert (len(orders), len(times)) == (1, 1)


@given(st.integers(min_value=1, max_value=40), st.integers(min_value=0, max_value=200), seeds)
def test_shuffled_repeats_no_question_before_all_were_asked(size: int, count: int, seed: int) -> None:
    order = plan.shuffled(size, count, seed)
    rounds = [order[start : start + size] for start in range(0, count, size)]
    assert sum(map(len, rounds)) == count
    assert all(len(set(each)) == len(each) for each in rounds)
    assert all(0 <= place < size for place in order)


def test_shuffled_has_another_order_in_the_second_round() -> None:
    order = plan.shuffled(30, 60, seed=1)
    assert order[:30] != order[30:]
    assert order[:30] != list(range(30))


def test_uniform_asks_each_question_equally_often() -> None:
    order = plan.make(QUESTIONS, Traffic(0.0, count=30_000, distribution=Distribution.UNIFORM), seed=1).order
    counts = Counter(order)
    # Each is expected 1,000 times; one of 30 deviates by more than five standard deviations once in 60,000 seeds.
    assert all(abs(counts[place] - 1000) < 5 * math.sqrt(1000) for place in range(30))


@given(st.integers(min_value=2, max_value=500), st.floats(min_value=0.01, max_value=5))
def test_zipf_weights_decrease_with_the_rank(size: int, exponent: float) -> None:
    weights = sorted(plan.zipf_weights(size, exponent), reverse=True)
    assert weights[0] == 1.0
    for rank in (2, size):
        assert weights[rank - 1] == pytest.approx(rank**-exponent)


def test_zipf_asks_questions_in_proportion_to_their_weights() -> None:
    traffic = Traffic(0.0, count=30_000, distribution=Distribution.ZIPF)
    planned = plan.make(QUESTIONS, traffic, seed=1)
    assert planned.weights is not None
    total, counts = sum(planned.weights), Counter(planned.order)
    for place, weight in enumerate(planned.weights):
        expected = 30_000 * weight / total
        assert abs(counts[place] - expected) < 5 * math.sqrt(expected)


def test_the_most_popular_question_is_the_same_for_all_seeds_and_not_the_first_of_the_file() -> None:
    traffic = Traffic(0.0, count=300, distribution=Distribution.ZIPF, zipf_exponent=2.0)
    popular = {Counter(plan.make(QUESTIONS, traffic, seed).order).most_common(1)[0][0] for seed in range(5)}
    assert len(popular) == 1
    assert popular != {0}


@given(traffics, seeds)
def test_due_times_are_sorted_and_not_negative(traffic: Traffic, seed: int) -> None:
    due = plan.due_seconds(traffic, seed)
    assert len(due) == traffic.count
    assert all(0 <= earlier <= later for earlier, later in itertools.pairwise(due))


@given(
    st.integers(min_value=1, max_value=1000),
    st.integers(min_value=1, max_value=20),
    st.sampled_from([Arrivals.STEADY, Arrivals.BURST]),
)
def test_a_duration_contains_rate_times_duration_questions(rate: int, seconds: int, arrivals: Arrivals) -> None:
    traffic = Traffic(1 / rate, duration_seconds=float(seconds), arrivals=arrivals, burst_size=1)
    assert len(plan.due_seconds(traffic, seed=1)) == rate * seconds


@given(intervals, st.floats(min_value=0.01, max_value=50), st.sampled_from(Arrivals), seeds)
def test_nothing_is_due_after_the_duration(interval: float, duration: float, arrivals: Arrivals, seed: int) -> None:
    traffic = Traffic(interval, duration_seconds=duration, arrivals=arrivals)
    assert all(due < duration for due in plan.due_seconds(traffic, seed))


@pytest.mark.parametrize("traffic", [Traffic(0.5, count=51), Traffic(0.5, duration_seconds=25.1)])
def test_steady_due_times_are_multiples_of_the_interval(traffic: Traffic) -> None:
    due = plan.due_seconds(traffic, seed=1)
    assert [due[0], due[1], due[50], len(due)] == [0.0, 0.5, 25.0, 51]


def test_bursts_are_due_at_once_and_keep_the_rate() -> None:
    traffic = Traffic(0.5, count=7, arrivals=Arrivals.BURST, burst_size=3)
    assert plan.due_seconds(traffic, seed=1) == [0.0, 0.0, 0.0, 1.5, 1.5, 1.5, 3.0]


def test_a_burst_that_has_begun_is_completed() -> None:
    traffic = Traffic(0.5, duration_seconds=1.6, arrivals=Arrivals.BURST, burst_size=3)
    assert plan.due_seconds(traffic, seed=1) == [0.0, 0.0, 0.0, 1.5, 1.5, 1.5]


def test_poisson_has_exponential_gaps() -> None:
    count, interval = 20_000, 0.5
    due = plan.due_seconds(Traffic(interval, count=count, arrivals=Arrivals.POISSON), seed=1)
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise([0.0, *due]))
    # Kolmogorov-Smirnov test: the largest distance to the distribution exceeds 1.95 / sqrt(n) once in a thousand runs.
    distances = (abs((rank + 0.5) / count - (1 - math.exp(-gap / interval))) for rank, gap in enumerate(gaps))
    assert max(distances) < 1.95 / math.sqrt(count)
    assert len(
        plan.due_seconds(Traffic(interval, count=None, duration_seconds=10_000, arrivals=Arrivals.POISSON), 1)
    ) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))


def test_another_seed_makes_other_due_times() -> None:
    traffic = Traffic(0.5, count=5, arrivals=Arrivals.POISSON)
    assert plan.due_seconds(traffic, seed=1) != plan.due_seconds(traffic, seed=2)


@pytest.mark.parametrize("arrivals", Arrivals)
def test_a_duration_without_an_interval_is_an_error(arrivals: Arrivals) -> None:
    with pytest.raises(ValueError, match="interval above 0"):
        plan.due_seconds(Traffic(0.0, duration_seconds=1.0, arrivals=arrivals), seed=1)


def test_an_empty_question_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="no question"):
        plan.make([], Traffic(1.0, count=1), seed=1)
    with pytest.raises(ValueError, match="nothing to choose from"):
        plan.shuffled(0, 1, seed=1)


def test_a_mark_makes_each_question_unique_and_keeps_its_text() -> None:
    questions = [Question("t", "Why?", "Tell me.", "Because."), Question("t", "How?", "", "So.")]
    planned = plan.make(questions, Traffic(0.0, count=6), seed=1, mark="ab12")
    asked = [planned.question(index) for index in range(6)]
    assert {question.text for question in asked} == {"Why?", "How?"}
    assert len({question.context for question in asked}) == len({planned.identity(index) for index in range(6)}) == 6
    first_why = next(index for index, question in enumerate(asked) if question.text == "Why?")
    assert asked[first_why].context == f"Tell me.\n(Question {first_why + 1} of run ab12.)"
    assert all(question.context.startswith("(") for question in asked if question.text == "How?")


def test_without_a_mark_questions_are_unchanged() -> None:
    planned = plan.make(QUESTIONS, Traffic(0.0, count=60), seed=1)
    assert [planned.question(index) for index in range(60)] == [QUESTIONS[place] for place in planned.order]
    assert len({planned.identity(index) for index in range(60)}) == 30


@pytest.mark.parametrize(("mark", "hit_rate"), [(None, 0.5), ("ab12", 0.0)])
def test_shuffled_and_marked_plans_predict_an_exact_hit_rate(mark: str | None, hit_rate: float) -> None:
    predicted = plan.make(QUESTIONS, Traffic(0.0, count=60), seed=1, mark=mark).predict(60)
    assert (predicted.hit_rate, predicted.hit_rate_deviation) == (hit_rate, 0.0)


@pytest.mark.parametrize("distribution", [Distribution.UNIFORM, Distribution.ZIPF])
@pytest.mark.parametrize("count", [10, 30, 200])
def test_the_mean_of_distinct_questions_is_as_predicted(distribution: Distribution, count: int) -> None:
    traffic = Traffic(0.0, count=count, distribution=distribution)
    runs = [plan.make(QUESTIONS, traffic, seed) for seed in range(400)]
    predicted = runs[0].predict(count)
    mean = sum(len(set(run.order)) for run in runs) / len(runs)
    # The standard deviation of the mean of 400 runs is a twentieth; the limit is four of them.
    assert abs(mean - predicted.distinct) < 4 * predicted.distinct_deviation / 20


@pytest.mark.parametrize(
    ("traffic", "most"),
    [
        (Traffic(0.5), 61),
        (Traffic(0.5, arrivals=Arrivals.BURST, burst_size=40), 100),
        (Traffic(0.5, arrivals=Arrivals.POISSON), 85),
    ],
)
def test_max_in_flight_depends_on_rate_and_arrivals(traffic: Traffic, most: int) -> None:
    assert plan.max_in_flight(traffic, reply_seconds=30.0) == most


@given(intervals, st.floats(min_value=0.1, max_value=30), st.sampled_from([Arrivals.STEADY, Arrivals.BURST]))
def test_no_window_of_the_reply_time_exceeds_max_in_flight(
    interval: float, reply_seconds: float, arrivals: Arrivals
) -> None:
    traffic = Traffic(interval, count=200, arrivals=arrivals)
    due = plan.due_seconds(traffic, seed=1)
    most = max(sum(start <= each < start + reply_seconds for each in due) for start in set(due))
    assert most <= plan.max_in_flight(traffic, reply_seconds)


def test_traffic_is_described_in_words() -> None:
    assert str(Traffic(0.5)) == "shuffled, steady, 2/s"
    assert str(Traffic(0.0, distribution=Distribution.UNIFORM)) == "uniform, steady, all at once"
    zipf = Traffic(0.1, distribution=Distribution.ZIPF, zipf_exponent=0.8, arrivals=Arrivals.BURST)
    assert str(zipf) == "zipf 0.8, bursts of 10, 10/s"
