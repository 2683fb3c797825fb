"""Weights of tokens: their inverse document frequency in the reference answers, as in bert-score. Pure functions.

Tokens that are in every text ('the', the full stop) say little about the agreement of two answers.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).parent / "baselines" / "all-MiniLM-L6-v2--idf.json"
"""File of the embedded encoder, written by `make study S=calibrate`."""


class Idf(BaseModel):
    """Counts of tokens.

    Attributes:
        source: Description of the texts.
        texts: Number of texts.
        documents: Number of texts that contain each token; the encoder's special tokens are in all.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    texts: int
    documents: dict[str, int]

    @classmethod
    def count(cls, texts: Iterable[Iterable[str]], source: str) -> "Idf":
        """Counts the tokens of texts."""
        each = [set(tokens) for tokens in texts]
        return cls(source=source, texts=len(each), documents=dict(sorted(Counter(t for s in each for t in s).items())))

    @classmethod
    def read(cls, path: Path = FILE) -> "Idf":
        """Reads a file that was written by the calibration.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is damaged.
        """
        return cls.model_validate_json(path.read_bytes())

    def weight(self, documents: int) -> float:
        """Returns the weight of a token that is in this number of texts; 0 if it is in all."""
        return math.log((self.texts + 1) / (documents + 1))

    def by_id(self, id_of: Callable[[str], int | None]) -> dict[int, float]:
        """Returns the weights of the counted tokens by id; all others have `weight(0)`.

        Args:
            id_of: Returns the id of a token.
        """
        weights = {id_of(token): self.weight(documents) for token, documents in self.documents.items()}
        return {token: weight for token, weight in weights.items() if token is not None}
