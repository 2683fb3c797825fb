"""Measures what the score detects, and recommends a threshold: `python -m studies.threshold.study`.

Reads attempts of the model (JSON lines; `make study S=threshold` reads them from PostgreSQL), the labelled answers and
the question set; scores them with the encoder of the settings; writes `threshold-study.md`, its plots, and
`threshold-study.csv` with all variants of the score.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.settings import load
from score_validator.encoder import EMBEDDED_LAYER, embedded_folder
from score_validator.scorer import Scorer, TextPair
from score_validator.settings import ScorerSettings
from studies.reporting.files import write
from studies.reporting.plots import png
from studies.reporting.statistics import RESAMPLES, Interval, auc, bootstrap, spearman
from studies.reporting.tables import csv_of, table
from studies.reporting.templates import render
from studies.threshold import plots
from studies.threshold.questions import LABELLED_FILE, QUESTIONS_FILE, Labelled, read_labelled, read_references
from studies.threshold.regeneration import Attempt, Recommendation, at_threshold, best_of, complete, recommend
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
from studies.threshold.variants import COSINE, variants

ATTEMPTS_FILE = Path("studies/answers/data/smollm2-135m-instruct.jsonl")
ATTEMPTS = 3
BUDGET = 2.0
"""Mean number of calls of the model per question that the recommended threshold may cost."""

OLD_THRESHOLD = 0.85
"""The threshold of the demonstration, for raw F1."""

SHUFFLES = 10
SEED = 1
HARD = "wrong"
COMPARED = ("wrong", "partly", "off_topic")
GOALS = {"wrong": 0.80, "off_topic": 0.99}
"""Minimum AUC of good answers against these labels, to call them separated."""

EMBEDDED = "all-MiniLM-L6-v2"
SERVICE_VARIANT = f"layer {EMBEDDED_LAYER} idf F1"
"""The variant of the embedded encoder that the service uses."""

BEST = 10
"""Variants of each encoder that are in the document's table."""


def read_attempts(lines: Iterable[str]) -> list[Attempt]:
    """Reads attempts, one JSON object a line; those without a reference are left out.

    Raises:
        ValueError: A line is not an attempt.
    """
    attempts = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if row["original_answer"]:
                attempts.append(
                    Attempt(
                        row["question_id"], row["attempt"], row["llm_response"], row["original_answer"], row["model"]
                    )
                )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is not an attempt: {error!r}") from None
    return attempts


def shuffled(attempts: Sequence[Attempt], times: int, seed: int) -> list[TextPair]:
    """Pairs each answer with references of other questions."""
    chance = random.Random(seed)
    pairs = []
    for attempt in attempts:
        others = [other.reference for other in attempts if other.question_id != attempt.question_id]
        pairs += [(attempt.answer, reference) for reference in chance.sample(others, min(times, len(others)))]
    return pairs


class Variant(NamedTuple):
    """How well one variant of the score separates answers.

    Attributes:
        name: Name of the variant.
        hard: AUC of good answers against wrong ones.
        gain: Gain of that AUC over plain F1 of the encoder's last layer.
        others: AUC of good answers against the other labels that are compared.
        own: AUC of the model's first answers against unrelated pairs.
    """

    name: str
    hard: Interval
    gain: Interval
    others: tuple[float, ...]
    own: float


class Evaluation(NamedTuple):
    """All variants with one encoder.

    Attributes:
        last: Name of plain F1 of its last layer.
        ways: The variants, the best in the hard case first.
    """

    last: str
    ways: list[Variant]

    def table(self) -> str:
        """Returns the best variants and those to compare them with, as a table in Markdown."""
        compared = (SERVICE_VARIANT, self.last, COSINE)
        return table(
            ("way", "good/wrong", f"gain over {self.last}", "good/partly", "good/off topic", "model's answers/chance"),
            [
                [way.name, way.hard, way.gain, *(f"{each:.3f}" for each in way.others), f"{way.own:.3f}"]
                for place, way in enumerate(self.ways)
                if place < BEST or way.name in compared
            ],
        )


def all_variants(evaluations: Mapping[str, Evaluation]) -> list[dict[str, str]]:
    """Returns all variants of all encoders as rows of a CSV file."""
    return [
        {"encoder": encoder, "way": way.name}
        | {
            name: f"{value:.3f}"
            for name, value in (
                *zip(("good/wrong", "good/wrong low", "good/wrong high"), way.hard, strict=True),
                *zip(("gain", "gain low", "gain high"), way.gain, strict=True),
                *zip(("good/partly", "good/off topic"), way.others, strict=True),
                ("model's answers/chance", way.own),
            )
        }
        for encoder, evaluation in evaluations.items()
        for way in evaluation.ways
    ]


