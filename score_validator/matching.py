"""BERTScore of two embedded texts (Zhang et al. 2020, section 3). Pure functions."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """An embedded text.

    Attributes:
        vectors: A unit vector for each token, including the encoder's special tokens; shape (tokens, dimensions).
        weights: Weight of each token in the mean; 0 for special tokens; shape (tokens,).
    """

    vectors: Floats
    weights: Floats

    @property
    def has_words(self) -> bool:
        """Whether any token has a weight."""
        return bool(self.weights.any())


class Match(NamedTuple):
    """Raw BERTScore, each from -1 to 1."""

    precision: float
    recall: float
    f1: float


def match(candidate: Embedded, reference: Embedded) -> Match:
    """Scores a candidate against a reference; both have at least one token with a weight.

    As in bert-score, the best match of a token may be a special token of the other text: these have no weight, but can
    be matched.
    """
    similarities = candidate.vectors @ reference.vectors.T
    precision = float(np.average(similarities.max(axis=1), weights=candidate.weights))
    recall = float(np.average(similarities.max(axis=0), weights=reference.weights))
    both = precision + recall
    return Match(precision, recall, 2 * precision * recall / both if both else 0.0)
