"""Scores answers as the service does, groups the scores, and writes the studies' documents."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.settings import EXIT_USAGE
from score_validator.calibration import calibrated
from score_validator.encoder import EncoderError
from score_validator.scorer import EMPTY_ANSWER, Scored, Scorer, TextPair, Unscorable, load_scorer
from score_validator.settings import ScorerSettings
from studies.reporting.files import write
from studies.threshold.questions import LABELS, Labelled

BATCH = 256

PERCENTILES = ("answers", "number", "mean", "5 %", "25 %", "median", "75 %", "95 %", "highest")
"""Header of a table of `percentiles`."""


def score_all(scorer: Scorer, pairs: Sequence[TextPair]) -> list[Scored]:
    """Scores pairs that all have a score, in batches."""
    scores = []
    for start in range(0, len(pairs), BATCH):
        for result in scorer.score(pairs[start : start + BATCH]):
            if isinstance(result, Unscorable):
                raise ValueError(f"the encoder cannot read {' and '.join(result.fields)}: {result.reason}")
            if not isinstance(result, Scored):
                raise result
            scores.append(result)
    return scores


class Scores:
    """Calibrated scores of one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        """Takes a scorer with a baseline."""
        self._scorer = scorer
        self._baseline = scorer.baseline or 0.0

    def of(self, pairs: Sequence[TextPair]) -> list[float]:
        """Scores pairs; blank answers are scored as by the service."""
        asked = [pair for pair in pairs if pair[0].strip()]
        scored = iter(score_all(self._scorer, asked))
        raw = [next(scored) if candidate.strip() else EMPTY_ANSWER for candidate, _ in pairs]
        return [calibrated(each.f1, self._baseline) for each in raw]

    def raw(self, score: float) -> float:
        """Returns the raw F1 of a calibrated score."""
        return self._baseline + score * (1 - self._baseline)


def by_question(answers: Sequence[Labelled], scores: Sequence[float]) -> dict[str, dict[str, float]]:
    """Groups scores by question and label."""
    grouped: dict[str, dict[str, float]] = {}
    for answer, score in zip(answers, scores, strict=True):
        grouped.setdefault(answer.question, {})[answer.label] = score
    return grouped


def by_label(answers: Sequence[Labelled], scores: Sequence[float]) -> dict[str, list[float]]:
    """Groups scores by label."""
    grouped: dict[str, list[float]] = {label: [] for label in LABELS}
    for answer, score in zip(answers, scores, strict=True):
        grouped[answer.label].append(score)
    return {label: values for label, values in grouped.items() if values}


def percentiles(name: str, values: Sequence[float]) -> list[object]:
    """Returns a row of a table: name, number, mean and percentiles."""
    shown = (f"{each:.2f}" for each in np.percentile(values, [5, 25, 50, 75, 95]))
    return [name, len(values), f"{np.mean(values):.3f}", *shown, f"{max(values):.2f}"]


def calibrated_scorer(settings: ScorerSettings) -> Scorer:
    """Loads the scorer of the settings.

    Raises:
        EncoderError: Its encoder cannot be loaded.
        ValueError: It has no baseline.
    """
    scorer = load_scorer(settings)
    if scorer.baseline is None:
        raise ValueError(f"{scorer.name} has no baseline: run python -m studies.threshold.calibrate first")
    return scorer


def write_document(path: Path, document: Callable[[], str]) -> int:
    """Writes the document of a study; returns 2 if its input or the encoder cannot be loaded."""
    try:
        text = document()
    except (OSError, ValueError, EncoderError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    write(path, text.encode())
    print(path)
    return 0
