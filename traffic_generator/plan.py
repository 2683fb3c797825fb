"""Which questions are asked, in which order, and when: values only."""

import random
from collections.abc import Sequence

from traffic_generator.dataset import Question


def choose(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Draws `count` questions without replacement; when the set is used up, it is shuffled again.

    The same set and seed give the same questions in the same order, and a smaller count gives the beginning of what a
    larger one gives.

    Raises:
        ValueError: There is no question to choose from, or `count` is negative.
    """
    if not questions:
        raise ValueError("no question to choose from")
    if count < 0:
        raise ValueError(f"count is negative: {count}")
    order = random.Random(seed)
    chosen: list[Question] = []
    while len(chosen) < count:
        chosen += order.sample(questions, len(questions))
    return chosen[:count]


def due_at(start: float, index: int, interval_seconds: float) -> float:
    """Returns when question `index` (from 0) is due, in seconds on the clock of `start`.

    Counted from the start and not from the question before, so that small delays do not add up.
    """
    return start + index * interval_seconds
