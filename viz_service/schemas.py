"""Requests and replies of the endpoints. Queries return the same models, so that a row is described once."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from pipeline.messages import (
    Cause,
    Cost,
    Judge,
    Quality,
    QuestionId,
    Reason,
    RejectedBy,
    Rejection,
    ScoreWarning,
    UnscoredReason,
)
from pipeline.provider_status import ProviderStatus
from pipeline.web import PlainText
from viz_service.texts import Language

Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""RFC 3339 in UTC, independent of the session's time zone."""

_TIME: TypeAdapter[Any] = TypeAdapter(AwareDatetime)
_ID: TypeAdapter[str] = TypeAdapter(QuestionId)

LetterId = Annotated[int, Field(ge=1, le=2**63 - 1)]
_LETTER_ID: TypeAdapter[int] = TypeAdapter(LetterId)

Side = Literal["below", "at_or_above"]
Status = Literal["pending", "completed", "failed"]
SELF_CHECKED: frozenset[Quality] = frozenset({"self_check_accepted", "self_check_max_retries_reached"})
"""Qualities with a score against further answers of the same model, which is on another scale than other scores."""
_REJECTED_BY = (
    "Why the answer is not accepted: its `score` is below the threshold, or only the `judge` rejects it. Null for an "
    "accepted or unscored answer, and for one of an older version."
)
Theme = Literal["light", "dark"]
Sort = Literal["newest", "oldest", "most-asked", "best", "worst", "slowest"]
FigureName = Literal["score-ranges", "attempts", "score-histogram", "improvement", "score-timeseries"]


