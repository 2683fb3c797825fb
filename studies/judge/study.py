"""Computes how often an accepted answer is right, with and without a judge.

The threshold of the judge is chosen with one part of the questions and measured with the other part.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from studies.answers.labelled import READINGS, Label, LabelledAnswer, kappa
from studies.judge.results import Result, key
from studies.reporting.files import write
from studies.reporting.plots import BAD, GOOD, GREY, panels, png
from studies.reporting.statistics import RESAMPLES, Interval, auc, bootstrap, percentile, roc
from studies.reporting.tables import short, table
from studies.reporting.templates import render

THRESHOLDS = tuple(float(each) for each in np.round(np.arange(0.05, 1.0, 0.05), 2))
NO_SCORE, NO_JUDGE = -1.0, 0.0
"""Thresholds that each answer reaches."""


class Judged(NamedTuple):
    """A labelled answer with its score and judgement."""

    answer: LabelledAnswer
    result: Result

    @property
    def probability(self) -> float:
        """Probability that it is right; 0 if the judge refused."""
        return self.result.probability or 0.0

    def accepted(self, threshold: float, judge_threshold: float) -> bool:
        """Returns whether it is accepted with these thresholds."""
        score = NO_SCORE if self.result.score is None else self.result.score
        return score >= threshold and self.probability >= judge_threshold


class Gate(NamedTuple):
    """A gate with its name."""

    name: str
    threshold: float
    judge_threshold: float


class Outcome(NamedTuple):
    """What a gate does with the answers to some questions.

    Attributes:
        questions: Number of questions.
        accepted: Questions with an accepted answer.
        labels: How many of the accepted answers have each label.
        right: Share of the accepted answers that are right.
        not_wrong: Share of the accepted answers that are right or partly right.
        kept: Share of all right answers that the gate accepts.
        answers: Mean number of answers that a question needs.
    """

    questions: int
    accepted: int
    labels: Mapping[Label, int]
    right: Interval
    not_wrong: Interval
    kept: Interval
    answers: float


def joined(answers: Sequence[LabelledAnswer], results: Sequence[Result]) -> list[Judged]:
    """Joins labels and results; answers without a result are left out."""
    found = {key(each): each for each in results}
    return [Judged(each, found[key(each)]) for each in answers if key(each) in found]


def by_question(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Groups answers by question, in the order of their attempts."""
    grouped: dict[str, list[Judged]] = {}
    for each in sorted(judged, key=lambda each: each.answer.attempt):
        grouped.setdefault(each.answer.question_id, []).append(each)
    return grouped


def first_accepted(attempts: Sequence[Judged], gate: Gate) -> Judged | None:
    """Returns the answer that the fleet accepts; None if it rejects all attempts."""
    return next((each for each in attempts if each.accepted(gate.threshold, gate.judge_threshold)), None)


def outcome(judged: Sequence[Judged], gate: Gate) -> Outcome:
    """Returns what a gate does; the attempts of a question end with the first accepted one, as in the fleet."""
    grouped = by_question(judged)
    accepted = {question: first_accepted(attempts, gate) for question, attempts in grouped.items()}
    labels = Counter(each.answer.label for each in accepted.values() if each)

    def share(labels: set[str]) -> Interval:
        def figure(questions: Sequence[str]) -> float:
            kept = [each for question in questions if (each := accepted[question])]
            return float(np.mean([each.answer.label in labels for each in kept])) if kept else 0.0

        return bootstrap(list(grouped), figure)

    def recall(questions: Sequence[str]) -> float:
        right = [each for question in questions for each in grouped[question] if each.answer.label == "right"]
        return float(np.mean([each.accepted(gate.threshold, gate.judge_threshold) for each in right])) if right else 0.0

    needed = [
        each.answer.attempt if (each := accepted[question]) else len(attempts) for question, attempts in grouped.items()
    ]
    return Outcome(
        questions=len(grouped),
        accepted=sum(labels.values()),
        labels=labels,
        right=share({"right"}),
        not_wrong=share({"right", "partly"}),
        kept=bootstrap(list(grouped), recall),
        answers=float(np.mean(needed)),
    )


def chosen_threshold(judged: Sequence[Judged], threshold: float) -> float:
    """Returns the threshold that best separates wrong answers from right and partly right ones, all above the score's.

    The measure is Youden's index: the share of the former that pass less the share of the latter (Youden, W. J. (1950).
    Index for rating diagnostic tests. Cancer 3(1)). The lowest of equal thresholds is returned.

    Raises:
        ValueError: No answer above the threshold is wrong, or all are.
    """
    above = [each for each in judged if each.accepted(threshold, NO_JUDGE)]
    good = np.array([each.probability for each in above if each.answer.label != "wrong"])
    wrong = np.array([each.probability for each in above if each.answer.label == "wrong"])
    if not len(good) or not len(wrong):
        raise ValueError("the answers above the threshold must have wrong ones and others among them")
    return max(THRESHOLDS, key=lambda each: (round(np.mean(good >= each) - np.mean(wrong >= each), 9), -each))


def separation(judged: Sequence[Judged], value: Callable[[Judged], float], higher: set[str]) -> Interval:
    """Returns the AUC of a value for answers with the labels `higher` against wrong ones."""
    grouped = by_question(judged)

    def figure(questions: Sequence[str]) -> float:
        drawn = [each for question in questions for each in grouped[question]]
        left = [value(each) for each in drawn if each.answer.label in higher]
        right = [value(each) for each in drawn if each.answer.label == "wrong"]
        return auc(left, right) if left and right else 0.5

    return bootstrap(list(grouped), figure)


