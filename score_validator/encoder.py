"""Embeds texts with ONNX Runtime: tokenised once, in batches of similar length, each text as if it were alone.

onnxruntime and tokenizers are imported when an encoder is made, for only the container has them.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from score_validator import artifact
from score_validator.idf import Idf
from score_validator.matching import Embedded
from score_validator.settings import Precision

MAX_TOKENS = 512
"""What the encoder has positions for, its frame included."""

MAX_RUN_TOKENS = 512
MAX_RUN_TEXTS = 8
MAX_PADDING = 0.1
"""One run of the encoder takes up to 8 texts of up to 512 tokens together, of which a tenth is padding at most: on one
core, larger runs are slower for each token (they leave the processor's cache), and padding costs what a token costs."""

FILES: dict[Precision, str] = {"fp32": artifact.ENCODER_FILE, "int8": artifact.INT8_FILE}

Ids = NDArray[np.int64]


class Tokens(NamedTuple):
    """A text as the encoder reads it.

    Attributes:
        ids: Its tokens with the encoder's frame; shape (tokens,).
        truncated: It is longer than the encoder reads; the end is not in `ids`.
    """

    ids: Ids
    truncated: bool


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


def runs(lengths: Sequence[int], max_texts: int = MAX_RUN_TEXTS) -> Iterator[list[int]]:
    """Sorts texts by length and splits them into runs of the encoder.

    Args:
        lengths: In tokens.
        max_texts: Texts in a run.

    Yields:
        Indices of the texts of one run, shortest first.
    """
    run: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        padded = length * (len(run) + 1)
        if run and (
            len(run) == max_texts or padded > MAX_RUN_TOKENS or padded - (tokens + length) > MAX_PADDING * padded
        ):
            yield run
            run, tokens = [], 0
        run.append(index)
        tokens += length
    if run:
        yield run


class OnnxEncoder:
    """An exported encoder. Safe for one thread at a time."""

    def __init__(self, folder: Path, threads: int, idf: Idf, precision: Precision = "fp32") -> None:
        """Loads it.

        Args:
            folder: That `score_validator.export` wrote.
            threads: That compute.
            idf: What each token counts.
            precision: Of the weights. With int8 each text is a run of its own: the activations of a run share one
                scale, and a text's vectors would depend on its neighbours.

        Raises:
            Damaged: A file is missing or damaged.
        """
        manifest = artifact.check(folder)
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take the cores of the services beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps the memory of the longest run that it has seen and never gives it back.
        options.enable_cpu_mem_arena = False
        self._max_run_texts = MAX_RUN_TEXTS if precision == "fp32" else 1
        self.model, self.layer = manifest.model, manifest.layer
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / FILES[precision]), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
        except Exception as error:  # onnxruntime's and tokenizers' own, without a common class
            raise artifact.Damaged(f"the encoder in {folder} cannot be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._weights = np.full(self._tokenizer.get_vocab_size(), idf.weight(0), dtype=np.float32)
        for token, weight in idf.by_id(self._tokenizer.token_to_id).items():
            self._weights[token] = weight

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Splits texts into tokens."""
        return [
            Tokens(np.array(each.ids, dtype=np.int64), bool(each.overflowing))
            for each in self._tokenizer.encode_batch([text.strip() for text in texts])
        ]

    def has_words(self, ids: Ids) -> bool:
        """Is there a token that counts?"""
        return bool(self._weights[ids].any())

    def embed(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Embeds texts, each as if it were alone: padding is masked and left out of what comes back."""
        embedded: list[Embedded | None] = [None] * len(texts)
        for run in runs([len(ids) for ids in texts], self._max_run_texts):
            longest = len(texts[run[-1]])
            ids = np.zeros((len(run), longest), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(run):
                ids[row, : len(texts[index])] = texts[index]
                mask[row, : len(texts[index])] = 1
            (vectors,) = self._session.run(
                None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            )
            for row, index in enumerate(run):
                own = vectors[row, : len(texts[index])]
                # A copy: a view would keep the whole run in memory for as long as the text is cached.
                unit = own / np.linalg.norm(own, axis=1, keepdims=True)
                embedded[index] = Embedded(unit, self._weights[texts[index]])
        return [each for each in embedded if each is not None]