class Input(BaseModel):
    """A request. An unknown parameter is an error, because it may be misspelt."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Input):
    """Parameters of endpoints that have none."""


class SpanQuery(Input):
    """Parameters of endpoints that can be limited to the last hours."""

    hours: int | None = Field(
        None, ge=1, le=168, description="How far back, rounded to whole minutes; without it, everything."
    )


class TimeseriesQuery(Input):
    """Parameters of the time series."""

    hours: int = Field(24, ge=1, le=168, description="How far back.")


class TopQuery(Input):
    """Parameters of the lists of questions."""

    limit: int = Field(10, ge=1, le=100, description="Length of each list.")


class FigurePath(Input):
    """The name of a figure."""

    name: FigureName


class FigureQuery(SpanQuery):
    """Parameters of a figure."""

    theme: Theme = Field("light", description="Colours for a light or a dark page.")
    language: Language = Field("en", description="Language of its texts.")


class WhatIfQuery(Input):
    """Parameters of the what-if."""

    threshold: float = Field(
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description="Threshold to apply to the stored attempts; rounded to two decimals.",
    )


def _blank_is_none(value: Any) -> Any:
    return None if value == "" else value


def _optional(kind: Any) -> Any:
    """Returns the type of a form field that may be empty."""
    return Annotated[kind | None, BeforeValidator(_blank_is_none)]


class Filter(Input):
    """Filter and order of questions. Empty values are ignored, because forms send them."""

    text: Annotated[PlainText, Field(max_length=200)] = Field("", description="Part of the question, case-insensitive.")
    status: _optional(Status) = None  # type: ignore[valid-type]
    quality: _optional(Quality) = None  # type: ignore[valid-type]
    score_min: _optional(Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]) = None  # type: ignore[valid-type]
    score_max: _optional(Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]) = None  # type: ignore[valid-type]
    attempts: _optional(Annotated[int, Field(ge=1, le=10)]) = None  # type: ignore[valid-type]
    topic: _optional(Annotated[PlainText, Field(max_length=100)]) = None  # type: ignore[valid-type]
    sort: Sort = "newest"


MAX_OFFSET = 10_000
"""Limit of rows before a page that is requested by its number, because all of them are read."""


def end_of_page(after: str) -> tuple[datetime, str]:
    """Returns the time, in UTC, and the id of the row in `after`.

    Raises:
        ValueError: It does not begin with a time.
    """
    at, _, row_id = after.partition("~")
    try:
        # Converted to UTC, because PostgreSQL rejects offsets beyond 16 hours.
        return _TIME.validate_python(at).astimezone(UTC), row_id
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999") from None


def _after(ids: TypeAdapter[Any]) -> AfterValidator:
    """Returns a validator of the end of a page: a time and an id."""

    def check(value: str | None) -> str | None:
        if value is not None:
            ids.validate_python(end_of_page(value)[1])
        return value

    return AfterValidator(check)


def _within_offset_limit(page: int, info: ValidationInfo) -> int:
    if not info.data.get("after") and (page - 1) * info.data.get("limit", 1) > MAX_OFFSET:
        raise ValueError(f"is beyond the first {MAX_OFFSET:,}: use `after`, or narrow the filter")
    return page


PageNumber = Annotated[int, Field(ge=1, le=100_000), AfterValidator(_within_offset_limit)]
"""Number of a page. The field must be declared after `limit` and `after`."""


class QuestionsQuery(Filter):
    """Parameters of the list of questions."""

    limit: int = Field(25, ge=1, le=100, description="Questions on a page.")
    after: Annotated[str | None, BeforeValidator(_blank_is_none), _after(_ID)] = Field(
        None, description="`next` of the previous page. Only with the orders newest and oldest."
    )
    page: PageNumber = Field(1, description=f"Without `after`, only of the first {MAX_OFFSET:,} questions.")

    @field_validator("after")
    @classmethod
    def _is_in_order_of_time(cls, after: str | None, info: ValidationInfo) -> str | None:
        if after and info.data.get("sort") not in ("newest", "oldest"):
            raise ValueError("works only with the orders newest and oldest")
        return after


class QuestionPath(Input):
    """The id of a question."""

    question_id: QuestionId


class FailedQuery(Input):
    """Parameters of the list of failed questions."""

    reason: _optional(Reason) = None  # type: ignore[valid-type]
    text: Annotated[PlainText, Field(max_length=200)] = Field("", description="Part of the question.")
    page: int = Field(1, ge=1, le=100_000)


class DeadLettersQuery(Input):
    """Parameters of the list of dead letters."""

    limit: int = Field(25, ge=1, le=100, description="Dead letters on a page.")
    after: Annotated[str | None, BeforeValidator(_blank_is_none), _after(_LETTER_ID)] = Field(
        None, description="`next` of the previous page."
    )
    page: PageNumber = Field(1, description=f"Without `after`, only of the first {MAX_OFFSET:,} dead letters.")


class LetterPath(Input):
    """The id of a dead letter."""

    letter_id: LetterId


class Ask(BaseModel):
    """A question to the fleet; storage-service validates it further."""

    model_config = ConfigDict(extra="forbid")

    question_text: str
    original_answer: str | None = None
    question_context: str | None = None


class Nothing(Input):
    """A request without a body."""


class Output(BaseModel):
    """A reply."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class QuestionCounts(Output):
    """Questions by status."""

    asked: int = Field(description="How often questions were asked: the sum of `times_asked`.")
    total: int = Field(description="Different questions.")
    pending: int
    completed: int
    failed: int


class AnswerCounts(Output):
    """Kept answers by quality."""

    total: int
    accepted: int
    max_retries_reached: int
    self_check_accepted: int = Field(description="Without reference; agrees with further answers of the model.")
    self_check_max_retries_reached: int = Field(description="Without reference; agrees too little.")
    unscored: int
    rejected_by_judge: int = Field(
        0, description="Those of `max_retries_reached` that only the judge rejects: their score is good enough."
    )


class ScoreSummary(Output):
    """Scores of the kept answers against their references, without self-checks, which are on another scale.

    All values are null without scores; `deviation` is also null with only one.
    """

    count: int
    mean: float | None
    median: float | None
    deviation: float | None = Field(description="Standard deviation of the sample (n - 1).")
    min: float | None
    max: float | None


class AttemptShare(Output):
    """Kept answers with the same number of attempts."""

    attempts: int
    answers: int
    accepted: int = Field(description="Accepted ones among these answers.")
    share: float = Field(description="Share of all kept answers, 0 to 1.")


