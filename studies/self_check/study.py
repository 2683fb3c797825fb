"""Measures what agreement with further answers detects without a reference: `python -m studies.self_check.study`.

The idea is SelfCheckGPT's (Manakul, Liusie and Gales, EMNLP 2023, arXiv:2303.08896): a model that knows the answer
repeats it, and a model that guesses gives different answers. Reads the labelled answers and the model's samples for the
same questions, scores each answer against each sample as the fleet does, and writes `self-check-study.md` and its plot.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.settings import load
from score_validator.scorer import TextPair
from score_validator.settings import ScorerSettings
from studies.reporting.files import write
from studies.reporting.plots import png
from studies.reporting.statistics import RESAMPLES, Interval, auc, bootstrap, spearman
from studies.reporting.tables import table
from studies.reporting.templates import render
from studies.self_check import plots
from studies.threshold.questions import LABELLED_FILE, Labelled, read_labelled
from studies.threshold.regeneration import Recommendation
from studies.threshold.scores import (
    PERCENTILES,
    Scores,
    by_label,
    by_question,
    calibrated_scorer,
    percentiles,
    write_document,
)
from studies.threshold.separation import gain, separation
from studies.threshold.study import COMPARED, HARD, SEED, SHUFFLES

SAMPLES_FILE = Path("studies/self_check/data/samples.jsonl")


class Sampled(NamedTuple):
    """A question that the model was asked several times.

    Attributes:
        question: Its text.
        reference: Its reference answer, which only the study uses.
        answer: The first answer.
        samples: Further answers to the same prompt.
        model: The model that gave the answers.
    """

    question: str
    reference: str
    answer: str
    samples: tuple[str, ...]
    model: str


def read_samples(lines: Iterable[str]) -> list[Sampled]:
    """Reads answers and samples, one JSON object a line.

    Raises:
        ValueError: A line is invalid.
    """
    found = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            texts = (row["question_text"], row["original_answer"], row["llm_response"])
            found.append(Sampled(*texts, tuple(row["samples"]), row["model"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} has no samples: {error!r}") from None
    return found


def agreements(scores: Scores, asked: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    """Returns the mean score of each answer against its samples, as the fleet computes it."""
    pairs: list[TextPair] = [(answer, sample) for answer, samples in asked for sample in samples]
    scored = iter(scores.of(pairs))
    return [float(np.mean([next(scored) for _ in samples])) for _, samples in asked]


def unrelated_samples(sampled: Sequence[Sampled], times: int, seed: int) -> list[tuple[str, Sequence[str]]]:
    """Pairs each first answer with the samples of other questions."""
    chance = random.Random(seed)
    return [
        (each.answer, other.samples)
        for each in sampled
        for other in chance.sample([other for other in sampled if other is not each], min(times, len(sampled) - 1))
    ]


def advise(chance: Sequence[float], good: Sequence[float], hard: Interval) -> Recommendation:
    """Chooses a threshold that chance does not pass; it is higher only if more agreement means better answers.

    Args:
        chance: Agreement with samples of other questions.
        good: Agreement of good answers.
        hard: AUC of good answers against wrong ones.
    """
    floor, ceiling = float(np.percentile(chance, 99)), float(np.percentile(good, 5))
    chosen = max(floor, ceiling) if hard.low > 0.5 else floor
    return Recommendation(ceil(chosen * 100) / 100, floor, ceiling)


def verdict(hard: Interval) -> str:
    """Returns the meaning of an AUC of good against wrong answers, as a sentence for users."""
    if hard.low > 0.5:
        return "a hint, no proof."
    does = "does not know what is right" if hard.high >= 0.5 else "**prefers the wrong ones**"
    return f"it {does}. It keeps out what has nothing to do with the question, and no more."


def document(
    scores: Scores,
    name: str,
    answers: Sequence[Labelled],
    sampled: Sequence[Sampled],
    threshold: float,
    images: Path,
    day: date,
) -> str:
    """Scores, draws the plot, and returns the document.

    Args:
        scores: Scores of the service's scorer.
        name: Name of that scorer.
        answers: The labelled answers; those to questions without samples are left out.
        sampled: First answers and samples of the model.
        threshold: Threshold for answers with a reference, for comparison.
        images: Folder of the plot.
        day: Date of the run.

    Raises:
        ValueError: Too few of the labelled questions have samples.
    """
    samples_of: Mapping[str, tuple[str, ...]] = {each.question: each.samples for each in sampled}
    answers = [answer for answer in answers if answer.question in samples_of]
    if len(samples_of) < 2 or not answers:
        raise ValueError("too few of the labelled questions have samples")
    agreement = agreements(scores, [(answer.answer, samples_of[answer.question]) for answer in answers])
    labels, agreeing = by_label(answers, agreement), by_question(answers, agreement)
    referred = by_question(answers, scores.of([(answer.answer, answer.reference) for answer in answers]))
    own = agreements(scores, [(each.answer, each.samples) for each in sampled])
    reference = scores.of([(each.answer, each.reference) for each in sampled])
    chance = agreements(scores, unrelated_samples(sampled, SHUFFLES, SEED))
    hard = separation(agreeing, "good", HARD)
    advice = advise(chance, labels["good"], hard)
    places = [str(place) for place in range(len(own))]
    correlation = bootstrap(
        places, lambda drawn: spearman([own[int(each)] for each in drawn], [reference[int(each)] for each in drawn])
    )
    passing = [agreement for agreement, score in zip(own, reference, strict=True) if score >= threshold]
    failing = [agreement for agreement, score in zip(own, reference, strict=True) if score < threshold]

    write(images / "self-check.png", png(plots.agreement(labels, chance, own, reference, advice.threshold)))
    return render(
        "self_check/templates/self-check-study.md.j2",
        resamples=RESAMPLES,
        advice=advice,
        hard=hard,
        verdict=verdict(hard),
        scorer=name,
        counts=" or ".join(map(str, sorted({len(each.samples) for each in sampled}))),
        models=", ".join(sorted({each.model for each in sampled})),
        questions=len(sampled),
        answers=len(answers),
        others=min(SHUFFLES, len(sampled) - 1),
        chance=len(chance),
        day=day.isoformat(),
        distribution=table(
            PERCENTILES,
            [
                percentiles("first answers against samples of other questions", chance),
                percentiles("first answers against their own samples", own),
                percentiles("the same first answers against the reference", reference),
                *(percentiles(label.replace("_", " "), values) for label, values in labels.items()),
            ],
        ),
        separations=table(
            ("", "AUC of agreement", "AUC of the score against the reference", "difference"),
            [
                [
                    f"good against {label.replace('_', ' ')}",
                    separation(agreeing, "good", label),
                    separation(referred, "good", label),
                    gain(agreeing, referred, "good", label),
                ]
                for label in COMPARED
            ],
        ),
        correlation=correlation,
        threshold=threshold,
        passing=len(passing),
        failing=len(failing),
        predictor=auc(passing, failing) if passing and failing else None,
        refused=float(np.mean(np.array(own) < advice.threshold)),
    )


def main() -> int:
    """Writes the document and its plot; returns 2 if input or encoder cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m studies.self_check.study", description=__doc__)
    parser.add_argument("--samples", type=Path, default=SAMPLES_FILE, help="answers and samples, JSON lines")
    parser.add_argument("--labelled", type=Path, default=LABELLED_FILE, help="CSV of labelled answers")
    parser.add_argument("--threshold", type=float, default=0.32, help="QUALITY_THRESHOLD to compare with")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the document and of images/")
    options = parser.parse_args()

    settings = load(ScorerSettings)

    def text() -> str:
        answers = read_labelled(options.labelled)
        with options.samples.open(encoding="utf-8") as lines:
            sampled = read_samples(lines)
        scorer, today = calibrated_scorer(settings), datetime.now(UTC).date()
        images = options.docs / "images"
        return document(Scores(scorer), scorer.name, answers, sampled, options.threshold, images, today)

    return write_document(options.docs / "self-check-study.md", text)


if __name__ == "__main__":
    sys.exit(main())
