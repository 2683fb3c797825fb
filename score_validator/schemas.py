"""Requests and replies of the scorer."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from pipeline.messages import MAX_REFERENCES, ScoreWarning, UnscorableReason

MAX_TEXT_CHARACTERS = 100_000
MAX_BATCH_PAIRS = 256
MAX_PAIR_REFERENCES = 1 + MAX_REFERENCES
"""Maximum number of references of a pair: `original_answer` of a question, and the references beside it."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Two texts of the full length take up to 2.4 MB (a character takes up to 12 bytes in JSON)."""

TextField = Literal["candidate", "reference"]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be empty: there is nothing to compare with")
    return text


class _Body(BaseModel):
    """The body of a request."""

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the schema; cached, because flask-openapi3 requests it for each request."""
        return super().model_json_schema(*args, **kwargs)


def _alone(reference: str, info: ValidationInfo) -> str:
    if info.data.get("references"):
        raise PydanticCustomError("alone", "must be missing beside references")
    return reference


def _within_batch(pairs: "list[Pair]") -> "list[Pair]":
    if (count := sum(len(pair.texts) for pair in pairs)) > MAX_BATCH_PAIRS:
        raise PydanticCustomError("references", f"must have at most {MAX_BATCH_PAIRS} references, they have {count}")
    return pairs


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]
    schema["pattern"] = r"\S"


class Pair(_Body):
    """An answer and its reference, or several references of which the best counts."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["reference"]}, {"required": ["references"]}]},
    )

    candidate: str = Field(
        max_length=MAX_TEXT_CHARACTERS,
        description="The answer. An empty one (or only white space) is no error: its raw scores are 0.",
        examples=["The sky is blue because air scatters blue light more than red light."],
    )
    references: list[
        Annotated[
            str,
            AfterValidator(_not_blank),
            Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, json_schema_extra={"pattern": r"\S"}),
        ]
    ] = Field(
        default_factory=list,
        min_length=1,
        max_length=MAX_PAIR_REFERENCES,
        description="Reference answers, instead of `reference`. The score is that of the best one. Each counts as a "
        "pair, also for the size of a batch.",
    )
    reference: Annotated[str, AfterValidator(_not_blank), AfterValidator(_alone)] = Field(
        default="",
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        description="The reference answer; not empty, and not only white space. Missing beside `references`.",
        json_schema_extra=_without_default,
        examples=["Sunlight is scattered by the air, and short blue waves are scattered most."],
    )

    @model_validator(mode="before")
    @classmethod
    def _required(cls, body: Any) -> Any:
        """Makes a missing reference an error of its field."""
        return {"reference": ""} | body if isinstance(body, dict) and "references" not in body else body

    @property
    def texts(self) -> list[str]:
        """The references."""
        return self.references or [self.reference]


class Score(BaseModel):
    """BERTScore of one pair: calibrated (`score`) and raw; these numbers are null if the pair is unscorable."""

    score: float | None = Field(
        ge=-1,
        le=1,
        description="F1 on a scale where 0 is the mean of unrelated texts and 1 is identity: "
        "(f1 - baseline) / (1 - baseline), clipped to -1 and 1; raw F1 for an encoder without a baseline.",
    )
    precision: float | None = Field(
        description="Raw: how well each token of the candidate is matched by the reference."
    )
    recall: float | None = Field(description="Raw: how well each token of the reference is matched by the candidate.")
    f1: float | None = Field(description="Raw: harmonic mean of the two.")
    baseline: float | None = Field(
        description="Mean raw F1 of unrelated texts with this scorer; null if it was not measured."
    )
    scorer: str = Field(
        description="Encoder and layer; scores of different scorers are not comparable.",
        examples=["all-MiniLM-L6-v2/layer5-idf"],
    )
    truncated: bool = Field(
        description="Whether a text was longer than the encoder's limit (512 tokens, about 2,000 characters of "
        "English, for the embedded one). Its end does not affect the score."
    )
    truncated_fields: list[TextField] = Field(description="Names of the texts that were cut.")
    reference_index: int | None = Field(
        ge=0,
        description="Position of the reference with the highest score (of equal ones the first), from which all "
        "numbers are; 0 for a single reference; null if the pair is unscorable.",
    )
    unscorable: UnscorableReason | None = Field(
        None,
        description="Why there is no score; null: there is one. `unknown_tokens`: too many words that are not in the "
        "encoder's vocabulary. `other_language`: a language that the encoder does not know.",
    )
    unscorable_fields: list[TextField] = Field(
        [],
        description="Names of the texts that the encoder cannot read; `reference` if it can read none of them.",
    )
    warnings: list[ScoreWarning] = Field(
        [],
        description="`truncated`: see above. `repetition`: the candidate repeats itself, which lowers its score. "
        "`other_number`, `other_name`: it has one that the reference lacks, and lacks one that the reference has "
        "(embedded encoder only).",
    )


class Batch(_Body):
    """Pairs to score; no score depends on other pairs of the batch."""

    pairs: Annotated[list[Pair], AfterValidator(_within_batch)] = Field(min_length=1, max_length=MAX_BATCH_PAIRS)


class BatchScores(BaseModel):
    """One score for each pair, in their order."""

    scores: list[Score]