class LlmUse(Output):
    """Calls, tokens and cost of the answers."""

    calls: int = Field(description="Generations behind the kept answers: the sum of `processing_attempts`.")
    calls_per_accepted: float | None = Field(description="Calls per accepted answer; null if there is none.")
    overhead_percent: float | None = Field(description="Calls beyond one per answer, which the feedback loop adds.")
    prompt_tokens: int = Field(
        description="Tokens of all attempts, of the judge, and of failed calls that used tokens."
    )
    completion_tokens: int
    tokens_per_accepted: float | None = Field(description="Tokens of both kinds per accepted answer.")
    cost: Cost | None = Field(
        description="Cost of those calls with a known price, in the currency of `LLM_PRICES`; null without any."
    )
    cost_per_accepted: Cost | None = Field(description="Total cost per accepted answer with a known price.")
    cost_per_point: Cost | None = Field(
        description="Cost per point of kept `bert_score` against a reference; without self-checked questions."
    )


class ProcessingTime(Output):
    """Time from the question to its kept answer, in milliseconds."""

    p50: float | None
    p95: float | None


class Statistics(Output):
    """The key figures."""

    generated_at: Time
    threshold: float
    questions: QuestionCounts
    answers: AnswerCounts
    scores: ScoreSummary
    attempts: list[AttemptShare]
    llm: LlmUse
    total_processing_time_ms: ProcessingTime


class Point(Output):
    """The scored answers of one time bucket."""

    start: Time
    mean_score: float
    count: int


class Timeseries(Output):
    """Scores over time. Buckets without a scored answer are left out."""

    since: Time = Field(
        description="Time of the first scored answer of the last `hours`, or their start if there is none."
    )
    until: Time
    hours: int | None = Field(description="How far back; null: back to the first answer.")
    bucket_seconds: int
    points: list[Point]


class Bin(Output):
    """Scores from `lower` (included) to `upper` (excluded, except 1)."""

    lower: float
    upper: float
    count: int
    side: Side = Field(description="Side of the threshold. Bins start at the threshold: none is on both sides.")


class ScoreRange(Output):
    """A coarse range of scores."""

    lower: float | None = Field(description="Null: no lower end.")
    upper: float
    count: int
    share: float | None = Field(description="Share of all scored answers, 0 to 1; null if there are none.")
    side: Side


class Histogram(Output):
    """Kept answers by their score against the reference."""

    threshold: float
    bin_width: float
    count: int = Field(description="Scored answers.")
    at_or_above_threshold: int
    bins: list[Bin] = Field(description="All bins from the lowest to the highest score, including empty ones.")
    ranges: list[ScoreRange]


class AttemptScore(Output):
    """Scores of the questions with the same number of attempts."""

    attempts: int
    count: int
    mean_score: float = Field(description="Mean of the kept answers.")
    mean_first_score: float | None = Field(description="Mean of the first answers to the same questions.")


class Interval(Output):
    """A 95 % confidence interval (Student's t)."""

    low: float
    high: float


class Regeneration(Output):
    """First and kept answers of the same questions, of those with at least two attempts."""

    count: int
    improved: int = Field(description="Questions whose kept answer scores higher than the first.")
    mean_first_score: float | None
    mean_kept_score: float | None
    mean_gain: float | None = Field(description="Never negative, because the best attempt is kept.")
    gain_interval: Interval | None = Field(description="Interval of `mean_gain`; null for fewer than two questions.")
    relative_gain_percent: float | None = Field(description="`mean_gain` in percent of `mean_first_score`.")


class Improvement(Output):
    """Effect of the feedback loop on scores."""

    by_attempts: list[AttemptScore]
    regenerated: Regeneration


class Question(Output):
    """A question with its kept answer, whose fields are null until there is one."""

    question_id: str
    question_text: str = Field(description="Its first 500 characters.")
    times_asked: int
    status: Status
    quality: Quality | None
    rejected_by: RejectedBy | None = Field(None, description=_REJECTED_BY)
    bert_score: float | None
    processing_attempts: int | None
    llm_response: str | None = Field(description="Its first 500 characters.")
    asked_at: Time


