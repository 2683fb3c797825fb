"""What agreement with further answers can tell where there is no reference: `python -m studies.self_check.study`.

The idea is SelfCheckGPT's (Manakul, Liusie and Gales, EMNLP 2023, arXiv:2303.08896): a model that knows says the same
again, one that guesses says something else each time. Reads the labelled answers and samples of the model for the same
questions; scores each answer against each sample as the fleet does; writes `self-check-study.md` and its picture.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.settings import EXIT_USAGE, load
from score_validator.encoder import EncoderError
from score_validator.scorer import TextPair, load_scorer
from score_validator.settings import ScorerSettings
from studies.threshold import plots
from studies.threshold.questions import LABELLED_FILE, Labelled, read_labelled
from studies.threshold.separation import Interval, auc, bootstrap, gain, separation
from studies.threshold.study import COMPARED, HARD, SEED, SHUFFLES, Scores, by_label, by_question, percentiles, table
from studies.threshold.study import spearman as rank_correlation

SAMPLES_FILE = Path("studies/self_check/data/samples.jsonl")


class Sampled(NamedTuple):
    """A question that the model was asked several times.

    Attributes:
        question: Its text.
        reference: Its reference answer, which only the study looks at.
        answer: The first answer.
        samples: Further answers to the same prompt.
        model: That gave them.
    """

    question: str
    reference: str
    answer: str
    samples: tuple[str, ...]
    model: str


def read_samples(lines: Iterable[str]) -> list[Sampled]:
    """Reads answers and samples, one JSON object a line.

    Raises:
        ValueError: A line is none.
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
    """Returns for each answer the mean of its scores against its samples, as the fleet computes it."""
    pairs: list[TextPair] = [(answer, sample) for answer, samples in asked for sample in samples]
    scored = iter(scores.of(pairs))
    return [float(np.mean([next(scored) for _ in samples])) for _, samples in asked]


def strangers(sampled: Sequence[Sampled], times: int, seed: int) -> list[tuple[str, Sequence[str]]]:
    """Pairs each first answer with the samples of other questions."""
    chance = random.Random(seed)
    return [
        (each.answer, other.samples)
        for each in sampled
        for other in chance.sample([other for other in sampled if other is not each], min(times, len(sampled) - 1))
    ]


class Advice(NamedTuple):
    """A threshold and what it rests on.

    Attributes:
        threshold: The recommended one, to two places.
        floor: The 99th percentile of answers against samples of other questions.
        ceiling: The 5th percentile of good answers.
    """

    threshold: float
    floor: float
    ceiling: float


def advise(chance: Sequence[float], good: Sequence[float], hard: Interval) -> Advice:
    """Chooses a threshold: it never lets chance pass, and asks for more only if more agreement means better.

    Args:
        chance: Agreement with samples of other questions.
        good: Agreement of good answers.
        hard: AUC of good answers against wrong ones.
    """
    floor, ceiling = float(np.percentile(chance, 99)), float(np.percentile(good, 5))
    chosen = max(floor, ceiling) if hard.low > 0.5 else floor
    return Advice(ceil(chosen * 100) / 100, floor, ceiling)


def verdict(hard: Interval) -> str:
    """Says what an AUC of good answers against wrong ones means for users."""
    if hard.low > 0.5:
        return "a hint, no proof."
    does = "does not know what is right" if hard.high >= 0.5 else "**prefers the wrong ones**"
    return f"it {does}. It keeps out what has nothing to do with the question, and no more."


