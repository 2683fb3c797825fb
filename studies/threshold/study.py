"""What the score can tell, and which threshold follows: `python -m studies.threshold.study`.

Reads attempts of the model (JSON lines; `make study S=threshold` takes them out of PostgreSQL), the labelled answers and
the question set; scores them with the encoder of the settings; writes `threshold-study.md` and its pictures.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.settings import EXIT_USAGE, load
from score_validator.calibration import calibrated
from score_validator.encoder import EMBEDDED_LAYER, EncoderError, embedded_folder
from score_validator.scorer import EMPTY_ANSWER, Scorer, TextPair, load_scorer
from score_validator.settings import ScorerSettings
from studies.threshold import plots
from studies.threshold.calibrate import score_all
from studies.threshold.questions import LABELLED_FILE, LABELS, QUESTIONS_FILE, Labelled, read_labelled, read_references
from studies.threshold.regeneration import Attempt, Recommendation, at_threshold, best_of, complete, recommend
from studies.threshold.separation import Interval, auc, bootstrap, gain, separation
from studies.threshold.variants import variants

ATTEMPTS_FILE = Path("studies/threshold/data/attempts.jsonl")
ATTEMPTS = 3
BUDGET = 2.0
"""Calls of the model for a question, in the mean, that the recommended threshold may cost."""

OLD_THRESHOLD = 0.85
"""That of the demonstration, for raw F1."""

SHUFFLES = 10
SEED = 1
HARD = "wrong"
COMPARED = ("wrong", "partly", "off_topic")


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


class Scores:
    """Calibrated scores of one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        """Args: one that has a baseline."""
        self._scorer = scorer
        self._baseline = scorer.baseline or 0.0

    def of(self, pairs: Sequence[TextPair]) -> list[float]:
        """Scores pairs; a blank answer as the service does."""
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


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def tried(folder: Path, answers: Sequence[Labelled], firsts: Sequence[Attempt], references: Sequence[str]) -> str:
    """Scores the hard labels and the model's first answers in every way with one encoder; returns a table."""
    compared = [answer for answer in answers if answer.label in ("good", *COMPARED)]
    pairs = [(answer.answer, answer.reference) for answer in compared]
    own = [(attempt.answer, attempt.reference) for attempt in firsts if attempt.answer.strip()]
    chance = [pair for pair in shuffled(firsts, 3, SEED) if pair[0].strip()]
    found = variants(folder, [*pairs, *own, *chance], references)
    labelled = {name: by_question(compared, values[: len(pairs)]) for name, values in found.items()}
    last = max(found, key=lambda name: int(name.split()[1]) if name.endswith("F1") and name.count(" ") == 2 else -1)
    rows: list[tuple[Interval, list[object]]] = []
    for name, values in found.items():
        scores = labelled[name]
        hard = separation(scores, "good", HARD)
        row: list[object] = [
            name,
            hard,
            gain(scores, labelled[last], "good", HARD),
            *(
                f"{auc([s['good'] for s in scores.values()], [s[label] for s in scores.values()]):.3f}"
                for label in COMPARED[1:]
            ),
            f"{auc(values[len(pairs) : len(pairs) + len(own)], values[len(pairs) + len(own) :]):.3f}",
        ]
        rows.append((hard, row))
    rows.sort(key=lambda each: each[0], reverse=True)
    head = ("way", "good/wrong", f"gain over {last}", "good/partly", "good/off topic", "model's answers/chance")
    return table(head, (row for _, row in rows))


def without_own_weights(folder: Path, answers: Sequence[Labelled], references: Sequence[str]) -> Interval:
    """Returns the AUC of the hard case with idf weights from the questions that have no labelled answers."""
    hard = [answer for answer in answers if answer.label in ("good", HARD)]
    others = sorted(set(references) - {answer.reference for answer in answers})
    scores = variants(folder, [(answer.answer, answer.reference) for answer in hard], others)
    return separation(by_question(hard, scores[f"layer {EMBEDDED_LAYER} idf F1"]), "good", HARD)


