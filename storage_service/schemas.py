"""What the API takes and gives; the OpenAPI document is made of these."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    WithJsonSchema,
    model_validator,
)

from pipeline.budget import Budget
from pipeline.cache import Answer
from pipeline.messages import Cost, QuestionId, Reason, Rejection, Timestamp
from pipeline.provider import ProviderStatus
from pipeline.web import PlainText

MAX_QUESTION_CHARACTERS = 2_000
MAX_TEXT_CHARACTERS = 10_000
MAX_TOPIC_CHARACTERS = 100
MAX_WAIT_SECONDS = 60
MAX_PAGE = 200

Status = Literal["pending", "completed", "failed"]

# The pattern says in every dialect what `str.strip` takes for white space: \s of JSON Schema's dialect leaves out some.
_BLANK, _INK = r"[\s\x1c-\x1f\x85]", r"[^\s\x1c-\x1f\x85\x00]"
_QUESTION_PATTERN = rf"^{_BLANK}*{_INK}([^\x00]{{0,{MAX_QUESTION_CHARACTERS - 2}}}{_INK})?{_BLANK}*$"
_TEXT_PATTERN = r"^[^\x00]*$"
_REFERENCE_PATTERN = rf"^{_BLANK}*{_INK}[^\x00]*$"


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _rfc3339(text: object) -> object:
    """Keeps out what pydantic takes beside RFC 3339: seconds since 1970, dates without a time."""
    if isinstance(text, str) and not _MOMENT.fullmatch(text):
        raise ValueError("must be a time as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00 (the + as %2B)")
    return text


def _utc(moment: datetime) -> datetime:
    """Moves a time to UTC: PostgreSQL knows no offset beyond 16 hours."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999") from None


def _at_most(limit: int, text: str) -> str:
    if len(text) > limit:
        raise ValueError(f"must have at most {limit:,} characters, it has {len(text):,}")
    return text


def _question(text: str) -> str:
    trimmed = text.strip()
    if not trimmed:
        raise ValueError("must not be empty or only white space")
    return _at_most(MAX_QUESTION_CHARACTERS, trimmed)


def _optional_text(text: str) -> str | None:
    _at_most(MAX_TEXT_CHARACTERS, text)
    return text if text.strip() else None


OptionalText = (
    Annotated[
        PlainText,
        AfterValidator(_optional_text),
        Field(json_schema_extra={"maxLength": MAX_TEXT_CHARACTERS, "pattern": _TEXT_PATTERN}),
    ]
    | None
)


def _topic(text: str) -> str | None:
    return _at_most(MAX_TOPIC_CHARACTERS, text).strip() or None


Topic = (
    Annotated[
        PlainText,
        AfterValidator(_topic),
        Field(json_schema_extra={"maxLength": MAX_TOPIC_CHARACTERS, "pattern": _TEXT_PATTERN}),
    ]
    | None
)


class Ask(BaseModel):
    """A question. A blank context, reference or topic counts as none."""

    model_config = cast(
        ConfigDict,
        {
            "frozen": True,
            "strict": True,
            "extra": "forbid",
            "openapi_extra": {
                "example": {
                    "question_text": "Why is the sky blue?",
                    "original_answer": "Air scatters blue light more than red light.",
                }
            },
        },
    )

    question_text: Annotated[PlainText, AfterValidator(_question)] = Field(
        description=f"1 to {MAX_QUESTION_CHARACTERS:,} characters after trimming, and no NUL.",
        json_schema_extra={"pattern": _QUESTION_PATTERN},
    )
    question_context: OptionalText = Field(
        None, description="Body of the question; part of what makes it the same one."
    )
    original_answer: OptionalText = Field(
        None, description="Human reference that answers are scored against; it never reaches the model."
    )
    topic: Topic = Field(
        None,
        description="What it is about, to find it by; the first one stays. No part of what makes it the same.",
    )