class TopQuestions(Output):
    """Most asked, best and worst questions; best and worst by scores against a reference."""

    most_asked: list[Question]
    best: list[Question]
    worst: list[Question]


class Figure(Output):
    """A chart, ready for `Plotly.react`."""

    name: FigureName
    empty: bool = Field(description="Whether there is nothing to show yet.")
    summary: str = Field(description="The content of the chart in words: its caption and its text for screen readers.")
    data: list[dict[str, Any]]
    layout: dict[str, Any]


class QuestionRow(Output):
    """A question in the list; the answer's fields are null until there is one."""

    question_id: str
    question_text: str = Field(description="Its first 300 characters.")
    topic: str | None
    status: Status
    quality: Quality | None
    rejected_by: RejectedBy | None = Field(None, description=_REJECTED_BY)
    bert_score: float | None
    processing_attempts: int | None
    total_processing_time_ms: int | None
    times_asked: int
    asked_at: Time


class Questions(Output):
    """A page of the list of questions."""

    total: int = Field(description="Questions that match the filter.")
    total_is_minimum: bool = Field(
        False, description="Whether there are more than `total`, which is where counting stops."
    )
    page: int
    limit: int
    next: str | None = Field(
        None, description="`after` of the next page, in the orders newest and oldest; null: no next page."
    )
    has_next: bool = Field(False, description="Whether there is a next page.")
    questions: list[QuestionRow]


PREVIEW_CHARACTERS = 500


class DeadLetter(Output):
    """A message that a service could not read or handle."""

    id: int
    topic: str = Field(description="Topic of the dead letter.")
    partition: int
    offset: int
    source_topic: str | None = Field(description="Topic of the rejected message; null: unknown.")
    source_partition: int | None
    source_offset: int | None
    reason: Rejection
    error: str
    value_bytes: int | None = Field(
        description="Size of the message; null: it has no value, or its value was not forwarded."
    )
    kept_bytes: int | None = Field(description="Number of bytes kept; a truncated message cannot be replayed.")
    preview: str | None = Field(
        description=f"The first {PREVIEW_CHARACTERS} characters of the message; invalid UTF-8 is replaced."
    )
    question_id: str | None = Field(description="The message's key, if it is the id of a question.")
    question_text: str | None = Field(description="Its first 120 characters; null: the question is unknown.")
    failed_at: Time
    received_at: Time
    replayed_at: Time | None

    @property
    def whole(self) -> bool:
        """Whether all bytes are kept."""
        return self.kept_bytes is not None and self.kept_bytes == self.value_bytes


class DeadLetters(Output):
    """A page of the list of dead letters, the newest first."""

    total: int
    total_is_minimum: bool = Field(
        False, description="Whether there are more than `total`, which is where counting stops."
    )
    page: int
    limit: int
    next: str | None = Field(None, description="`after` of the next page; null: no next page.")
    has_next: bool = Field(False, description="Whether there is a next page.")
    dead_letters: list[DeadLetter]


