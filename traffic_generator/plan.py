"""Which questions are asked, in which order, and when: values only."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from traffic_generator import prediction
from traffic_generator.dataset import Question
from traffic_generator.prediction import Prediction

# Which questions are popular is up to the set, not to a run: runs of different seeds meet in the cache.
RANKING_SEED = 1


class Distribution(StrEnum):
    """Which question comes next."""

    SHUFFLED = "shuffled"
    UNIFORM = "uniform"
    ZIPF = "zipf"


class Arrivals(StrEnum):
    """When the next question comes."""

    STEADY = "steady"
    BURST = "burst"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a run looks like from outside.

    Attributes:
        interval_seconds: Mean time from one question to the next; 0: all at once, for steady arrivals of a count.
        count: Number of questions; None: as many as `duration_seconds` holds.
        duration_seconds: Time in which questions fall due; used without a count.
        distribution: `shuffled`: each once, in random order, before any comes again; `uniform`: each with the same
            chance every time; `zipf`: the one on rank k with a chance that goes with 1 / k^`zipf_exponent`.
        arrivals: `steady`: at fixed intervals; `burst`: `burst_size` at once, then a pause; `poisson`: independently
            of each other, as of many people, with exponential gaps.
        zipf_exponent: Above 0; the larger, the more the popular questions stand out.
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
    """A run before it begins.

    Attributes:
        questions: The set, each question once.
        order: For each question to ask its place in `questions`.
        due_seconds: For each question to ask when it is due, from the start, ascending.
        weights: For each place in `questions` its part in independent draws; None if they are not drawn so.
        mark: Makes every question a new one to the fleet; None: as they are.
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
        # In the context and not in the text: the model and the dashboard should see the question as it is.
        mark = f"(Question {index + 1} of run {self.mark}.)"
        return replace(question, context=f"{question.context}\n{mark}".lstrip())

    def identity(self, index: int) -> int:
        """Returns a number that two questions to ask have in common if they are the same to the fleet."""
        return self.order[index] if self.mark is None else index

    def predict(self, asked: int) -> Prediction:
        """Predicts the first `asked` questions."""
        if self.mark is not None:
            return prediction.each_once(asked, asked)
        if self.weights is None:
            return prediction.each_once(len(self.questions), asked)
        return prediction.drawn(self.weights, asked)


def make(questions: Sequence[Question], traffic: Traffic, seed: int, mark: str | None = None) -> Plan:
    """Plans a run. The same questions, traffic and seed give the same plan.

    Args:
        questions: Each of them once.
        traffic: What to plan.
        seed: Decides what is drawn: questions and times, each on its own.
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
    """Draws `count` of the numbers below `size` without replacement; when they are used up, they are shuffled again.

    The same size and seed give the same order, and a smaller count gives the beginning of what a larger one gives.

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
    Caching and Zipf-like Distributions, INFOCOM 1999). The ranks are dealt at random, but always the same way: a file
    may be sorted by topic.
    """
    weights = [rank**-exponent for rank in range(1, size + 1)]
    random.Random(RANKING_SEED).shuffle(weights)
    return weights


def due_seconds(traffic: Traffic, seed: int) -> list[float]:
    """Returns when the questions are due, in seconds from the start, ascending.

    Counted from the start and not from the question before, so that small delays do not add up. A burst that begins
    within the duration is sent whole.

    Raises:
        ValueError: The traffic has no end: a duration without an interval.
    """
    if traffic.count is None and not traffic.interval_seconds > 0:
        raise ValueError("a duration needs an interval above 0")
    times = _times(traffic, seed)
    if traffic.count is not None:
        return list(itertools.islice(times, traffic.count))
    # 49 times a 49th of a second is a little less than a second, and must not be within it.
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
            # A source of its own: the same seed asks the same questions, whenever they come.
            chance = random.Random(f"{seed} arrivals")
            return itertools.accumulate(chance.expovariate(1 / interval) for _ in itertools.count())


def most_in_flight(traffic: Traffic, reply_seconds: float) -> int:
    """Returns how many questions can be without a reply at the same time if none takes longer than `reply_seconds`.

    That is the mean number that arrive in that time (Little: A Proof for the Queuing Formula L = λW, Operations
    Research 9, 1961), three standard deviations more for independent arrivals, or one burst more.
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
