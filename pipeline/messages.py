"""The messages on the topics: one typed model for each kind, JSON in UTF-8.

Readers ignore unknown fields, because a newer producer may add some, and are strict about the types of known fields.
Only `read` converts bytes to a model, and only `to_bytes` converts a model to bytes.
"""

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from pipeline import topics
from pipeline.question import ID_DIGITS

MAX_ATTEMPTS_LIMIT = 10
MAX_RETRIES = 3
"""Maximum number of error retries of one generation."""

MAX_SAMPLES = 8
"""Maximum number of further answers to the same prompt that a response carries."""

MAX_REFERENCES = 8
"""Maximum number of references of a question beside `original_answer`."""

MAX_SAMPLE_CHARACTERS = 4_000
"""Twice what the embedded encoder reads; `MAX_SAMPLES` of them take up to 128 kB of a message."""

Quality = Literal[
    "accepted", "max_retries_reached", "self_check_accepted", "self_check_max_retries_reached", "unscored"
]
"""Outcome of an answer, and kind of its score.

`self_check_…`: there is no reference, and the score is the agreement with further answers of the same model.
`unscored`: there is no score. The others: the score compares the answer with the reference."""
UnscorableReason = Literal["unknown_tokens", "other_language"]
"""Why the scorer cannot read a text: too many words that are not in its vocabulary, or a language that it does not
know."""
UnscoredReason = Literal["no_reference", UnscorableReason]
"""Why an answer has no score. `no_reference`: there is nothing to compare it with."""
ScoreWarning = Literal["truncated", "repetition", "other_number", "other_name"]
"""`truncated`: the end of a text did not affect the score. `repetition`: the answer repeats itself. `other_number` and
`other_name`: the answer has one that the reference lacks, and lacks one that the reference has."""
JudgeProblem = Literal["wrong", "incomplete", "off_topic", "refused"]
"""What a judge finds wrong: `wrong` (something that matters is false), `incomplete` (the main point is missing),
`off_topic` (the answer evades the question, or is about something else). `refused`: it does not judge this answer."""
RejectedBy = Literal["score", "judge"]
"""Why an answer is not accepted. `score`: its score is below the threshold. `judge`: only the judge rejects it."""
Rejection = Literal["malformed", "internal_error"]
"""`malformed`: the message cannot be read, or its data are invalid. `internal_error`: a fault of a service."""
Reason = Literal["retries_exhausted", "patience_exhausted", "not_retryable", Rejection]
QuestionId = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$", description="Key of every message.")]
Text = Annotated[str, Field(min_length=1)]
Milliseconds = Annotated[int, Field(ge=0)]
Tokens = Annotated[int, Field(ge=0)]
Cost = Annotated[
    Decimal,
    Field(ge=0, max_digits=18, decimal_places=9),
    PlainSerializer(lambda cost: f"{cost:f}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d{1,9})?$"}),
]
"""In the currency of `LLM_PRICES`; a text, so that it stays exact. Null: the price of the model is unknown."""
Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""`bert_score` is calibrated: 0 is chance and 1 is identity. `bert_precision`, `bert_recall` and `bert_f1` are raw."""
ReferenceIndex = Annotated[int, Field(ge=0, le=MAX_REFERENCES)]
"""The reference with the highest score: 0 is `original_answer`, 1 the first of `references`.

Null: there is no score, or it is from a self-check, or from before a question could have several references."""
ErrorType = Literal["overload", "quota", "permanent"]
Cause = Literal[
    "rate_limit",
    "quota",
    "credit",
    "unavailable",
    "no_answer",
    "refused_content",
    "context_length",
    "field",
    "key",
    "model",
    "access",
    "other",
]
"""Why a call failed.

