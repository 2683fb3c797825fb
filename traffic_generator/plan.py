"""Plans which questions are asked, in which order, and when. Pure functions."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from traffic_generator import prediction
from traffic_generator.dataset import Question
from traffic_generator.prediction import Prediction

# The popular questions depend only on the set, not on the seed of a run, so that runs share cached answers.
RANKING_SEED = 1


class Distribution(StrEnum):
    """Selection of the next question."""

    SHUFFLED = "shuffled"
    UNIFORM = "uniform"
    ZIPF = "zipf"


class Arrivals(StrEnum):
    """Timing of questions."""

    STEADY = "steady"
    BURST = "burst"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Traffic:
    """The pattern of a run.

    Attributes:
        interval_seconds: Mean time between two questions; 0: all at once, for steady arrivals of a count.
        count: Number of questions; None: as many as are due within `duration_seconds`.
        duration_seconds: Time in which questions are due; used without a count.
        distribution: `shuffled`: each once, in random order, before any is repeated; `uniform`: each with the same
            probability; `zipf`: the one on rank k with a probability proportional to 1 / k^`zipf_exponent`.
        arrivals: `steady`: at fixed intervals; `burst`: `burst_size` at once, then a pause; `poisson`: independently
            of each other, as from many people, with exponential gaps.
        zipf_exponent: Above 0; the larger, the more often popular questions are asked.
        burst_size: Questions of a burst.
    """

    interval_seconds: float
    count: int | None = None
    duration_seconds: float = 0.0
    distribution: Distribution = Distribution.SHUFFLED
    arrivals: Arrivals = Arrivals.STEADY
    zipf_exponent: float = 1.0
    burst_size: int = 10

    def __str__(self) -> str:
        which = f"zipf {self.zipf_exponent:g}" if self.distribution is Distribution.ZIPF else self.distribution.value
        when = f"bursts of {self.burst_size}" if self.arrivals is Arrivals.BURST else self.arrivals.value
        pace = f"{1 / self.interval_seconds:g}/s" if self.interval_seconds else "all at once"
        return f"{which}, {when}, {pace}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The questions of a run, in order, and their times.

    Attributes:
        questions: The set, each question once.
        order: Index in `questions` of each question to ask.
        due_seconds: When each question to ask is due, from the start, ascending.
        weights: Weight of each question of the set in independent draws; None if they are not drawn independently.
        mark: Id of the run that makes each question a new one; None: unchanged questions.
    """

    questions: Sequence[Question]
    order: Sequence[int]
    due_seconds: Sequence[float]
    weights: Sequence[float] | None = None
    mark: str | None = None

    def __len__(self) -> int:
        return len(self.order)

    def question(self, index: int) -> Question:
        """Returns the question to ask at `index`, from 0."""
        question = self.questions[self.order[index]]
        if self.mark is None:
            return question
        # In the context, not in the text, so that the text of the question is unchanged.
        mark = f"(Question {index + 1} of run {self.mark}.)"
        return replace(question, context=f"{question.context}\n{mark}".lstrip())

    def identity(self, index: int) -> int:
        """Returns a number that is equal for questions that are the same question for the fleet."""
        return self.order[index] if self.mark is None else index

    def predict(self, asked: int) -> Prediction:
        """Returns the prediction for the first `asked` questions."""
        if self.mark is not None:
            return prediction.each_once(asked, asked)
        if self.weights is None:
            return prediction.each_once(len(self.questions), asked)
        return prediction.drawn(self.weights, asked)