def _reference(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty or only white space")
    return _at_most(MAX_TEXT_CHARACTERS, text)


_REFERENCE = {"example": {"original_answer": "Air scatters blue light more than red light."}}


class Regenerate(BaseModel):
    """How a question is asked anew; the body may be left out."""

    model_config = cast(
        ConfigDict,
        {"frozen": True, "strict": True, "extra": "forbid", "openapi_extra": _REFERENCE | {"required": False}},
    )

    original_answer: OptionalText = Field(
        None, description="Takes the place of the reference; blank, null or left out: it stays."
    )

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, body: object) -> object:
        """Takes no body for an empty one."""
        return {} if body is None else body


class Reference(BaseModel):
    """Another reference for a question."""

    model_config = cast(ConfigDict, {"frozen": True, "strict": True, "extra": "forbid", "openapi_extra": _REFERENCE})

    original_answer: Annotated[PlainText, AfterValidator(_reference)] = Field(
        description=f"Human reference that the answers are scored against: up to {MAX_TEXT_CHARACTERS:,} characters, "
        "not blank, and no NUL.",
        json_schema_extra={"maxLength": MAX_TEXT_CHARACTERS, "pattern": _REFERENCE_PATTERN},
    )


class Wait(BaseModel):
    """How long to hold the reply back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait: float = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds to hold the reply back until the question is final. When too many wait already, "
        "the reply comes at once.",
    )

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the schema, made once: flask-openapi3 asks for it at each request, a third of a cheap one's time."""
        return super().model_json_schema(*args, **kwargs)


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in the query: RFC 3339."""

SearchText = Annotated[
    PlainText,
    Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS, json_schema_extra={"pattern": _TEXT_PATTERN}),
]

T = TypeVar("T")


def _without_null(schema: dict[str, Any]) -> None:
    """Takes null out of the schema of a parameter that may be left out: a query cannot say it."""
    del schema["default"]
    schema |= schema.pop("anyOf")[0]


Absent = Annotated[T | None, Field(json_schema_extra=_without_null)]


class FailedFilter(BaseModel):
    """Which failed questions are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Absent[Reason] = Field(None, description="Why they failed.")
    text: Absent[SearchText] = Field(None, description="Part of the question's text, upper and lower case alike.")
    since: Absent[Moment] = Field(None, description="They failed then or later.")
    until: Absent[Moment] = Field(None, description="They failed earlier than that.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="How many to list.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="How many to leave out before them.")


