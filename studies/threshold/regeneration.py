"""Gain and cost of regeneration, from questions with several scored attempts. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from studies.reporting.statistics import Interval, bootstrap


class Attempt(NamedTuple):
    """One scored answer of the model.

    Attributes:
        question_id: Id of its question.
        number: 1 for the first answer.
        answer: Its text.
        reference: The reference answer.
        model: The model that gave it.
    """

    question_id: str
    number: int
    answer: str
    reference: str
    model: str


class AtThreshold(NamedTuple):
    """Results at a threshold, as means over questions.

    Attributes:
        threshold: Score at or above which an answer is accepted.
        first: Share of first answers that pass.
        accepted: Share of questions with an answer that passes.
        calls: Calls of the model per question.
        kept: Score of the kept answer.
        gain: Difference of that score to the first answer's.
    """

    threshold: float
    first: float
    accepted: float
    calls: float
    kept: float
    gain: float

    @property
    def calls_for_a_point(self) -> float:
        """Further calls per 0.01 of mean score; infinite without a gain."""
        return (self.calls - 1) / (self.gain * 100) if self.gain > 0 else float("inf")


def complete(scores: Iterable[tuple[str, int, float]], attempts: int) -> list[list[float]]:
    """Returns the scores of the questions that have all attempts, in order.

    A fleet regenerates only after a low score, so its questions with all attempts are biased towards bad ones. A
    threshold of 1 avoids that bias.
    """
    by_question: dict[str, dict[int, float]] = {}
    for question, number, score in scores:
        by_question.setdefault(question, {})[number] = score
    wanted = range(1, attempts + 1)
    return [[own[number] for number in wanted] for own in by_question.values() if all(n in own for n in wanted)]


def at_threshold(questions: Sequence[Sequence[float]], threshold: float) -> AtThreshold:
    """Simulates the loop of the fleet: the first answer that passes is kept, otherwise the best one.

    Args:
        questions: Scores of the attempts of each question.
        threshold: Score at or above which an answer passes.
    """
    calls, kept = [], []
    for scores in questions:
        passed = next((number for number, score in enumerate(scores, 1) if score >= threshold), None)
        calls.append(passed or len(scores))
        kept.append(scores[passed - 1] if passed else max(scores))
    first = np.array([scores[0] for scores in questions])
    return AtThreshold(
        threshold,
        float((first >= threshold).mean()),
        float((np.array(kept) >= threshold).mean()),
        float(np.mean(calls)),
        float(np.mean(kept)),
        float(np.mean(kept) - first.mean()),
    )


def best_of(questions: Sequence[Sequence[float]], count: int) -> Interval:
    """Returns the gain of the best of the first `count` answers over the first, with its 95 % interval."""
    gains = {str(index): max(scores[:count]) - scores[0] for index, scores in enumerate(questions)}
    return bootstrap(list(gains), lambda drawn: float(np.mean([gains[each] for each in drawn])))


class Recommendation(NamedTuple):
    """A threshold and its bounds.

    Attributes:
        threshold: The recommended one, to two places.
        floor: The 99th percentile of unrelated pairs: below it, chance passes.
        ceiling: The 5th percentile of good answers: above it, right answers are rejected.
    """

    threshold: float
    floor: float
    ceiling: float


def recommend(
    unrelated: Sequence[float], good: Sequence[float], questions: Sequence[Sequence[float]], budget: float
) -> Recommendation:
    """Chooses the highest threshold that good answers pass within the budget of calls.

    Args:
        unrelated: Scores of unrelated pairs.
        good: Scores of good answers.
        questions: Scores of the attempts of each question.
        budget: Mean number of calls of the model per question.
    """
    floor, ceiling = float(np.percentile(unrelated, 99)), float(np.percentile(good, 5))
    steps = [step / 100 for step in range(int(np.ceil(floor * 100)), int(np.floor(ceiling * 100)) + 1)]
    paid = [step for step in steps if at_threshold(questions, step).calls <= budget]
    return Recommendation(paid[-1] if paid else steps[0], floor, ceiling)