`rate_limit`, `quota` (for example of a day) and `credit`: the provider did not admit the call. `unavailable`: there was
no response, or a server error. `no_answer`: the response has no answer (it is empty, or ends within the model's
thoughts). The others are final: `refused_content` (a filter), `context_length` (the prompt is too long), `field` (a
field that the provider does not support), `key`, `model` (unknown, or not allowed for this key), `access` (a country, a
blocked client), `other`."""
NOT_ADMITTED: frozenset[Cause] = frozenset({"rate_limit", "quota", "credit"})
"""Causes that do not count against the question: it waits until the provider admits calls again."""
RetryAfter = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Seconds."""


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339, UTC, milliseconds."""


Q = TypeVar("Q", bound="Question")


class InvalidMessage(Exception):
    """A message that cannot be read; the text is the reason, without the payload."""


class Message(BaseModel):
    """Base class of all messages."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, protected_namespaces=())

    schema_version: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """Returns the message as JSON in UTF-8."""
        return self.model_dump_json().encode()


class Judge(BaseModel):
    """What a judge says about an answer: a model that compares it with the references."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    probability: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False, description="That the answer is right; null: the judge refused it."),
    ]
    problem: Annotated[
        JudgeProblem | None,
        Field(
            description="What is probably wrong. `wrong`: something that matters is false. `incomplete`: the main "
            "point is missing. `off_topic`: the answer evades the question, or is about something else. `refused`: the "
            "judge does not judge this answer. Null: nothing."
        ),
    ] = None
    model: str


class Judgement(Judge):
    """What a judge says about an answer, and what its call took."""

    model_config = ConfigDict(strict=True)

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    cost: Cost | None = None


class BestAnswer(BaseModel):
    """The best scored answer so far."""

    model_config = ConfigDict(frozen=True, strict=True, protected_namespaces=())

    llm_response: Text
    bert_score: Score
    bert_precision: Score
    bert_recall: Score
    bert_f1: Score | None = None
    reference_index: ReferenceIndex | None = None
    attempt: Annotated[int, Field(ge=1)]
    model: str
    scorer: str | None = None
    warnings: tuple[ScoreWarning, ...] = ()
    judgement: Judgement | None = None
    rejected_by: RejectedBy | None = None

    @classmethod
    def of(cls, low: "LowQuality") -> "BestAnswer":
        """Returns the answer in the record of an attempt."""
        shared = {name: getattr(low, name) for name in cls.model_fields if name != "attempt"}
        return cls(attempt=low.processing_attempts, **shared)

    def shared_fields(self) -> dict[str, Any]:
        """Returns the fields that messages about the answer have under the same names."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "attempt"}


class Attempt(BaseModel):
    """One scored generation."""

    model_config = ConfigDict(frozen=True, strict=True, protected_namespaces=())

    attempt: Annotated[int, Field(ge=1)]
    model: str
    llm_response: Text
    bert_score: Score | None
    llm_latency_ms: Milliseconds
    prompt_tokens: Tokens
    completion_tokens: Tokens
    reasoning_tokens: Tokens = 0
    cost: Cost | None = None
    judgement: Judgement | None = Field(default=None, description="Null: no judge was asked.")
    generated_at: Timestamp


class ProviderError(BaseModel):
    """An error of a provider: why a call has no answer."""

    model_config = ConfigDict(frozen=True, strict=True)

    type: ErrorType
    cause: Cause = "other"
    status_code: int | None = Field(default=None, description="HTTP status; null when there was no HTTP response.")
    message: str
    retry_after_seconds: RetryAfter | None = None
    counts_as_retry: bool = Field(
        default=True,
        description="False: the provider did not admit the call, or was unavailable for everybody. The question only "
        "loses time.",
    )
    prompt_tokens: Tokens = Field(default=0, description="Tokens that an empty or refused answer took nevertheless.")
    completion_tokens: Tokens = 0
    cost: Cost | None = None


class ErrorRecord(ProviderError):
    """An error in the history of a question: the last one of an attempt and retry, and the number of failed calls."""

    attempt: Annotated[int, Field(ge=1)]
    retry: Annotated[int, Field(ge=0)]
    times: Annotated[
        int, Field(ge=1, description="Number of calls; more than 1 when the first ones did not count as a retry.")
    ] = 1
    failed_at: Timestamp
    due_at: Timestamp | None = Field(default=None, description="When the call is due again; null: never.")


