"""BERTScore of pairs (Zhang, Kishore, Wu, Weinberger and Artzi: BERTScore, ICLR 2020, arXiv:1904.09675)."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol

import structlog

from pipeline.messages import ScoreWarning, UnscorableReason
from score_validator.calibration import find_baseline
from score_validator.contradictions import contradictions
from score_validator.encoder import EMBEDDED_LAYER, Cache, Encoder, EncoderError, Ids, Tokens
from score_validator.language import EnglishOnly
from score_validator.matching import Embedded, match
from score_validator.onnx_encoder import OnnxEncoder
from score_validator.readability import REPETITION_LIMIT, UNKNOWN_LIMIT, dropped_share
from score_validator.schemas import TextField
from score_validator.settings import ScorerSettings
from score_validator.torch_encoder import TorchEncoder

NO_WORDS = "has no text that the encoder can read"

log = structlog.get_logger()


class InvalidPair(Exception):
    """A pair cannot be scored; a retry would have the same result.

    Attributes:
        field: The field that causes it.
        reason: Explanation for people.
    """

    def __init__(self, field: TextField, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class Scored:
    """Raw BERTScore of one pair, which of its texts were truncated, and what else to know about it."""

    precision: float
    recall: float
    f1: float
    truncated: tuple[TextField, ...] = ()
    remarks: tuple[ScoreWarning, ...] = ()

    @property
    def warnings(self) -> tuple[ScoreWarning, ...]:
        """What to know about the score."""
        return _warnings(self.truncated, self.remarks)


@dataclass(frozen=True)
class Unscorable:
    """A pair without a score, because the encoder cannot read it.

    Attributes:
        reason: Why.
        fields: The texts that it cannot read.
        truncated: The texts that were truncated.
        remarks: What else to know about the answer.
    """

    reason: UnscorableReason
    fields: tuple[TextField, ...]
    truncated: tuple[TextField, ...] = ()
    remarks: tuple[ScoreWarning, ...] = ()

    @property
    def warnings(self) -> tuple[ScoreWarning, ...]:
        """What to know about the texts."""
        return _warnings(self.truncated, self.remarks)


def _warnings(truncated: tuple[TextField, ...], remarks: tuple[ScoreWarning, ...]) -> tuple[ScoreWarning, ...]:
    return ("truncated", *remarks) if truncated else remarks


EMPTY_ANSWER = Scored(0.0, 0.0, 0.0)

TextPair = tuple[str, str]
"""A candidate and its reference."""


class Scorer(Protocol):
    """Scores pairs; called by one thread only."""

    @property
    def name(self) -> str:
        """Name of its encoder."""

    @property
    def baseline(self) -> float | None:
        """Mean raw F1 of unrelated pairs; None if it was not measured."""

    def score(self, pairs: Sequence[TextPair]) -> list[Scored | Unscorable | InvalidPair]:
        """Scores pairs; neither candidates nor references are blank.

        Returns:
            For each pair, in order, its score, which is independent of the other pairs, or why it has none.
        """


class Languages(Protocol):
    """Knows the languages of an encoder."""

    def is_other(self, text: str, /) -> bool:
        """Returns whether a text is in a language that the encoder does not know."""


def checked(
    precision: float,
    recall: float,
    f1: float,
    truncated: tuple[TextField, ...],
    remarks: tuple[ScoreWarning, ...] = (),
) -> Scored | InvalidPair:
    """Returns a score, or why there is none: JSON allows only finite numbers."""
    if not all(map(math.isfinite, (precision, recall, f1))):
        return InvalidPair("candidate", "cannot be scored: the score is not a finite number")
    return Scored(precision, recall, f1, truncated, remarks)


class EncoderScorer:
    """Embeds the texts of a batch of pairs and matches them; each pair gets the numbers of bert-score for it alone.

    Embeddings of references are cached, because a reference is scored again with each attempt of its question.
    """

    def __init__(
        self, encoder: Encoder, baseline: float | None, cache_bytes: int, languages: Languages | None = None
    ) -> None:
        """Takes a loaded encoder.

        Args:
            encoder: The encoder.
            baseline: Mean raw F1 of unrelated pairs.
            cache_bytes: Memory for references.
            languages: The languages that the encoder knows; None: languages are not checked.
        """
        self._encoder = encoder
        self._languages = languages
        self._references = Cache(cache_bytes)
        self.name = encoder.name
        self.baseline = baseline

    def score(self, pairs: Sequence[TextPair]) -> list[Scored | Unscorable | InvalidPair]:
        """Scores pairs together."""
        tokens = self._encoder.tokens([text for pair in pairs for text in pair])
        texts = list(zip(tokens[0::2], tokens[1::2], strict=True))
        unread = [self._unread(*pair, *text) for pair, text in zip(pairs, texts, strict=True)]
        # One entry for each distinct text, so that none is embedded twice within a batch.
        embedded: dict[bytes, Embedded] = {}
        missing: dict[bytes, Ids] = {}
        to_match = [text for text, reason in zip(texts, unread, strict=True) if reason is None]
        references = {reference.ids.tobytes() for _, reference in to_match}
        for ids in (text.ids for pair in to_match for text in pair if self._encoder.has_words(text.ids)):
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
            reason or self._match(*pair, *text, embedded)
            for pair, text, reason in zip(pairs, texts, unread, strict=True)
        ]

    def _unread(self, candidate: str, reference: str, answer: Tokens, against: Tokens) -> Unscorable | None:
        """Returns why a pair is not scored; None: its texts can be read, or have no words at all."""
        if not (self._encoder.has_words(answer.ids) and self._encoder.has_words(against.ids)):
            return None
        reasons: dict[TextField, UnscorableReason | None] = {
            "candidate": self._unreadable(candidate, answer),
            "reference": self._unreadable(reference, against),
        }
        fields: tuple[TextField, ...] = tuple(field for field, reason in reasons.items() if reason)
        reason = reasons["reference"] or reasons["candidate"]
        return Unscorable(reason, fields, _truncated(answer, against), _repetition(answer)) if reason else None

    def _unreadable(self, text: str, tokens: Tokens) -> UnscorableReason | None:
        if self._languages and self._languages.is_other(text):
            return "other_language"
        return "unknown_tokens" if max(tokens.unknown, dropped_share(text)) > UNKNOWN_LIMIT else None

    def _match(
        self, candidate: str, reference: str, answer: Tokens, against: Tokens, embedded: dict[bytes, Embedded]
    ) -> Scored | InvalidPair:
        embedded_reference = embedded.get(against.ids.tobytes())
        if embedded_reference is None:
            return InvalidPair("reference", NO_WORDS)
        embedded_answer = embedded.get(answer.ids.tobytes())
        if embedded_answer is None:
            return EMPTY_ANSWER
        remarks = _repetition(answer)
        if self._languages:  # both texts are English
            remarks += contradictions(candidate, reference)
        return checked(*match(embedded_answer, embedded_reference), _truncated(answer, against), remarks)


def _truncated(candidate: Tokens, reference: Tokens) -> tuple[TextField, ...]:
    cut: list[TextField] = []
    if candidate.truncated:
        cut.append("candidate")
    if reference.truncated:
        cut.append("reference")
    return tuple(cut)


def _repetition(answer: Tokens) -> tuple[ScoreWarning, ...]:
    return ("repetition",) if answer.repeated > REPETITION_LIMIT else ()


def load_scorer(settings: ScorerSettings) -> EncoderScorer:
    """Loads the encoder of the settings.

    Raises:
        EncoderError: The encoder, layer, device or precision does not exist, or not in this image.
    """
    started = time.perf_counter()
    engine = engine_of(settings)
    encoder: Encoder = OnnxEncoder(settings) if engine == "onnxruntime" else TorchEncoder(settings)
    baseline = find_baseline(encoder.name, settings.bertscore_model, encoder.layer)
    log.info(
        "loaded the encoder",
        engine=engine,
        scorer=encoder.name,
        baseline=baseline,
        device=settings.scorer_device,
        threads=settings.scorer_threads,
        seconds=round(time.perf_counter() - started, 1),
    )
    if baseline is None:
        log.warning(
            "found no baseline: scores are raw, and the threshold must be chosen for them",
            scorer=encoder.name,
            command="make study S=calibrate",
        )
    # Other encoders may know any language.
    languages = None if settings.bertscore_model else EnglishOnly()
    return EncoderScorer(encoder, baseline, settings.scorer_cache_mb * 1024 * 1024, languages)


def engine_of(settings: ScorerSettings) -> Literal["onnxruntime", "torch"]:
    """Returns the inference engine for these settings.

    Raises:
        EncoderError: This image has none for them; the message names the variable.
    """
    name = _setting_that_needs_torch(settings)
    if name is None:
        return "onnxruntime"
    if settings.scorer_precision == "int8":
        raise EncoderError("SCORER_PRECISION: int8 works only for the embedded encoder with SCORER_DEVICE=cpu")
    if find_spec("torch") is None:
        got = getattr(settings, name.lower())
        raise EncoderError(
            f"{name}: needs torch, which is not in this image: set SCORER_TARGET=score-validator-torch (got {got!r})"
        )
    return "torch"


def _setting_that_needs_torch(settings: ScorerSettings) -> str | None:
    """Returns a variable whose value needs torch, if there is one."""
    if not is_embedded(settings):
        return "BERTSCORE_MODEL" if settings.bertscore_model else "BERTSCORE_LAYER"
    if settings.scorer_device != "cpu":
        return "SCORER_DEVICE"
    return "SCORER_PRECISION" if settings.scorer_precision == "bf16" else None


def is_embedded(settings: ScorerSettings) -> bool:
    """Returns whether the settings select the embedded encoder with its default layer."""
    return not settings.bertscore_model and settings.bertscore_layer in (None, EMBEDDED_LAYER)
