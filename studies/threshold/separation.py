"""Measures how well a score separates two labels, with intervals over the questions. Pure functions."""

from collections.abc import Mapping, Sequence

from studies.reporting.statistics import Interval, auc, bootstrap

ByQuestion = Mapping[str, Mapping[str, float]]
"""Scores by question and label; a question may lack a label."""


def separation(scores: ByQuestion, higher: str, lower: str) -> Interval:
    """Returns the AUC of one label against another, over the questions that have both."""
    questions = [question for question, labels in scores.items() if higher in labels and lower in labels]
    return bootstrap(questions, lambda drawn: _auc_of(scores, drawn, higher, lower))


def gain(scores: ByQuestion, other: ByQuestion, higher: str, lower: str) -> Interval:
    """Returns the difference of the AUCs of `scores` and `other`, on the same draws of questions."""
    questions = [question for question, labels in scores.items() if higher in labels and lower in labels]
    return bootstrap(
        questions,
        lambda drawn: _auc_of(scores, drawn, higher, lower) - _auc_of(other, drawn, higher, lower),
    )


def _auc_of(scores: ByQuestion, questions: Sequence[str], higher: str, lower: str) -> float:
    return auc([scores[each][higher] for each in questions], [scores[each][lower] for each in questions])