class Question(Message):
    """A question to be asked (`questions-pending`); every other message about a question has these fields, too."""

    question_id: QuestionId
    question_text: Text
    question_context: str | None = None
    original_answer: Annotated[str | None, Field(description="Human reference; it never reaches a prompt.")] = None
    references: Annotated[
        tuple[Text, ...],
        Field(
            max_length=MAX_REFERENCES,
            description="Further human references beside original_answer, without which they have no effect. An "
            "answer's score is that of the best one. They never reach a prompt.",
        ),
    ] = ()
    processing_attempts: Annotated[
        int, Field(ge=1, le=MAX_ATTEMPTS_LIMIT, description="Number of the current generation.")
    ] = 1
    retry_count: Annotated[int, Field(ge=0, le=MAX_RETRIES, description="Error retries of this generation.")] = 0
    asked_at: Timestamp
    waiting_since: Annotated[
        Timestamp | None,
        Field(description="When the provider first refused to admit this generation, or was unavailable; null: never."),
    ] = None
    best: BestAnswer | None = None
    attempts: tuple[Attempt, ...] = ()
    errors: Annotated[tuple[ErrorRecord, ...], Field(description="Failed calls so far, of all generations.")] = ()

    @property
    def all_references(self) -> tuple[str, ...]:
        """All human references, `original_answer` first; empty without it. `reference_index` counts in them."""
        return (self.original_answer, *self.references) if self.original_answer else ()

    def errors_with(self, error: ProviderError, failed_at: datetime) -> tuple[ErrorRecord, ...]:
        """Returns the history with one more failed call; calls of the same attempt and retry are one entry."""
        earlier, times, took = self.errors, 1, {}
        last = self.errors[-1] if self.errors else None
        if last and (last.attempt, last.retry) == (self.processing_attempts, self.retry_count):
            earlier, times = self.errors[:-1], last.times + 1
            took = {
                "prompt_tokens": last.prompt_tokens + error.prompt_tokens,
                "completion_tokens": last.completion_tokens + error.completion_tokens,
                "cost": None if last.cost is None and error.cost is None else (last.cost or 0) + (error.cost or 0),
            }
        failure = ErrorRecord(
            attempt=self.processing_attempts,
            retry=self.retry_count,
            times=times,
            failed_at=failed_at,
            **error.model_dump() | took,
        )
        return (*earlier, failure)

    def convert_to(self, kind: type[Q], **changes: Any) -> Q:
        """Returns a message of another kind with the fields that both kinds have, and with `changes`."""
        shared = {name: getattr(self, name) for name in type(self).model_fields if name in kind.model_fields}
        return kind(**shared | changes)


class Response(Question):
    """An answer of the model that waits for its score (`llm-responses-success`)."""

    llm_response: Text
    model: str
    llm_latency_ms: Milliseconds
    prompt_tokens: Tokens = 0
    completion_tokens: Annotated[int, Field(ge=0, description="Tokens of the answer, including thoughts.")] = 0
    reasoning_tokens: Annotated[int, Field(ge=0, description="Those of the completion tokens that are thoughts.")] = 0
    cost: Cost | None = Field(default=None, description="In the currency of LLM_PRICES; null: no price is known.")
    finish_reason: str = "stop"
    generated_at: Timestamp
    samples: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_SAMPLE_CHARACTERS)], ...],
        Field(
            max_length=MAX_SAMPLES,
            description="Further answers to the same prompt, for a question without reference; the answer is compared "
            "with them. The tokens of the response include their tokens.",
        ),
    ] = ()


class RetryableFailure(Question):
    """A question whose call failed; it is called again (`llm-responses-error-overload`, `-quota`)."""

    error: ProviderError
    failed_at: Timestamp


