"""BERTScore of two texts whose tokens are embedded already (Zhang et al. 2020, section 3). Pure."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """A text as the matching sees it.

    Attributes:
        vectors: One of length 1 for each token, the encoder's frame included; shape (tokens, dimensions).
        weights: Of each token in the mean; 0 for the encoder's frame; shape (tokens,).
    """

    vectors: Floats
    weights: Floats

    @property
    def has_words(self) -> bool:
        """Is there a token that counts?"""
        return bool(self.weights.any())


class Match(NamedTuple):
    """Raw BERTScore, each from -1 to 1."""

    precision: float
    recall: float
    f1: float


def match(candidate: Embedded, reference: Embedded) -> Match:
    """Scores a candidate against a reference; both have at least one token that counts.

    A token's best match may be one of the other text's frame, as in bert-score: the frame has no weight, but it is
    there to be matched.
    """
    similarities = candidate.vectors @ reference.vectors.T
    precision = float(np.average(similarities.max(axis=1), weights=candidate.weights))
    recall = float(np.average(similarities.max(axis=0), weights=reference.weights))
    both = precision + recall
    return Match(precision, recall, 2 * precision * recall / both if both else 0.0)
