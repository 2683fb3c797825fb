"""How much a token counts: its inverse document frequency in the reference answers, as in bert-score. Pure.

Words that are in every text ('the', the full stop) say little about whether two answers agree.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).parent / "baselines" / "all-MiniLM-L6-v2--idf.json"
"""Of the embedded encoder; `make study S=calibrate` writes it."""


class Idf(BaseModel):
    """Counts of tokens.

    Attributes:
        source: What the texts were.
        texts: How many.
        documents: In how many of them each token is; those of the encoder's frame are in all.
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
        """Reads a file that the calibration wrote.

        Raises:
            OSError: There is none.
            ValueError: It is damaged.
        """
        return cls.model_validate_json(path.read_bytes())

    def weight(self, documents: int) -> float:
        """Returns the weight of a token that is in so many texts: 0 when it is in all."""
        return math.log((self.texts + 1) / (documents + 1))

    def by_id(self, id_of: Callable[[str], int | None]) -> dict[int, float]:
        """Returns the weights of the counted tokens by id; any other token has `weight(0)`.

        Args:
            id_of: From a token to its id.
        """
        weights = {id_of(token): self.weight(documents) for token, documents in self.documents.items()}
        return {token: weight for token, weight in weights.items() if token is not None}