class AttemptJudge(Judge):
    """What the judge says about an attempt, and what its call took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Cost | None = None


class Attempt(Output):
    """A scored generation."""

    attempt: int
    model: str
    llm_response: str
    bert_score: float | None
    llm_latency_ms: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = Field(0, description="Completion tokens that the model used for reasoning.")
    cost: Cost | None = Field(description="In the currency of `LLM_PRICES`; null: no price is known.")
    generated_at: Time
    judge: AttemptJudge | None = Field(
        None, description="What the judge says; null when no judge was asked, or the references were replaced since."
    )


class ErrorRecord(Output):
    """Failed calls of the same attempt and retry: the last one, and when its retry is (or was) due."""

    attempt: int
    retry: int
    type: str
    cause: Cause = "other"
    status_code: int | None
    message: str
    counts_as_retry: bool = Field(
        True, description="False: no retry was used up, because the provider was limited or unavailable for all calls."
    )
    times: int = Field(1, description="Number of calls; more than one if the first ones used up no retry.")
    prompt_tokens: int = Field(0, description="Tokens that the call used nevertheless, for an empty or refused answer.")
    completion_tokens: int = 0
    cost: Cost | None = None
    failed_at: Time
    due_at: Time | None


class Usage(Output):
    """Tokens and cost of a question: all attempts, what the judge took, and failed calls that used tokens."""

    prompt_tokens: int
    completion_tokens: int
    cost: Cost | None = Field(description="Cost of the calls with a known price; null if there are none.")


class KeptAnswer(Output):
    """The kept answer."""

    llm_response: str
    bert_score: float | None
    bert_precision: float | None
    bert_recall: float | None
    quality: Quality
    unscored_reason: UnscoredReason | None = Field(
        None, description="Why there is no score; null for a scored answer, and for one of an older version."
    )
    warnings: tuple[ScoreWarning, ...] = Field((), description="What to know about the score.")
    judge: Judge | None = Field(
        None, description="What the judge says; null when no judge was asked, or the references were replaced since."
    )
    rejected_by: RejectedBy | None = Field(None, description=_REJECTED_BY)
    scorer: str | None
    model: str
    processing_attempts: int
    total_processing_time_ms: int
    created_at: Time
    reference_index: int | None = Field(
        None,
        description="Reference with the highest score: 0 is `original_answer`, 1 the first of `references`; null when "
        "the answer was not compared with a reference.",
    )


class Failure(Output):
    """Why there is no answer."""

    reason: str
    retry_count: int
    last_error: str
    failed_at: Time


class QuestionDetail(Output):
    """A question with its answer and history."""

    question_id: str
    question_text: str
    topic: str | None
    question_context: str | None
    original_answer: str | None
    references: tuple[str, ...] = Field((), description="Further references beside `original_answer`.")
    status: Status
    times_asked: int
    asked_at: Time
    published_at: Time | None
    answer: KeptAnswer | None
    failure: Failure | None
    attempts: list[Attempt]
    errors: list[ErrorRecord]
    usage: Usage | None = Field(description="Null: no call has used tokens yet.")

    @property
    def all_references(self) -> tuple[str, ...]:
        """All references, in which `reference_index` counts."""
        return (self.original_answer, *self.references) if self.original_answer else ()

    @property
    def self_checked(self) -> bool:
        """Whether its scores, if any, are from a self-check."""
        return self.answer.quality in SELF_CHECKED if self.answer else self.original_answer is None

    @property
    def kept_attempt(self) -> int | None:
        """Number of the kept attempt: the first one with the best score."""
        if not self.answer or not self.attempts:
            return None
        same = [each for each in self.attempts if each.llm_response == self.answer.llm_response]
        return max(same or self.attempts, key=lambda each: (each.bert_score or -1, -each.attempt)).attempt

    def is_accepted(self, attempt: Attempt, threshold: float) -> bool | None:
        """Whether an attempt was accepted by its score against the reference, and by the judge if it was asked.

        Only the kept attempt of an accepted answer can have been accepted by the judge, because it ends the question.
        None: its score, if any, is from a self-check.
        """
        if attempt.bert_score is None or self.self_checked:
            return None
        if attempt.bert_score < threshold or not attempt.judge:
            return attempt.bert_score >= threshold
        return bool(self.answer and self.answer.quality == "accepted" and attempt.attempt == self.kept_attempt)


class WhatIf(Output):
    """Effect that a threshold would have on the stored attempts.

    A question that was accepted has no further attempts. If the threshold would have required one, its result is
    unknown, and the numbers are ranges or limits.
    """

    threshold: float
    questions: int = Field(description="Questions with a scored first attempt: the basis of all numbers.")
    passed: list[int] = Field(description="Questions whose first passing attempt is number 1, 2, …")
    exhausted: int = Field(
        description="All attempts were made and are below the threshold: the best answer would be kept."
    )
    unknown: int = Field(description="Below the threshold so far, but accepted by the lower threshold at that time.")
    calls_min: int = Field(description="Calls to the model if all unknown questions passed at the next attempt.")
    calls_max: int = Field(description="Calls to the model if all unknown questions used up all attempts.")
    mean_score: float | None = Field(
        description="Mean of the answers that would be kept; for unknown questions the best so far."
    )


class WaitingError(Output):
    """A failed call that waits for its retry."""

    question_id: str
    question_text: str = Field(description="Its first 120 characters.")
    attempt: int
    retry: int
    type: str
    cause: Cause = "other"
    status_code: int | None
    message: str
    counts_as_retry: bool = True
    times: int = 1
    failed_at: Time
    due_at: Time


class Waiting(Output):
    """Errors that wait for their due time, in the last sample of their topics."""

    overload: int = Field(description="Errors on the topic that the retry consumer has not finished.")
    quota: int
    next: list[WaitingError] = Field(description="The errors that are due next.")


class TopicState(Output):
    """A topic in the last sample; null: could not be read."""

    name: str
    group: str | None = Field(description="Consumer group; null: none reads it.")
    messages: int | None = Field(description="Messages written since the topic was created.")
    lag: int | None = Field(description="Messages that the group has not finished.")
    rate: float | None = Field(description="Messages written per second, over the last 30 s.")
    stalled: bool = Field(description="Whether the group has work that is due and finishes none of it.")


class GroupState(Output):
    """A consumer group in the last sample."""

    name: str
    topics: list[str]
    state: str | None
    members: int | None
    lag: int | None


class Flink(Output):
    """The Flink job."""

    state: str | None = Field(description="Null: no job exists.")
    tasks: int
    tasks_running: int
    since: Time | None
    working: bool = Field(description="Whether all tasks run.")


class FailureReason(Output):
    """Why a service gave no usable answer. The catalogues have a text for each kind."""

    kind: Literal["no-connection", "no-answer", "not-found", "no-topics", "status", "unexpected", "said"] = Field(
        description="`not-found`: no container runs, its name is unknown; `said`: the service's own message."
    )
    detail: str = Field("", description="HTTP status, kind of error, or the service's own message, unchanged.")

    def __str__(self) -> str:
        """Returns a short text for logs and problem+json."""
        return f"{self.kind.replace('-', ' ')} {self.detail}".strip() if self.kind != "said" else self.detail


class ServiceState(Output):
    """A service in the last sample."""

    name: str
    healthy: bool
    instances: int = Field(description="Number of containers that answer.")
    why: FailureReason | None = Field(description="Why it is not healthy.")


class Alert(Output):
    """A condition that needs attention."""

    kind: Literal[
        "kafka-away",
        "flink-away",
        "no-job",
        "job-not-running",
        "service-unhealthy",
        "stalled",
        "stale",
        "postgres-away",
        "max-retries",
        "budget-used-up",
        "provider-limited",
        "provider-unavailable",
        "pending-long",
        "dead-letters",
    ]
    values: dict[str, str | float] = Field(description="Values for its text.")


class Pipeline(Output):
    """The state of the pipeline in the last sample."""

    sampled_at: Time | None = Field(description="Null: no sample yet.")
    age_seconds: float | None
    kafka_error: FailureReason | None
    topics: list[TopicState]
    groups: list[GroupState]
    flink: Flink | None
    flink_error: FailureReason | None
    services: list[ServiceState]
    providers: list[ProviderStatus] = Field(description="Providers of the model; empty: unknown.")
    cache_hit_rate: float | None = Field(description="Share of storage-service's replies since its start, 0 to 1.")


class PipelineReport(Pipeline):
    """The state of the pipeline with waiting errors and alerts."""

    waiting: Waiting | None = Field(description="Null: unknown, because Kafka is unavailable.")
    alerts: list[Alert]


class Overview(Output):
    """The content of the overview without its charts."""

    statistics: Statistics | None = Field(description="Null: the database is unavailable.")
    pipeline: PipelineReport
    top: TopQuestions | None = Field(description="Null: the database is unavailable.")