def document(
    scores: Scores, name: str, answers: Sequence[Labelled], sampled: Sequence[Sampled], threshold: float, images: Path
) -> str:
    """Scores, draws the picture, and returns the document.

    Args:
        scores: Of the service's scorer.
        name: Of that scorer.
        answers: The labelled ones; those to questions without samples are left out.
        sampled: First answers and samples of the model.
        threshold: At which an answer with a reference is accepted, to compare with.
        images: Folder of the picture.

    Raises:
        ValueError: Too few of the labelled questions have samples.
    """
    samples_of: Mapping[str, tuple[str, ...]] = {each.question: each.samples for each in sampled}
    answers = [answer for answer in answers if answer.question in samples_of]
    if len(samples_of) < 2 or not answers:
        raise ValueError("too few of the labelled questions have samples")
    marks = agreements(scores, [(answer.answer, samples_of[answer.question]) for answer in answers])
    against = scores.of([(answer.answer, answer.reference) for answer in answers])
    labels = by_label(answers, marks)
    agreeing, referred = by_question(answers, marks), by_question(answers, against)
    own = agreements(scores, [(each.answer, each.samples) for each in sampled])
    reference = scores.of([(each.answer, each.reference) for each in sampled])
    chance = agreements(scores, strangers(sampled, SHUFFLES, SEED))
    hard = separation(agreeing, "good", HARD)
    advice = advise(chance, labels["good"], hard)
    places = [str(place) for place in range(len(own))]
    correlation = bootstrap(
        places,
        lambda drawn: rank_correlation([own[int(each)] for each in drawn], [reference[int(each)] for each in drawn]),
    )
    passing = [agreement for agreement, score in zip(own, reference, strict=True) if score >= threshold]
    failing = [agreement for agreement, score in zip(own, reference, strict=True) if score < threshold]

    images.mkdir(parents=True, exist_ok=True)
    plots.agreement(images / "self-check.png", labels, chance, own, reference, advice.threshold)
    counts = sorted({len(each.samples) for each in sampled})
    refused = float(np.mean(np.array(own) < advice.threshold))
    return "\n".join(
        [
            "# Self-check study",
            "",
            "Written by `python -m studies.self_check.study`; do not edit it by hand. Intervals are 95 %, from "
            "2,000 resamples of the questions.",
            "",
            f"**Recommended: `SELF_CHECK_THRESHOLD={advice.threshold:.2f}`.** Agreement tells right answers from "
            f"fluent wrong ones with an AUC of {hard}, where 0.5 is a coin: {verdict(hard)}",
            "",
            "## What it rests on",
            "",
            f"- Scorer `{name}`; agreement is the mean `bert_score` of an answer against "
            f"{' or '.join(map(str, counts))} further answers of the model to the same prompt.",
            f"- First answers (temperature 0.7) and samples (temperature 1.0) of "
            f"`{', '.join(sorted({each.model for each in sampled}))}` to {len(sampled)} of the labelled questions "
            "(`studies/self_check/data/samples.jsonl`).",
            f"- {len(answers)} labelled answers to these questions, each against the model's samples.",
            f"- Chance: each first answer against the samples of {min(SHUFFLES, len(sampled) - 1)} other questions, "
            f"{len(chance)} in all.",
            f"- {datetime.now(UTC).date().isoformat()}.",
            "",
            "## Distribution",
            "",
            "![Agreement by label, and beside the reference score](images/self-check.png)",
            "",
            table(
                ("answers", "number", "mean", "5 %", "25 %", "median", "75 %", "95 %", "highest"),
                [
                    percentiles("first answers against samples of other questions", chance),
                    percentiles("first answers against their own samples", own),
                    percentiles("the same first answers against the reference", reference),
                    *(percentiles(label.replace("_", " "), values) for label, values in labels.items()),
                ],
            ),
            "",
            "## What agreement can tell apart",
            "",
            table(
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
            "",
            "The labelled answers are not the model's own: an answer of its own is nearer to its samples than a right "
            "one in other words. What matters to the fleet are the model's first answers:",
            "",
            f"- Rank correlation (Spearman) of agreement with the score against the reference: {correlation}.",
            *(
                [
                    f"- Agreement as a predictor of whether a first answer reaches the {threshold:.2f} against its "
                    f"reference ({len(passing)} do, {len(failing)} do not): AUC {auc(passing, failing):.3f}."
                ]
                if passing and failing
                else []
            ),
            "",
            "## The threshold",
            "",
            f"- **Not below {advice.floor:.3f}**: the 99th percentile of chance.",
            f"- 5th percentile of good answers: {advice.ceiling:.3f}. The threshold rises to it only if more agreement "
            "is seen to mean better, that is if the interval of good against wrong lies above 0.5.",
            f"- **{advice.threshold:.2f}**: {refused:.0%} of the model's first answers stay below it and are asked "
            f"again. A generation costs 1 + `SELF_CHECK_SAMPLES` calls.",
            "",
            "## What agreement cannot see",
            "",
            "- An error that the model makes every time: it agrees with itself.",
            "- A right answer that the model does not give itself looks like a stray one.",
            "- How much it can tell depends on the model. SelfCheckGPT was measured on GPT-3; these figures are of a "
            "model of 135 million parameters, which does not know most of the answers. Measure yours.",
            "",
        ]
    )


def main() -> int:
    """Writes the document and its picture; 2 if something that it needs cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m studies.self_check.study", description=__doc__)
    parser.add_argument("--samples", type=Path, default=SAMPLES_FILE, help="answers and samples, JSON lines")
    parser.add_argument("--labelled", type=Path, default=LABELLED_FILE, help="CSV of labelled answers")
    parser.add_argument("--threshold", type=float, default=0.32, help="QUALITY_THRESHOLD to compare with")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the document and images/ go")
    options = parser.parse_args()

    settings = load(ScorerSettings)
    try:
        answers = read_labelled(options.labelled)
        with options.samples.open(encoding="utf-8") as lines:
            sampled = read_samples(lines)
        scorer = load_scorer(settings)
        if scorer.baseline is None:
            raise ValueError(f"{scorer.name} has no baseline: run python -m studies.threshold.calibrate first")
        text = document(Scores(scorer), scorer.name, answers, sampled, options.threshold, options.docs / "images")
    except (OSError, ValueError, EncoderError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    path = options.docs / "self-check-study.md"
    path.write_text(text, encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