class Validated(Question):
    """The final answer (`validated-responses`)."""

    llm_response: Text
    model: str
    bert_score: Score | None
    bert_precision: Score | None
    bert_recall: Score | None
    bert_f1: Score | None = None
    reference_index: ReferenceIndex | None = None
    quality: Quality
    scorer: str | None = Field(description="Encoder and layer that computed the score; null when unscored.")
    unscored_reason: Annotated[
        UnscoredReason | None, Field(description="Null for a scored answer, and in messages of older versions.")
    ] = None
    warnings: Annotated[tuple[ScoreWarning, ...], Field(description="What to know about the score.")] = ()
    judgement: Judgement | None = Field(default=None, description="Null: no judge was asked about this answer.")
    rejected_by: RejectedBy | None = Field(
        default=None, description="Null for an accepted or unscored answer, and in messages of older versions."
    )
    total_processing_time_ms: Milliseconds
    validated_at: Timestamp


class LowQuality(Response):
    """A record of an attempt that was not accepted (`low-quality-responses`); it is the last one in `attempts`."""

    bert_score: Score
    bert_precision: Score
    bert_recall: Score
    bert_f1: Score | None = None
    reference_index: ReferenceIndex | None = None
    scorer: str
    warnings: Annotated[tuple[ScoreWarning, ...], Field(description="What to know about the score.")] = ()
    threshold: float
    judgement: Judgement | None = Field(default=None, description="Null: no judge was asked.")
    rejected_by: RejectedBy = "score"
    decision: Literal["regenerate", "max_retries_reached"]
    scored_at: Timestamp


class RecordPosition(BaseModel):
    """The position of a message in a topic."""

    model_config = ConfigDict(frozen=True, strict=True)

    topic: str
    partition: int
    offset: int


class FailedQuestion(Question):
    """A question that cannot be answered (`llm-responses-error-permanent`)."""

    reason: Literal["retries_exhausted", "patience_exhausted", "not_retryable"]
    error: ProviderError
    source: RecordPosition
    failed_at: Timestamp


class DeadLetter(Message):
    """A message that a service rejected, with its bytes (`llm-responses-error-permanent`)."""

    reason: Rejection = "malformed"
    error: str
    source: RecordPosition
    key_base64: str | None
    value_base64: str | None
    failed_at: Timestamp

    @classmethod
    def of(
        cls,
        key: bytes | None,
        value: bytes | None,
        source: RecordPosition,
        error: str,
        failed_at: datetime,
        reason: Rejection = "malformed",
    ) -> "DeadLetter":
        """Makes the dead letter of a message from its bytes."""
        return cls(
            reason=reason,
            error=error,
            source=source,
            key_base64=None if key is None else base64.b64encode(key).decode(),
            value_base64=None if value is None else base64.b64encode(value).decode(),
            failed_at=failed_at,
        )


Permanent = Annotated[FailedQuestion | DeadLetter, Field(discriminator="reason")]

BY_TOPIC: dict[str, TypeAdapter[Message]] = {
    topics.QUESTIONS_PENDING: TypeAdapter(Question),
    topics.RESPONSES_SUCCESS: TypeAdapter(Response),
    topics.ERROR_OVERLOAD: TypeAdapter(RetryableFailure),
    topics.ERROR_QUOTA: TypeAdapter(RetryableFailure),
    topics.VALIDATED: TypeAdapter(Validated),
    topics.LOW_QUALITY: TypeAdapter(LowQuality),
    topics.PERMANENT: TypeAdapter(Permanent),
}


def read(topic: str, key: bytes | None, value: bytes | None) -> Message:
    """Reads a message of `topic`.

    Raises:
        InvalidMessage: The message is empty, is not JSON in UTF-8, does not have the topic's type, or its key is not
            its question id.
    """
    if not value:
        raise InvalidMessage("empty value" if value is not None else "null value")
    try:
        message = BY_TOPIC[topic].validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidMessage(f"{where or 'message'}: {first['msg']}") from None
    if isinstance(message, Question) and key != message.question_id.encode():
        raise InvalidMessage("the key is not the question_id")
    return message
