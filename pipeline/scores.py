"""Reads scores from replies of score-validator. Pure."""

from typing import Any, get_args

from pipeline.messages import MAX_REFERENCES, ScoreWarning, UnscorableReason
from pipeline.routing import BertScore, NoScore

MAX_ROUNDING = 1e-3
"""Rounding error: equal texts may score this much above 1. Numbers further outside are invalid."""


def bert_score(answer: Any) -> BertScore | NoScore:
    """Reads one score from a reply of the scorer, or why there is none.

    Raises:
        ValueError: A score is not from -1 to 1, or the index of a reference is too high.
        KeyError: A field is missing.
        TypeError: It is not an object, or a field has another type.
    """
    if not isinstance(answer["scorer"], str):
        raise TypeError(f"scorer is {answer['scorer']!r:.50}")
    warnings: tuple[ScoreWarning, ...] = tuple(
        each for each in answer.get("warnings", ()) if each in get_args(ScoreWarning)
    )
    if answer.get("unscorable") is not None:
        if answer["unscorable"] not in get_args(UnscorableReason):
            raise ValueError(f"unscorable is {answer['unscorable']!r:.50}")
        only_answer = "reference" not in answer.get("unscorable_fields", ())
        return NoScore(answer["unscorable"], only_answer, warnings)
    return BertScore(
        score=_cosine(answer["score"]),
        precision=_cosine(answer["precision"]),
        recall=_cosine(answer["recall"]),
        f1=_cosine(answer["f1"]),
        scorer=answer["scorer"],
        reference_index=_index(answer.get("reference_index")),
        warnings=warnings,
    )


def _cosine(value: Any) -> float:
    """Returns a number from -1 to 1; NaN is invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.50} is not a number")
    if not -1 - MAX_ROUNDING <= value <= 1 + MAX_ROUNDING:
        raise ValueError(f"{value!r:.50} is not from -1 to 1")
    return max(-1.0, min(1.0, float(value)))


def _index(value: Any) -> int | None:
    """Returns the index of a reference; None if the scorer is of an earlier release, whose replies have none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.50} is not an index")
    if not 0 <= value <= MAX_REFERENCES:
        raise ValueError(f"{value!r:.50} is not an index of a reference")
    return value
