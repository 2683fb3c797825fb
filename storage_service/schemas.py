"""Requests and replies of the API; the OpenAPI document is generated from them."""

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
from pipeline.messages import MAX_REFERENCES, Cost, QuestionId, Reason, Rejection, Timestamp
from pipeline.provider_status import ProviderStatus
from pipeline.web import PlainText

MAX_QUESTION_CHARACTERS = 2_000
MAX_TEXT_CHARACTERS = 10_000
MAX_TOPIC_CHARACTERS = 100
MAX_WAIT_SECONDS = 60
MAX_PAGE = 200

Status = Literal["pending", "completed", "failed"]

# The pattern matches the white space of `str.strip` in every dialect; \s of JSON Schema's dialect lacks some of it.
_BLANK, _INK = r"[\s\x1c-\x1f\x85]", r"[^\s\x1c-\x1f\x85\x00]"
_QUESTION_PATTERN = rf"^{_BLANK}*{_INK}([^\x00]{{0,{MAX_QUESTION_CHARACTERS - 2}}}{_INK})?{_BLANK}*$"
_TEXT_PATTERN = r"^[^\x00]*$"
_REFERENCE_PATTERN = rf"^{_BLANK}*{_INK}[^\x00]*$"


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _rfc3339(text: object) -> object:
    """Rejects other formats than RFC 3339 that pydantic accepts: seconds since 1970, dates without a time."""
    if isinstance(text, str) and not _MOMENT.fullmatch(text):
        raise ValueError("must be a time like 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00 (the + as %2B)")
    return text


def _utc(moment: datetime) -> datetime:
    """Converts a time to UTC, because PostgreSQL accepts no offset above 16 hours."""
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


def _reference(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty or only white space")
    return _at_most(MAX_TEXT_CHARACTERS, text)


References = Annotated[
    list[
        Annotated[
            PlainText,
            AfterValidator(_reference),
            Field(json_schema_extra={"maxLength": MAX_TEXT_CHARACTERS, "pattern": _REFERENCE_PATTERN}),
        ]
    ],
    Field(min_length=1, max_length=MAX_REFERENCES),
]


def _distinct(original_answer: str | None, references: list[str] | None) -> tuple[str, ...]:
    """Returns all references in their order; those that differ only in white space around them are equal."""
    found: dict[str, str] = {}
    for text in ([original_answer] if original_answer else []) + (references or []):
        found.setdefault(text.strip(), text)
    return tuple(found.values())


class Ask(BaseModel):
    """A question. A blank context, reference or topic is treated as missing."""

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
        None, description="Body of the question. Questions with different contexts are different questions."
    )
    original_answer: OptionalText = Field(
        None, description="Human reference that answers are scored against; it never reaches the model."
    )
    references: References | None = Field(
        None,
        description="Further human references; the one with the highest score counts. Equal ones are dropped. Without "
        "`original_answer`, the first one takes its place.",
    )
    topic: Topic = Field(
        None,
        description="Subject of the question, for searches. A question keeps its first topic; questions with different "
        "topics are the same question.",
    )

    @property
    def all_references(self) -> tuple[str, ...]:
        """All references, without equal ones."""
        return _distinct(self.original_answer, self.references)


_REFERENCE = {"example": {"original_answer": "Air scatters blue light more than red light."}}


class Regenerate(BaseModel):
    """How a question is asked again; the body is optional."""

    model_config = cast(
        ConfigDict,
        {"frozen": True, "strict": True, "extra": "forbid", "openapi_extra": _REFERENCE | {"required": False}},
    )

    original_answer: OptionalText = Field(
        None, description="New reference. Blank, null or missing, and no `references`: the references stay."
    )
    references: References | None = Field(
        None, description="Further new references, as in `/query`. They and `original_answer` replace all references."
    )

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, body: object) -> object:
        """Treats a missing body like an empty one."""
        return {} if body is None else body

    @property
    def all_references(self) -> tuple[str, ...]:
        """All new references, without equal ones; empty: the references stay."""
        return _distinct(self.original_answer, self.references)


def _optional_reference(schema: dict[str, Any]) -> None:
    del schema["default"]
    schema |= {"maxLength": MAX_TEXT_CHARACTERS, "pattern": _REFERENCE_PATTERN}