def length_effects(answers: Sequence[Labelled], scores: Sequence[float]) -> list[str]:
    """Says what the length of an answer does to its score."""
    words = [float(len(answer.answer.split())) for answer in answers]
    lengths = by_question(answers, words)
    lines = [
        f"- Number of words alone as the score: AUC of good against {label.replace('_', ' ')} "
        f"{separation(lengths, 'good', label)}."
        for label in COMPARED
    ]
    for label in ("good", "wrong"):
        chosen = [index for index, answer in enumerate(answers) if answer.label == label]
        ratio = [words[index] / len(answers[index].reference.split()) for index in chosen]
        own = [scores[index] for index in chosen]
        rank = bootstrap(
            [str(place) for place in range(len(chosen))],
            lambda drawn, ratio=ratio, own=own: spearman(  # type: ignore[misc]
                [ratio[int(each)] for each in drawn], [own[int(each)] for each in drawn]
            ),
        )
        lines.append(
            f"- Among {label} answers, the rank correlation (Spearman) of score and length, in words for each word of "
            f"the reference, is {rank}."
        )
    return lines


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Returns the rank correlation of two series; NaN where one is constant."""
    if min(len(set(left)), len(set(right))) < 2:
        return math.nan
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Sequence[float]) -> list[float]:
    numbers = np.array(values)
    return [float((numbers < each).sum() + ((numbers == each).sum() - 1) / 2) for each in numbers]


def percentiles(name: str, values: Sequence[float]) -> list[object]:
    """Returns a row: name, number, and percentiles."""
    shown = (f"{each:.2f}" for each in np.percentile(values, [5, 25, 50, 75, 95]))
    return [name, len(values), f"{np.mean(values):.3f}", *shown, f"{max(values):.2f}"]


def _chosen(
    advice: Recommendation, scores: Mapping[str, Sequence[float]], questions: Sequence[Sequence[float]]
) -> list[Sequence[object]]:
    steps = sorted({*(step / 20 for step in range(2, 13)), advice.threshold, round(advice.ceiling, 2)})
    rows: list[Sequence[object]] = []
    for step in steps:
        row = at_threshold(questions, step)
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
    tables: Mapping[str, str],
    held_out: Interval,
    images: Path,
) -> str:
    """Scores, draws the pictures, and returns the document.

    Args:
        scorer: Of the service.
        answers: The labelled ones.
        attempts: Of the model.
        origin: Where they come from, for the reader.
        tables: Of what was tried, by name of the encoder.
        held_out: AUC of the hard case with idf weights that have not seen the references of the labelled answers.
        images: Folder of the pictures.

    Raises:
        ValueError: No question has all attempts.
    """
    scores = Scores(scorer)
    marks = scores.of([(answer.answer, answer.reference) for answer in answers])
    labels, questions = by_label(answers, marks), by_question(answers, marks)
    found = scores.of([(attempt.answer, attempt.reference) for attempt in attempts])
    loops = complete(
        ((each.question_id, each.number, score) for each, score in zip(attempts, found, strict=True)), ATTEMPTS
    )
    if not loops:
        raise ValueError(f"no question has {ATTEMPTS} attempts: let the fleet ask with QUALITY_THRESHOLD=1")
    firsts = [attempt for attempt in attempts if attempt.number == 1]
    first = [score for attempt, score in zip(attempts, found, strict=True) if attempt.number == 1]
    chance = scores.of(shuffled(firsts, SHUFFLES, SEED))
    advice = recommend(chance, labels["good"], loops, BUDGET)
    here = at_threshold(loops, advice.threshold)
    every = at_threshold(loops, 1.01)
    hard = separation(questions, "good", HARD)

    images.mkdir(parents=True, exist_ok=True)
    kinds = {"unrelated pairs": chance, "first answers of the model": first, "good answers": labels["good"]}
    plots.distribution(images / "study-distribution.png", kinds, advice.threshold)
    plots.labels(images / "study-labels.png", labels, advice.threshold)
    plots.separation(images / "study-roc.png", labels)
    # The recommended one among them, whatever the steps.
    steps = sorted({*(step / 50 for step in range(36)), advice.threshold})
    plots.cost(images / "study-cost.png", [at_threshold(loops, step) for step in steps], advice.threshold)

    old = (OLD_THRESHOLD - scores.raw(0)) / (1 - scores.raw(0))
    models = ", ".join(sorted({attempt.model for attempt in attempts}))
    separations: list[Sequence[object]] = [
        [f"good against {label.replace('_', ' ')}", separation(questions, "good", label)] for label in COMPARED
    ]
    separations += [
        ["good against gibberish and empty", f"{auc(labels['good'], labels['gibberish'] + labels['empty']):.3f}"],
        ["partly right against wrong", separation(questions, "partly", "wrong")],
        ["first answers of the model against unrelated pairs", f"{auc(first, chance):.3f}"],
    ]
    parts = [
        "# Threshold study",
        "",
        "Written by `python -m studies.threshold.study`; do not edit it by hand. Intervals are 95 %, from "
        "2,000 resamples of the questions.",
        "",
        f"**Recommended: `QUALITY_THRESHOLD={advice.threshold:.2f}`** for answers of the embedded model, "
        f"{advice.ceiling:.2f} for a model that answers well. The score keeps out what is off topic; it does "
        f"**not** know whether a fluent answer is right (AUC {hard}).",
        "",
        "## What it rests on",
        "",
        f"- Scorer `{scorer.name}`; `bert_score` = (F1 - {scores.raw(0):.4f}) / (1 - {scores.raw(0):.4f}).",
        f"- {len(answers)} labelled answers to {len(questions)} questions (`studies/threshold/data/`).",
        f"- {len(attempts)} attempts of `{models}` at {len({each.question_id for each in attempts})} questions, "
        f"{len(loops)} of them with all {ATTEMPTS} attempts; origin: {origin}.",
        f"- Chance: each first answer against {SHUFFLES} references of other questions, {len(chance)} pairs.",
        f"- {datetime.now(UTC).date().isoformat()}.",
        "",
        "## Distribution",
        "",
        "![Distribution of the scores](images/study-distribution.png)",
        "",
        table(
            ("answers", "number", "mean", "5 %", "25 %", "median", "75 %", "95 %", "highest"),
            [
                percentiles("unrelated pairs", chance),
                percentiles("first answers of the model", first),
                *(percentiles(label.replace("_", " "), values) for label, values in labels.items()),
            ],
        ),
        "",
        "![Scores of the labelled answers](images/study-labels.png)",
        "",
        "## What the score can tell apart",
        "",
        table(("", "AUC"), separations),
        "",
        "![ROC curves](images/study-roc.png)",
        "",
        "0.5 is a coin, 1 is perfect. The goals were 0.80 for good against wrong and 0.99 for good against off topic.",
        "",
        "### Length",
        "",
        *length_effects(answers, marks),
        "",
        "## What asking again gains",
        "",
        f"Over the {len(loops)} questions with {ATTEMPTS} attempts, the best of two is {best_of(loops, 2)} above the "
        f"first answer, the best of three {best_of(loops, 3)}. Asking {ATTEMPTS} times always would cost "
        f"{every.calls - 1:.0f} further calls, {every.calls_for_a_point:.2f} for each point (0.01) of mean score.",
        "",
        "![What passes, and what it costs](images/study-cost.png)",
        "",
        table(
            (
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
            ),
            _chosen(advice, labels, loops),
        ),
        "",
        "## The threshold",
        "",
        f"- **Not below {advice.floor:.2f}**: the 99th percentile of unrelated pairs.",
        f"- **Not above {advice.ceiling:.2f}**: the 5th percentile of good answers; a higher one refuses more "
        "than one right answer in twenty.",
        f"- Between them, the highest that costs at most {BUDGET:g} calls for a question with this model: "
        f"**{advice.threshold:.2f}**. {here.first:.0%} of first answers pass, {here.accepted:.0%} of questions end "
        f"accepted, a question takes {here.calls:.2f} calls, and the mean score rises by {here.gain:.3f}.",
        f"- **Why not {OLD_THRESHOLD}?** The demonstration's {OLD_THRESHOLD} was meant for raw F1, where this "
        f"encoder gives unrelated texts {scores.raw(0):.2f}: it is {old:.2f} on the calibrated scale, where "
        f"{np.mean(np.array(labels['good']) >= old):.0%} of the good answers and "
        f"{np.mean(np.array(first) >= old):.0%} of the model's first answers pass. Taken for a calibrated score, "
        f"{np.mean(np.array(labels['good']) >= OLD_THRESHOLD):.0%} of the good answers reach {OLD_THRESHOLD}. "
        "It was not kept.",
        "- A question without a reference has no such score. How its answers agree with each other is judged on "
        "another scale, with a threshold of its own from the same labelled answers: the "
        "[self-check study](self-check-study.md).",
        "",
        "## What the score cannot see",
        "",
        "- Whether a fluent answer is right. One that turns the facts round in the words of the reference scores like "
        "one that is right in other words.",
        "- A thin answer from a good one, where the reference is short. Length is in the score: see above.",
        "- Anything in another language than English.",
        "- The labelled answers are of one hand and were labelled by it, and the wrong ones are hard: they keep to the "
        "words of the question and the reference. On other sets the figures differ; the intervals do not cover that.",
        "",
        "## What was tried",
        "",
        "AUC with intervals for the hard case, and its gain over plain F1 of the encoder's last layer on the same "
        "draws of questions; `idf`: tokens weigh by their rarity in the reference answers; `tail`: the mean of the "
        "worst matched quarter of the tokens. The best of many ways is better on these questions than it will be on "
        "others: read the intervals. `layer 5 idf F1` is what the service uses: it is one of bert-score's own options, "
        "far better than the last layer in the hard case and good in all the others; ways that rank higher in the hard "
        "case lose in another column, or are an invention of this study. With weights counted from the questions that "
        f"have no labelled answers, its good against wrong is {held_out}.",
        "",
    ]
    for name, rows in tables.items():
        parts += [f"<details><summary>{name}</summary>", "", rows, "", "</details>", ""]
    return "\n".join(parts)


def main() -> int:
    """Writes the document and its pictures; 2 if something that it needs cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m studies.threshold.study", description=__doc__)
    parser.add_argument("--attempts", type=Path, default=ATTEMPTS_FILE, help="attempts of the model, JSON lines")
    parser.add_argument(
        "--origin",
        default="asked outside the fleet with its model, prompts and settings (`studies/threshold/data/README.md`)",
        help="where the attempts come from, for the document",
    )
    parser.add_argument("--labelled", type=Path, default=LABELLED_FILE, help="CSV of labelled answers")
    parser.add_argument("--questions", type=Path, default=QUESTIONS_FILE, help="CSV of the question set")
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a further encoder for the table of what was tried; may be repeated",
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the document and images/ go")
    options = parser.parse_args()

    settings = load(ScorerSettings)
    try:
        answers = read_labelled(options.labelled)
        with options.attempts.open(encoding="utf-8") as lines:
            attempts = read_attempts(lines)
        references = read_references(options.questions)
        scorer = load_scorer(settings)
        if scorer.baseline is None:
            raise ValueError(f"{scorer.name} has no baseline: run python -m studies.threshold.calibrate first")
        encoders = {"all-MiniLM-L6-v2": embedded_folder()}
        encoders |= {name: Path(folder) for name, _, folder in (each.partition("=") for each in options.encoder)}
        import torch

        torch.set_num_threads(settings.scorer_threads)
        firsts = [attempt for attempt in attempts if attempt.number == 1]
        tables = {name: tried(folder, answers, firsts, references) for name, folder in encoders.items()}
        held_out = without_own_weights(encoders["all-MiniLM-L6-v2"], answers, references)
        text = document(scorer, answers, attempts, options.origin, tables, held_out, options.docs / "images")
    except (OSError, ValueError, EncoderError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    path = options.docs / "threshold-study.md"
    path.write_text(text, encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