def evaluate_variants(
    folder: Path, answers: Sequence[Labelled], first_attempts: Sequence[Attempt], references: Sequence[str]
) -> Evaluation:
    """Scores the compared labels and the model's first answers with all variants of one encoder."""
    compared = [answer for answer in answers if answer.label in ("good", *COMPARED)]
    pairs = [(answer.answer, answer.reference) for answer in compared]
    own = [(attempt.answer, attempt.reference) for attempt in first_attempts if attempt.answer.strip()]
    chance = [pair for pair in shuffled(first_attempts, 3, SEED) if pair[0].strip()]
    found = variants(folder, [*pairs, *own, *chance], references)
    labelled = {name: by_question(compared, values[: len(pairs)]) for name, values in found.items()}
    last = max(found, key=lambda name: int(name.split()[1]) if name.endswith("F1") and name.count(" ") == 2 else -1)
    ways = []
    for name, values in found.items():
        scores = labelled[name]
        ways.append(
            Variant(
                name,
                separation(scores, "good", HARD),
                gain(scores, labelled[last], "good", HARD),
                tuple(
                    auc([own["good"] for own in scores.values()], [own[label] for own in scores.values()])
                    for label in COMPARED[1:]
                ),
                auc(values[len(pairs) : len(pairs) + len(own)], values[len(pairs) + len(own) :]),
            )
        )
    return Evaluation(last, sorted(ways, key=lambda way: way.hard, reverse=True))


def without_own_weights(folder: Path, answers: Sequence[Labelled], references: Sequence[str]) -> Interval:
    """Returns the AUC of the hard case with idf weights from the questions that have no labelled answers."""
    hard = [answer for answer in answers if answer.label in ("good", HARD)]
    others = sorted(set(references) - {answer.reference for answer in answers})
    scores = variants(folder, [(answer.answer, answer.reference) for answer in hard], others)
    return separation(by_question(hard, scores[SERVICE_VARIANT]), "good", HARD)


def length_effect(answers: Sequence[Labelled], scores: Sequence[float], label: str) -> Interval:
    """Returns the rank correlation of score and relative length (words per word of the reference) of one label."""
    own = {
        str(place): (len(answer.answer.split()) / len(answer.reference.split()), score)
        for place, (answer, score) in enumerate(zip(answers, scores, strict=True))
        if answer.label == label
    }
    return bootstrap(
        list(own), lambda drawn: spearman([own[each][0] for each in drawn], [own[each][1] for each in drawn])
    )


_STEPS = (
    "threshold",
    "good pass",
    "partly right pass",
    "wrong pass",
    "first answers of the model pass",
    "questions accepted",
    "calls for a question",
    "mean score kept",
    "gain",
    "further calls for a point",
)


def _steps(
    advice: Recommendation, scores: Mapping[str, Sequence[float]], attempt_series: Sequence[Sequence[float]]
) -> list[Sequence[object]]:
    steps = sorted({*(step / 20 for step in range(2, 13)), advice.threshold, round(advice.ceiling, 2)})
    rows: list[Sequence[object]] = []
    for step in steps:
        row = at_threshold(attempt_series, step)
        passing = (f"{np.mean(np.array(scores[label]) >= step):.0%}" for label in ("good", "partly", "wrong"))
        cost = "none" if row.gain <= 0 else f"{row.calls_for_a_point:.2f}"
        mark = "**" if step == advice.threshold else ""
        rows.append(
            [
                f"{mark}{step:.2f}{mark}",
                *passing,
                f"{row.first:.0%}",
                f"{row.accepted:.0%}",
                f"{row.calls:.2f}",
                f"{row.kept:.3f}",
                f"{row.gain:+.3f}",
                cost,
            ]
        )
    return rows


