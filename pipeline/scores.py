"""A score as score-validator sends it. Pure."""

from typing import Any

from pipeline.routing import BertScore

MAX_ROUNDING = 1e-3
"""Equal texts may score this much above 1; anything further out is no score."""


def bert_score(answer: Any) -> BertScore:
    """Reads one score of an answer of the scorer.

    Raises:
        ValueError: A number is not from -1 to 1.
        KeyError: A field is missing.
        TypeError: It is no object, or a field is of another type.
    """
    if not isinstance(answer["scorer"], str):
        raise TypeError(f"scorer is {answer['scorer']!r:.50}")
    return BertScore(
        score=_cosine(answer["score"]),
        precision=_cosine(answer["precision"]),
        recall=_cosine(answer["recall"]),
        f1=_cosine(answer["f1"]),
        scorer=answer["scorer"],
    )


def _cosine(value: Any) -> float:
    """Returns a number from -1 to 1; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.50} is not a number")
    if not -1 - MAX_ROUNDING <= value <= 1 + MAX_ROUNDING:
        raise ValueError(f"{value!r:.50} is not from -1 to 1")
    return max(-1.0, min(1.0, float(value)))