class DeadLetterFilter(BaseModel):
    """Which rejected messages are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Absent[Rejection] = Field(None, description="Why they were rejected.")
    replayed: Absent[bool] = Field(None, description="Only those that were replayed, or only those that were not.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="How many to list.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="How many to leave out before them.")


class LetterPath(BaseModel):
    """The dead letter that is meant."""

    letter_id: int = Field(ge=1, le=2**63 - 1)


class QuestionPath(BaseModel):
    """The question that is meant."""

    question_id: QuestionId


_ID = "3f1a7c0d9be24f6685a1c2d3e4f50617"
_ANSWER = {
    "question_id": _ID,
    "question_text": "Why is the sky blue?",
    "original_answer": "Air scatters blue light more than red light.",
    "llm_response": "The sky looks blue since air scatters short, blue waves of sunlight most.",
    "bert_score": 0.612345,
    "bert_precision": 0.725841,
    "bert_recall": 0.826601,
    "bert_f1": 0.772946,
    "quality": "accepted",
    "scorer": "all-MiniLM-L6-v2/layer5-idf",
    "model": "smollm2-135m-instruct",
    "processing_attempts": 1,
    "total_processing_time_ms": 1840,
    "created_at": "2026-01-31T12:00:01.840Z",
}
_FAILURE = {
    "reason": "retries_exhausted",
    "last_error": "overload 503: server busy",
    "retry_count": 3,
    "failed_at": "2026-01-31T12:00:16.200Z",
}


_USAGE = {"attempts": 1, "prompt_tokens": 52, "completion_tokens": 61, "cost": "0.000118400"}


def _documented(description: str, *examples: dict[str, Any], **more: Any) -> ConfigDict:
    """Returns the model configuration with which flask-openapi3 documents a response."""
    named = {str(each.get("source", each.get("status", "example"))): {"value": each} for each in examples}
    extra = {"description": description, "examples": named} | more
    return cast(ConfigDict, {"openapi_extra": extra, "frozen": True})


class Failure(BaseModel):
    """Why there is no answer."""

    reason: Reason
    last_error: str
    retry_count: int
    failed_at: Timestamp


class FailedQuestion(Failure):
    """A question that failed, and why."""

    question_id: QuestionId
    question_text: str


class FailedPage(BaseModel):
    """Failed questions, the newest first."""

    model_config = _documented(
        "Failed questions, the newest first.",
        {"total": 1, "failed": [{"question_id": _ID, "question_text": "Why is the sky blue?"} | _FAILURE]},
    )

    total: int = Field(description="How many there are that match, on all pages.")
    failed: list[FailedQuestion]


_LETTER = {
    "id": 7,
    "topic": "llm-responses-error-permanent",
    "partition": 0,
    "offset": 41,
    "source_topic": "llm-responses-success",
    "source_partition": 2,
    "source_offset": 1805,
    "reason": "malformed",
    "error": "question_id: Field required",
    "key": _ID,
    "question_id": _ID,
    "value_bytes": 19,
    "kept_bytes": 19,
    "preview": '{"llm_response": 1}',
    "failed_at": "2026-01-31T12:00:16.200Z",
    "received_at": "2026-01-31T12:00:16.412Z",
    "replayed_at": None,
}


class DeadLetter(BaseModel):
    """A message that was rejected."""

    model_config = _documented("The dead letter.", _LETTER)

    id: int
    topic: str = Field(description="Where its letter stands.")
    partition: int
    offset: int
    source_topic: str | None = Field(description="Where the message was rejected; null: not known.")
    source_partition: int | None
    source_offset: int | None
    reason: Rejection = Field(description="`internal_error`: a fault of a service, not of the message.")
    error: str
    key: str | None = Field(description="As text; what is no UTF-8 is replaced.")
    question_id: QuestionId | None = Field(description="The key, where it is one.")
    value_bytes: int | None = Field(description="Size of the message; null: it has no value, or was not forwarded.")
    kept_bytes: int | None = Field(description="How many of them are kept; a message that was cut cannot be replayed.")
    preview: str | None = Field(description="The start of the message, as text; what is no UTF-8 is replaced.")
    failed_at: Timestamp
    received_at: Timestamp
    replayed_at: Timestamp | None


class DeadLetterPage(BaseModel):
    """Rejected messages, the newest first."""

    model_config = _documented("Rejected messages, the newest first.", {"total": 1, "dead_letters": [_LETTER]})

    total: int = Field(description="How many there are that match, on all pages.")
    dead_letters: list[DeadLetter]


class Completed(BaseModel):
    """The question has its answer."""

    status: Literal["completed"] = "completed"
    source: Literal["cache", "database"]
    question_id: QuestionId
    result: Answer


class Failed(BaseModel):
    """The question cannot be answered; asked again, it starts anew."""

    status: Literal["failed"] = "failed"
    question_id: QuestionId
    error: Failure


class Pending(BaseModel):
    """The question is on its way; `Location` tells where to look."""

    model_config = _documented(
        "The question is on its way.",
        {"status": "pending", "question_id": _ID},
        headers={
            "Location": {
                "description": "Where to look for the answer: `/status/ID`.",
                "schema": {"type": "string"},
            }
        },
    )

    status: Literal["pending"] = "pending"
    question_id: QuestionId


class Final(RootModel[Annotated[Completed | Failed, Field(discriminator="status")]]):
    """The question is final."""

    model_config = _documented(
        "The answer; or why there is none, for a question that failed while the reply was held back.",
        {"status": "completed", "source": "cache", "question_id": _ID, "result": _ANSWER},
        {"status": "completed", "source": "database", "question_id": _ID, "result": _ANSWER},
        {"status": "failed", "question_id": _ID, "error": _FAILURE},
    )


Reply = Completed | Failed | Pending


class Usage(BaseModel):
    """What calls took, those included whose answers were not kept, were empty or refused."""

    model_config = ConfigDict(frozen=True)

    attempts: int = Field(0, description="Scored answers.")
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Cost | None = Field(
        None, description="In the currency of `LLM_PRICES`, of those whose price is known; null when none is."
    )


class State(BaseModel):
    """How a question stands."""

    model_config = _documented(
        "How the question stands.",
        {
            "question_id": _ID,
            "status": "completed",
            "question_text": "Why is the sky blue?",
            "asked_at": "2026-01-31T12:00:00.000Z",
            "result": _ANSWER,
            "error": None,
            "usage": _USAGE,
        },
    )

    question_id: QuestionId
    status: Status
    question_text: str
    asked_at: Timestamp
    result: Answer | None = None
    error: Failure | None = None
    usage: Usage = Usage()

    @property
    def final(self) -> bool:
        """Whether it is answered or given up."""
        return self.status != "pending"


class DayBudget(Budget):
    """The day's budget of the calls to the model."""

    model_config = _documented(
        "The day's budget; null where none is set.",
        {
            "day": "2026-01-31",
            "spent_tokens": 100004,
            "spent_cost": "0.040118400",
            "budget_tokens": 100000,
            "budget_cost": None,
            "paused": True,
            "resumes_at": "2026-02-01T00:00:00.000Z",
        },
    )