def document(
    scorer: Scorer,
    answers: Sequence[Labelled],
    attempts: Sequence[Attempt],
    origin: str,
    evaluations: Mapping[str, Evaluation],
    held_out: Interval,
    images: Path,
    day: date,
) -> str:
    """Scores, draws the plots, and returns the document.

    Args:
        scorer: The service's scorer.
        answers: The labelled answers.
        attempts: The attempts of the model.
        origin: Origin of the attempts, for the reader.
        evaluations: Evaluations of all variants, by name of the encoder.
        held_out: AUC of the hard case with idf weights from other references than those of the labelled answers.
        images: Folder of the plots.
        day: Date of the run.

    Raises:
        ValueError: No question has all attempts.
    """
    service = Scores(scorer)
    scores = service.of([(answer.answer, answer.reference) for answer in answers])
    labels, questions = by_label(answers, scores), by_question(answers, scores)
    words = by_question(answers, [float(len(answer.answer.split())) for answer in answers])
    found = service.of([(attempt.answer, attempt.reference) for attempt in attempts])
    attempt_series = complete(
        ((each.question_id, each.number, score) for each, score in zip(attempts, found, strict=True)), ATTEMPTS
    )
    if not attempt_series:
        raise ValueError(f"no question has {ATTEMPTS} attempts: let the fleet ask with QUALITY_THRESHOLD=1")
    first_attempts = [attempt for attempt in attempts if attempt.number == 1]
    first = [score for attempt, score in zip(attempts, found, strict=True) if attempt.number == 1]
    chance = service.of(shuffled(first_attempts, SHUFFLES, SEED))
    advice = recommend(chance, labels["good"], attempt_series, BUDGET)

    kinds = {"unrelated pairs": chance, "first answers of the model": first, "good answers": labels["good"]}
    # Includes the recommended threshold, which may lie between the steps.
    steps = sorted({*(step / 50 for step in range(36)), advice.threshold})
    pictures = {
        "distribution": plots.distribution(kinds, advice.threshold),
        "labels": plots.labels(labels, advice.threshold),
        "roc": plots.separation(labels),
        "cost": plots.cost([at_threshold(attempt_series, step) for step in steps], advice.threshold),
    }
    for name, figure in pictures.items():
        write(images / f"study-{name}.png", png(figure))

    against = {label: separation(questions, "good", label) for label in COMPARED}
    separations: list[list[object]] = [
        [f"good against {label.replace('_', ' ')}", interval] for label, interval in against.items()
    ]
    separations += [
        ["good against gibberish and empty", f"{auc(labels['good'], labels['gibberish'] + labels['empty']):.3f}"],
        ["partly right against wrong", separation(questions, "partly", "wrong")],
        ["first answers of the model against unrelated pairs", f"{auc(first, chance):.3f}"],
    ]
    old = (OLD_THRESHOLD - service.raw(0)) / (1 - service.raw(0))

    def reaching(values: Sequence[float], threshold: float) -> float:
        return float(np.mean(np.array(values) >= threshold))

    return render(
        "threshold/templates/threshold-study.md.j2",
        advice=advice,
        against=against,
        goals=GOALS,
        scorer=scorer.name,
        baseline=service.raw(0),
        labelled=len(answers),
        questions=len(questions),
        attempts=len(attempts),
        models=", ".join(sorted({attempt.model for attempt in attempts})),
        asked=len({each.question_id for each in attempts}),
        complete=len(attempt_series),
        most_attempts=ATTEMPTS,
        origin=origin,
        shuffles=SHUFFLES,
        chance=len(chance),
        day=day.isoformat(),
        distribution=table(
            PERCENTILES,
            [
                percentiles("unrelated pairs", chance),
                percentiles("first answers of the model", first),
                *(percentiles(label.replace("_", " "), values) for label, values in labels.items()),
            ],
        ),
        separations=table(("", "AUC"), separations),
        words_alone={label.replace("_", " "): separation(words, "good", label) for label in COMPARED},
        lengths={label: length_effect(answers, scores, label) for label in ("good", "wrong")},
        best_of_two=best_of(attempt_series, 2),
        best_of_all=best_of(attempt_series, ATTEMPTS),
        always=at_threshold(attempt_series, 1.01),
        steps=table(_STEPS, _steps(advice, labels, attempt_series)),
        budget=BUDGET,
        here=at_threshold(attempt_series, advice.threshold),
        old=OLD_THRESHOLD,
        old_calibrated=old,
        old_good=reaching(labels["good"], old),
        old_first=reaching(first, old),
        old_taken_for_calibrated=reaching(labels["good"], OLD_THRESHOLD),
        resamples=RESAMPLES,
        best=BEST,
        service_way=SERVICE_VARIANT,
        ranks={
            name: (place, len(each.ways), each.ways[place - 1], each.last)
            for name, each in evaluations.items()
            for place in [1 + [way.name for way in each.ways].index(SERVICE_VARIANT)]
            if name == EMBEDDED
        },
        held_out=held_out,
        evaluations={name: each.table() for name, each in evaluations.items()},
    )


def main() -> int:
    """Writes the document and its plots; returns 2 if input or encoder cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m studies.threshold.study", description=__doc__)
    parser.add_argument("--attempts", type=Path, default=ATTEMPTS_FILE, help="attempts of the model, JSON lines")
    parser.add_argument(
        "--origin",
        default="asked outside the fleet with its model, prompts and settings (`studies/answers/data/README.md`)",
        help="origin of the attempts, for the document",
    )
    parser.add_argument("--labelled", type=Path, default=LABELLED_FILE, help="CSV of labelled answers")
    parser.add_argument("--questions", type=Path, default=QUESTIONS_FILE, help="CSV of the question set")
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a further encoder for the table of variants; may be repeated",
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the document and of images/")
    options = parser.parse_args()

    settings = load(ScorerSettings)
    path = options.docs / "threshold-study.md"

    def text() -> str:
        answers = read_labelled(options.labelled)
        with options.attempts.open(encoding="utf-8") as lines:
            attempts = read_attempts(lines)
        references = read_references(options.questions)
        scorer = calibrated_scorer(settings)
        encoders = {EMBEDDED: embedded_folder()}
        encoders |= {name: Path(folder) for name, _, folder in (each.partition("=") for each in options.encoder)}
        import torch

        torch.set_num_threads(settings.scorer_threads)
        first_attempts = [attempt for attempt in attempts if attempt.number == 1]
        evaluations = {
            name: evaluate_variants(folder, answers, first_attempts, references) for name, folder in encoders.items()
        }
        write(path.with_suffix(".csv"), csv_of(all_variants(evaluations)).encode())
        held_out = without_own_weights(encoders[EMBEDDED], answers, references)
        today = datetime.now(UTC).date()
        return document(
            scorer, answers, attempts, options.origin, evaluations, held_out, options.docs / "images", today
        )

    return write_document(path, text)


if __name__ == "__main__":
    sys.exit(main())
