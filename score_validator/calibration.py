"""Rescales raw BERTScore so that 0 is chance and 1 is identity."""

import csv
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "baselines"


def calibrated(value: float, baseline: float) -> float:
    """Rescales a raw score by the mean score of unrelated texts (bert-score's `rescale_with_baseline`).

    Args:
        value: Raw score, from -1 to 1.
        baseline: Mean raw score of unrelated pairs with the same encoder, below 1.

    Returns:
        0 for the mean of unrelated pairs, 1 for identity; clipped to -1 and 1.
    """
    return max(-1.0, min(1.0, (value - baseline) / (1 - baseline)))


def file_name(scorer: str) -> str:
    """Returns the name of the file with the baseline of a scorer (`encoder/layer6`)."""
    return f"{scorer.replace('/', '--')}.json"


def find_baseline(scorer: str, model: str, layer: int, folder: Path = FOLDER) -> float | None:
    """Returns the mean raw F1 of unrelated pairs, or None if it was not measured.

    Args:
        scorer: Name of the scorer, as in its scores.
        model: Name of the encoder in the baseline files of bert-score.
        layer: Layer whose embeddings are compared.
        folder: Folder of the files that `make study S=calibrate` writes; they take precedence.
    """
    own = folder / file_name(scorer)
    if own.is_file():
        return float(json.loads(own.read_text(encoding="utf-8"))["f1"]["mean"])
    for path in _published(model):
        with path.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if int(row["LAYER"]) == layer:
                    return float(row["F"])
    return None


def _published(model: str) -> Iterator[Path]:
    """Finds bert-score's baseline file of a model: English, from random pairs of sentences of Common Crawl.

    An image without the package does not have the encoders of these files either.
    """
    package = find_spec("bert_score")
    for root in (package and package.submodule_search_locations) or ():
        path = Path(root) / "rescale_baseline" / "en" / f"{model}.tsv"
        if model and path.is_file():
            yield path