def agreement(answers: Sequence[LabelledAnswer]) -> list[str]:
    """Returns the kappa of each pair of readers."""
    pairs = [(one, other) for one in range(len(READINGS)) for other in range(one + 1, len(READINGS))]
    readings = list(zip(*(answer.readings for answer in answers), strict=True))
    return [f"{kappa(readings[one], readings[other]):.2f}" for one, other in pairs]


def reliability(judged: Sequence[Judged], bins: int = 5) -> list[list[object]]:
    """Returns a row for each range of probabilities: answers, mean probability, shares of right and of not wrong."""
    rows: list[list[object]] = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            each for each in judged if low <= each.probability < high or (number == bins - 1 and each.probability == 1)
        ]
        if inside:
            rows.append(
                [
                    f"{low:.1f} to {high:.1f}",
                    len(inside),
                    f"{np.mean([each.probability for each in inside]):.2f}",
                    f"{np.mean([each.answer.label == 'right' for each in inside]):.2f}",
                    f"{np.mean([each.answer.label != 'wrong' for each in inside]):.2f}",
                ]
            )
    return rows


def curves(held: Mapping[str, Sequence[Judged]]) -> Figure:
    """Draws the ROC curves of score and judge for each model: right or partly right answers against wrong ones."""
    figure, axes = panels(len(held), (5.5 * len(held), 5))
    for axis, (model, judged) in zip(np.atleast_1d(axes), held.items(), strict=True):
        axis.set_aspect("equal")
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for name, value, colour in (("score", _score, BAD), ("judge", _probability, GOOD)):
            good = [value(each) for each in judged if each.answer.label != "wrong"]
            wrong = [value(each) for each in judged if each.answer.label == "wrong"]
            right, left = roc(good, wrong)
            axis.plot(right, left, color=colour, label=name)
        axis.set(title=model, xlabel="share of wrong answers that pass", ylabel="share of the others that pass")
        axis.legend(loc="lower right")
    return figure


def document(judged: Sequence[Judged], threshold: float, images: Path, day: date) -> str:
    """Draws the plot and returns the document.

    Args:
        judged: The judged answers of all models.
        threshold: `QUALITY_THRESHOLD`.
        images: Folder of the plot.
        day: Date of the run.

    Raises:
        ValueError: There are too few answers.
    """
    models = list(dict.fromkeys(each.answer.model for each in judged))
    of = {model: [each for each in judged if each.answer.model == model] for model in models}
    fit = {model: [each for each in of[model] if each.answer.part == "fit"] for model in models}
    held = {model: [each for each in of[model] if each.answer.part == "held"] for model in models}
    if not all(fit.values()) or not all(held.values()):
        raise ValueError("each model needs results in both parts")
    chosen = chosen_threshold([each for model in models for each in fit[model]], threshold)
    outcomes: list[list[object]] = []
    for model in models:
        for gate in (
            Gate("first answers, no gate", NO_SCORE, NO_JUDGE),
            Gate(f"score ≥ {threshold:g}", threshold, NO_JUDGE),
            Gate(f"score ≥ {threshold:g}, judge ≥ {chosen:g}", threshold, chosen),
        ):
            found = outcome(held[model], gate)
            outcomes.append(
                [
                    model,
                    gate.name,
                    f"{found.accepted} of {found.questions}",
                    *(found.labels.get(label, 0) for label in ("right", "partly", "wrong")),
                    found.right,
                    found.not_wrong,
                    found.kept,
                    short(found.answers),
                ]
            )
    write(images / "judge.png", png(curves(held)))
    seconds = [each.result.seconds for each in judged]
    return render(
        "judge/templates/judge-study.md.j2",
        resamples=RESAMPLES,
        day=day.isoformat(),
        judges=", ".join(sorted({each.result.judge for each in judged})),
        threshold=threshold,
        chosen=chosen,
        outcomes=table(
            (
                "model",
                "gate",
                "accepted",
                "right",
                "partly",
                "wrong",
                "P(right)",
                "P(right or partly)",
                "right ones kept",
                "answers",
            ),
            outcomes,
        ),
        separations=table(
            ("model", "part", "right against wrong: score", "judge", "right or partly against wrong: score", "judge"),
            [
                [
                    model,
                    name,
                    *(
                        separation(part[model], value, labels)
                        for labels in ({"right"}, {"right", "partly"})
                        for value in (_score, _probability)
                    ),
                ]
                for model in models
                for name, part in (("fit", fit), ("held", held))
            ],
        ),
        reliability=table(
            ("probability", "answers", "mean probability", "right", "right or partly"),
            reliability([each for model in models for each in held[model]]),
        ),
        kappas={model: ", ".join(agreement([each.answer for each in of[model]])) for model in models},
        counts={model: Counter(each.answer.label for each in of[model]) for model in models},
        median=short(percentile(seconds, 0.5)),
        p95=short(percentile(seconds, 0.95)),
        tokens=round(float(np.mean([each.result.tokens for each in judged]))),
    )


def _score(judged: Judged) -> float:
    return NO_SCORE if judged.result.score is None else judged.result.score


def _probability(judged: Judged) -> float:
    return judged.probability