class Reference(BaseModel):
    """Other references for a question: `original_answer`, `references` or both."""

    model_config = cast(
        ConfigDict,
        {
            "frozen": True,
            "strict": True,
            "extra": "forbid",
            "openapi_extra": _REFERENCE,
            "json_schema_extra": {"anyOf": [{"required": ["original_answer"]}, {"required": ["references"]}]},
        },
    )

    original_answer: Annotated[PlainText, AfterValidator(_reference)] = Field(
        default="",
        description=f"Human reference that the answers are scored against: up to {MAX_TEXT_CHARACTERS:,} characters, "
        "not blank, and no NUL. Required without `references`.",
        json_schema_extra=_optional_reference,
    )
    references: References = Field(
        default_factory=list,
        description="Further references, as in `/query`. They and `original_answer` replace all references.",
    )

    @model_validator(mode="before")
    @classmethod
    def _required(cls, body: object) -> object:
        """Makes a missing reference an error of its field."""
        return {"original_answer": ""} | body if isinstance(body, dict) and "references" not in body else body

    @property
    def all_references(self) -> tuple[str, ...]:
        """All new references, without equal ones."""
        return _distinct(self.original_answer, self.references)


class Wait(BaseModel):
    """How long a request waits for the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait: float = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Maximum number of seconds to wait until the question is final. When too many requests wait, the "
        "reply comes at once.",
    )

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the cached schema: flask-openapi3 reads it at each request, a third of the time of a fast request."""
        return super().model_json_schema(*args, **kwargs)


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in a query, in the format of RFC 3339."""

SearchText = Annotated[
    PlainText,
    Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS, json_schema_extra={"pattern": _TEXT_PATTERN}),
]

T = TypeVar("T")


def _without_null(schema: dict[str, Any]) -> None:
    """Removes null from the schema of an optional parameter, because a query cannot contain null."""
    del schema["default"]
    schema |= schema.pop("anyOf")[0]


Absent = Annotated[T | None, Field(json_schema_extra=_without_null)]


class FailedFilter(BaseModel):
    """Filter and page of failed questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Absent[Reason] = Field(None, description="Why the questions failed.")
    text: Absent[SearchText] = Field(None, description="Part of the question's text (case-insensitive).")
    since: Absent[Moment] = Field(None, description="Only questions that failed then or later.")
    until: Absent[Moment] = Field(None, description="Only questions that failed before this time.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Maximum number of entries.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="Number of entries to skip.")


class DeadLetterFilter(BaseModel):
    """Filter and page of rejected messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Absent[Rejection] = Field(None, description="Why the messages were rejected.")
    replayed: Absent[bool] = Field(None, description="True: only replayed messages. False: only others.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Maximum number of entries.")
    offset: int = Field(0, ge=0, le=1_000_000_000, description="Number of entries to skip.")


class LetterPath(BaseModel):
    """Id of the dead letter."""

    letter_id: int = Field(ge=1, le=2**63 - 1)


class QuestionPath(BaseModel):
    """Id of the question."""

    question_id: QuestionId


_ID = "3f1a7c0d9be24f6685a1c2d3e4f50617"
_ANSWER = {
    "question_id": _ID,
    "question_text": "Why is the sky blue?",
    "original_answer": "Air scatters blue light more than red light.",
    "references": ["Blue light is scattered more by the air."],
    "llm_response": "The sky looks blue since air scatters short, blue waves of sunlight most.",
    "bert_score": 0.612345,
    "bert_precision": 0.725841,
    "bert_recall": 0.826601,
    "bert_f1": 0.772946,
    "reference_index": 0,
    "quality": "accepted",
    "unscored_reason": None,
    "warnings": [],
    "judge": {"probability": 0.93, "problem": None, "model": "judge-model"},
    "rejected_by": None,
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
    """Returns the model configuration by which flask-openapi3 documents a response."""
    named = {str(each.get("source", each.get("status", "example"))): {"value": each} for each in examples}
    extra = {"description": description, "examples": named} | more
    return cast(ConfigDict, {"openapi_extra": extra, "frozen": True})


class Failure(BaseModel):
    """Why a question has no answer."""

    reason: Reason
    last_error: str
    retry_count: int
    failed_at: Timestamp


class FailedQuestion(Failure):
    """A failed question, and why it failed."""

    question_id: QuestionId
    question_text: str


class FailedPage(BaseModel):
    """Failed questions, the newest first."""

    model_config = _documented(
        "Failed questions, the newest first.",
        {"total": 1, "failed": [{"question_id": _ID, "question_text": "Why is the sky blue?"} | _FAILURE]},
    )

    total: int = Field(description="Number of matching questions on all pages.")
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
    topic: str = Field(description="Topic of the dead letter.")
    partition: int
    offset: int
    source_topic: str | None = Field(description="Topic from which the message was rejected; null: unknown.")
    source_partition: int | None
    source_offset: int | None
    reason: Rejection = Field(description="`internal_error`: a fault of a service, not of the message.")
    error: str
    key: str | None = Field(description="Key of the message as text; invalid UTF-8 is replaced.")
    question_id: QuestionId | None = Field(description="Question id, if the key is one.")
    value_bytes: int | None = Field(description="Size of the message; null: it has no value, or was not forwarded.")
    kept_bytes: int | None = Field(description="Number of stored bytes; a message that was cut cannot be replayed.")
    preview: str | None = Field(description="Start of the message as text; invalid UTF-8 is replaced.")
    failed_at: Timestamp
    received_at: Timestamp
    replayed_at: Timestamp | None


class DeadLetterPage(BaseModel):
    """Rejected messages, the newest first."""

    model_config = _documented("Rejected messages, the newest first.", {"total": 1, "dead_letters": [_LETTER]})

    total: int = Field(description="Number of matching messages on all pages.")
    dead_letters: list[DeadLetter]


class Completed(BaseModel):
    """The question has an answer."""

    status: Literal["completed"] = "completed"
    source: Literal["cache", "database"]
    question_id: QuestionId
    result: Answer


class Failed(BaseModel):
    """The question could not be answered; asking it again restarts it."""

    status: Literal["failed"] = "failed"
    question_id: QuestionId
    error: Failure


class Pending(BaseModel):
    """The question is pending; `Location` is the address of its state."""

    model_config = _documented(
        "The question is pending.",
        {"status": "pending", "question_id": _ID},
        headers={
            "Location": {
                "description": "Address of the state and the answer: `/status/ID`.",
                "schema": {"type": "string"},
            }
        },
    )

    status: Literal["pending"] = "pending"
    question_id: QuestionId


class Final(RootModel[Annotated[Completed | Failed, Field(discriminator="status")]]):
    """The question is final."""

    model_config = _documented(
        "The answer; or the failure of a question that failed while the request waited.",
        {"status": "completed", "source": "cache", "question_id": _ID, "result": _ANSWER},
        {"status": "completed", "source": "database", "question_id": _ID, "result": _ANSWER},
        {"status": "failed", "question_id": _ID, "error": _FAILURE},
    )


Reply = Completed | Failed | Pending


class Usage(BaseModel):
    """Tokens and cost of all calls, including those with rejected, empty or refused answers, and those of the judge."""

    model_config = ConfigDict(frozen=True)

    attempts: int = Field(0, description="Scored answers.")
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Cost | None = Field(
        None, description="In the currency of `LLM_PRICES`, for calls with a known price; null when no price is known."
    )


class State(BaseModel):
    """State of a question."""

    model_config = _documented(
        "State of the question.",
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
        """Whether the question is answered or given up."""
        return self.status != "pending"


class DayBudget(Budget):
    """The day's budget of the calls to the model."""

    model_config = _documented(
        "The day's budget; fields are null when no budget is set.",
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
        "State of each provider; empty before the first call of the model.", {"providers": [_PROVIDER]}
    )

    providers: list[ProviderStatus]


class ByStatus(BaseModel):
    """Questions by status."""

    pending: int = 0
    completed: int = 0
    failed: int = 0


class ByQuality(BaseModel):
    """Answers by quality."""

    accepted: int = 0
    max_retries_reached: int = 0
    self_check_accepted: int = Field(
        0, description="Answers without reference that agree with further answers of the model."
    )
    self_check_max_retries_reached: int = Field(
        0, description="Answers without reference that agree too little with further answers of the model."
    )
    unscored: int = 0


class BySource(BaseModel):
    """Replies to `POST /query` by source."""

    cache: int = 0
    database: int = 0
    pending: int = 0
    failed: int = 0


class Stored(BaseModel):
    """Statistics of the database."""

    questions: ByStatus
    asked_total: int = Field(description="How often all questions were asked; cache hits are added within a second.")
    answers: ByQuality
    mean_score: Annotated[float, PlainSerializer(lambda score: round(score, 6))] | None = Field(
        description="Mean `bert_score` of answers (0: chance, 1: identity); null when none is scored."
    )
    usage: Usage = Usage()
    outbox: int = Field(description="Pending questions whose publication is not acknowledged yet.")
    oldest_pending_seconds: Annotated[float, PlainSerializer(lambda age: round(age, 3))] | None = Field(
        None, description="Age of the oldest pending question; null when none is pending."
    )
    dead_letters: int = Field(0, description="Rejected messages that were not replayed; see `GET /dead-letters`.")


class Statistics(Stored):
    """Statistics of the service."""

    model_config = _documented(
        "Statistics of the service.",
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
    providers: list[ProviderStatus] = Field(
        description="State of the providers, as in `GET /providers`; empty while Redis does not answer."
    )
