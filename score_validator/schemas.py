"""Requests and replies of the scorer."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from pipeline.messages import ScoreWarning, Unreadable

MAX_TEXT_CHARACTERS = 100_000
MAX_BATCH_PAIRS = 256
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


class Pair(_Body):
    """An answer and its reference."""

    candidate: str = Field(
        max_length=MAX_TEXT_CHARACTERS,
        description="The answer. An empty one (or only white space) is no error: its raw scores are 0.",
        examples=["The sky is blue because air scatters blue light more than red light."],
    )
    reference: Annotated[str, AfterValidator(_not_blank)] = Field(
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        description="The reference answer; not empty, and not only white space.",
        json_schema_extra={"pattern": r"\S"},
        examples=["Sunlight is scattered by the air, and short blue waves are scattered most."],
    )


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
    unscorable: Unreadable | None = Field(
        None,
        description="Why there is no score; null: there is one. `unknown_tokens`: too many words that are not in the "
        "encoder's vocabulary. `other_language`: a language that the encoder does not know.",
    )
    unscorable_fields: list[TextField] = Field([], description="Names of the texts that the encoder cannot read.")
    warnings: list[ScoreWarning] = Field(
        [],
        description="`truncated`: see above. `repetition`: the candidate repeats itself, which lowers its score.",
    )


class Batch(_Body):
    """Pairs to score; no score depends on other pairs of the batch."""

    pairs: list[Pair] = Field(min_length=1, max_length=MAX_BATCH_PAIRS)


class BatchScores(BaseModel):
    """One score for each pair, in their order."""

    scores: list[Score]