_PROVIDER = {
    "provider": "https://api.example.com/v1",
    "state": "limited",
    "cause": "rate_limit",
    "message": "Rate limit reached for requests per minute",
    "waiting_until": "2026-01-31T12:00:41.500Z",
    "requests_per_minute": 10.0,
    "tokens_per_minute": None,
    "limit_source": "refusals",
    "calls_last_minute": 10,
    "refused_last_minute": 1,
    "tokens_last_minute": 1480,
    "in_flight": 0,
    "at": "2026-01-31T12:00:02.000Z",
}


class Providers(BaseModel):
    """The providers of the model."""

    model_config = _documented(
        "How each provider stands; none before the first call of the model.", {"providers": [_PROVIDER]}
    )

    providers: list[ProviderStatus]


class ByStatus(BaseModel):
    """Questions by status."""

    pending: int = 0
    completed: int = 0
    failed: int = 0


class ByQuality(BaseModel):
    """Kept answers by quality."""

    accepted: int = 0
    max_retries_reached: int = 0
    self_check_accepted: int = Field(0, description="Without reference: they agree with further answers of the model.")
    self_check_max_retries_reached: int = Field(0, description="Without reference: they agree too little.")
    unscored: int = 0


class BySource(BaseModel):
    """Replies to `POST /query` by what they were taken from."""

    cache: int = 0
    database: int = 0
    pending: int = 0
    failed: int = 0


class Stored(BaseModel):
    """What the database knows in figures."""

    questions: ByStatus
    asked_total: int = Field(
        description="How often all questions were asked; hits of the cache follow within a second."
    )
    answers: ByQuality
    mean_score: Annotated[float, PlainSerializer(lambda score: round(score, 6))] | None = Field(
        description="Mean `bert_score` of kept answers (0: chance, 1: identity); null when none is scored."
    )
    usage: Usage = Usage()
    outbox: int = Field(description="Pending questions whose publication is not acknowledged yet.")
    oldest_pending_seconds: Annotated[float, PlainSerializer(lambda age: round(age, 3))] | None = Field(
        None, description="Age of the pending question that was asked first; null when none is pending."
    )
    dead_letters: int = Field(0, description="Rejected messages that were not replayed; see `GET /dead-letters`.")


class Statistics(Stored):
    """The service in figures."""

    model_config = _documented(
        "The service in figures.",
        {
            "questions": {"pending": 3, "completed": 120, "failed": 1},
            "asked_total": 310,
            "answers": {
                "accepted": 80,
                "max_retries_reached": 32,
                "self_check_accepted": 0,
                "self_check_max_retries_reached": 0,
                "unscored": 8,
            },
            "mean_score": 0.5312,
            "usage": {"attempts": 201, "prompt_tokens": 14204, "completion_tokens": 12511, "cost": "0.025699200"},
            "outbox": 0,
            "oldest_pending_seconds": 2.125,
            "dead_letters": 0,
            "replies": {"cache": 150, "database": 12, "pending": 124, "failed": 0},
            "providers": [_PROVIDER],
        },
    )

    replies: BySource = Field(description="Replies since the service started.")
    providers: list[ProviderStatus] = Field(description="As `GET /providers` tells; empty while Redis does not answer.")