def make(questions: Sequence[Question], traffic: Traffic, seed: int, mark: str | None = None) -> Plan:
    """Plans a run. The same questions, traffic and seed give the same plan.

    Args:
        questions: Distinct questions.
        traffic: The pattern.
        seed: Seed of the draws of questions and of times, which are independent of each other.
        mark: See `Plan`.

    Raises:
        ValueError: There is no question to choose from, or the traffic has no end.
    """
    if not questions:
        raise ValueError("no question to choose from")
    due = due_seconds(traffic, seed)
    if traffic.distribution is Distribution.SHUFFLED:
        return Plan(questions, shuffled(len(questions), len(due), seed), due, mark=mark)
    weights = (
        zipf_weights(len(questions), traffic.zipf_exponent)
        if traffic.distribution is Distribution.ZIPF
        else [1.0] * len(questions)
    )
    order = random.Random(seed).choices(
        range(len(questions)), cum_weights=list(itertools.accumulate(weights)), k=len(due)
    )
    return Plan(questions, order, due, weights, mark)


def shuffled(size: int, count: int, seed: int) -> list[int]:
    """Draws `count` of the numbers below `size` without replacement; when all are used, they are shuffled again.

    The same size and seed give the same order; a smaller count gives its beginning.

    Raises:
        ValueError: There is nothing to choose from.
    """
    if size < 1:
        raise ValueError("nothing to choose from")
    chance = random.Random(seed)
    order: list[int] = []
    while len(order) < count:
        order += chance.sample(range(size), size)
    return order[:count]


def zipf_weights(size: int, exponent: float) -> list[float]:
    """Returns a weight for each of `size` questions: 1 / k^exponent for the one on rank k.

    Requests to web caches follow this with exponents from 0.64 to 0.83 (Breslau, Cao, Fan, Phillips, Shenker: Web
    Caching and Zipf-like Distributions, INFOCOM 1999). The ranks are assigned at random, because a file may be sorted
    by topic, but always in the same way.
    """
    weights = [rank**-exponent for rank in range(1, size + 1)]
    random.Random(RANKING_SEED).shuffle(weights)
    return weights


def due_seconds(traffic: Traffic, seed: int) -> list[float]:
    """Returns when the questions are due, in seconds from the start, ascending.

    Times count from the start, not from the previous question, so that small delays do not add up. A burst that begins
    within the duration is complete.

    Raises:
        ValueError: The traffic has no end: a duration without an interval.
    """
    if traffic.count is None and not traffic.interval_seconds > 0:
        raise ValueError("a duration needs an interval above 0")
    times = _times(traffic, seed)
    if traffic.count is not None:
        return list(itertools.islice(times, traffic.count))
    # Rounding errors: 49 times a 49th of a second is a little less than a second, and must count as a second.
    end = traffic.duration_seconds * (1 - 1e-9)
    return list(itertools.takewhile(lambda due: due < end, times))


def _times(traffic: Traffic, seed: int) -> Iterator[float]:
    interval = traffic.interval_seconds
    match traffic.arrivals:
        case Arrivals.STEADY:
            return (index * interval for index in itertools.count())
        case Arrivals.BURST:
            size = traffic.burst_size
            return (index // size * size * interval for index in itertools.count())
        case Arrivals.POISSON:
            # A separate generator, so that the same seed asks the same questions with any arrivals.
            chance = random.Random(f"{seed} arrivals")
            return itertools.accumulate(chance.expovariate(1 / interval) for _ in itertools.count())


def max_in_flight(traffic: Traffic, reply_seconds: float) -> int:
    """Returns how many questions can be without a reply if no reply takes longer than `reply_seconds`.

    This is the mean number of arrivals in that time (Little: A Proof for the Queuing Formula L = λW, Operations
    Research 9, 1961), plus three standard deviations for independent arrivals, or plus one burst.
    """
    if not traffic.interval_seconds:
        raise ValueError("all at once has no rate")
    mean = reply_seconds / traffic.interval_seconds
    match traffic.arrivals:
        case Arrivals.STEADY:
            more = 1.0
        case Arrivals.BURST:
            more = float(traffic.burst_size)
        case Arrivals.POISSON:
            more = 3 * math.sqrt(mean) + 1
    return math.ceil(mean + more)
