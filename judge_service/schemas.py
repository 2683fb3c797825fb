"""Requests of the judge; its replies are `pipeline.messages.Judgement`."""

from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from pipeline.messages import MAX_REFERENCES, QuestionId
from pipeline.web import PlainText

MAX_TEXT_CHARACTERS = 100_000
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Larger than any message of a topic."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be empty")
    return text


Words = Annotated[
    PlainText,
    AfterValidator(_not_blank),
    Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, json_schema_extra={"pattern": r"\S"}),
]


class Submission(BaseModel):
    """An answer to judge, with its question and references."""

    question_id: QuestionId
    question_text: Words = Field(description="The question.", examples=["Why is the sky blue?"])
    question_context: Annotated[PlainText, Field(max_length=MAX_TEXT_CHARACTERS)] | None = Field(
        None, description="Context of the question."
    )
    references: list[Words] = Field(
        min_length=1,
        max_length=1 + MAX_REFERENCES,
        description="Correct answers; it is enough to agree with one of them.",
        examples=[["Sunlight is scattered by the air, and short blue waves are scattered most."]],
    )
    answer: Annotated[PlainText, Field(max_length=MAX_TEXT_CHARACTERS)] = Field(
        description="The answer. An empty one (or only white space) is off topic.",
        examples=["The sky is blue because air scatters blue light more than red light."],
    )

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the schema; cached, because flask-openapi3 requests it for each request."""
        return super().model_json_schema(*args, **kwargs)
