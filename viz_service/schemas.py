"""What the endpoints take and return. Queries return the same models: there is one description of a row."""

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

from pipeline.messages import Cause, Cost, Quality, QuestionId, Reason, Rejection
from pipeline.provider import ProviderStatus
from pipeline.web import PlainText
from viz_service.texts import Language

Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""RFC 3339 in UTC, whatever the session's time zone is."""

_TIME: TypeAdapter[Any] = TypeAdapter(AwareDatetime)
_ID: TypeAdapter[str] = TypeAdapter(QuestionId)

LetterId = Annotated[int, Field(ge=1, le=2**63 - 1)]
_LETTER_ID: TypeAdapter[int] = TypeAdapter(LetterId)

Side = Literal["below", "at_or_above"]
Status = Literal["pending", "completed", "failed"]
SELF_CHECKED: frozenset[Quality] = frozenset({"self_check_accepted", "self_check_max_retries_reached"})
"""Scored against further answers of the same model: another scale than that of scores against a reference."""
Theme = Literal["light", "dark"]
Sort = Literal["newest", "oldest", "most-asked", "best", "worst", "slowest"]
FigureName = Literal["score-ranges", "attempts", "score-histogram", "improvement", "score-timeseries"]


class Input(BaseModel):
    """A misspelt parameter is an error, it is not left out."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Input):
    """Endpoints without parameters."""


class SpanQuery(Input):
    """Parameters of what may be limited to the last hours."""

    hours: int | None = Field(
        None, ge=1, le=168, description="How far back, to the whole minute; left out: everything."
    )


class TimeseriesQuery(Input):
    """Parameters of the time series."""

    hours: int = Field(24, ge=1, le=168, description="How far back.")


class TopQuery(Input):
    """Parameters of the lists of questions."""

    limit: int = Field(10, ge=1, le=100, description="Length of each list.")


class FigurePath(Input):
    """Which figure."""

    name: FigureName


class FigureQuery(SpanQuery):
    """Parameters of a figure."""

    theme: Theme = Field("light", description="Colours for a light or a dark page.")
    language: Language = Field("en", description="Of its texts.")


class WhatIfQuery(Input):
    """Parameters of the what-if."""

    threshold: float = Field(
        ge=-1, le=1, allow_inf_nan=False, description="To try on the stored attempts; rounded to two decimals."
    )


def _blank_is_none(value: Any) -> Any:
    return None if value == "" else value


def _optional(kind: Any) -> Any:
    """Returns the type of a form's field that may be left empty."""
    return Annotated[kind | None, BeforeValidator(_blank_is_none)]


class Filter(Input):
    """Which questions, and in which order. What is empty does not count: that is how forms send it."""

    text: Annotated[PlainText, Field(max_length=200)] = Field("", description="Part of the question, in any case.")
    status: _optional(Status) = None  # type: ignore[valid-type]
    quality: _optional(Quality) = None  # type: ignore[valid-type]
    score_min: _optional(Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]) = None  # type: ignore[valid-type]
    score_max: _optional(Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]) = None  # type: ignore[valid-type]
    attempts: _optional(Annotated[int, Field(ge=1, le=10)]) = None  # type: ignore[valid-type]
    topic: _optional(Annotated[PlainText, Field(max_length=100)]) = None  # type: ignore[valid-type]
    sort: Sort = "newest"


MAX_OFFSET = 10_000
"""Rows that may come before a page that is asked for by its number: they are all read."""


def end_of_page(after: str) -> tuple[datetime, str]:
    """Returns the time, in UTC, and the id of the row that `after` names.

    Raises:
        ValueError: It does not begin with a time.
    """
    at, _, row_id = after.partition("~")
    try:
        # PostgreSQL knows no offset beyond 16 hours.
        return _TIME.validate_python(at).astimezone(UTC), row_id
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999") from None


def _after(ids: TypeAdapter[Any]) -> AfterValidator:
    """Checks the end of a page: a time and an id."""

    def check(value: str | None) -> str | None:
        if value is not None:
            ids.validate_python(end_of_page(value)[1])
        return value

    return AfterValidator(check)


def _near(page: int, info: ValidationInfo) -> int:
    if not info.data.get("after") and (page - 1) * info.data.get("limit", 1) > MAX_OFFSET:
        raise ValueError(f"is beyond the first {MAX_OFFSET:,}: use `after`, or narrow the filter")
    return page


PageNumber = Annotated[int, Field(ge=1, le=100_000), AfterValidator(_near)]
"""Comes after the fields `limit` and `after`."""


class QuestionsQuery(Filter):
    """Parameters of the list of questions."""

    limit: int = Field(25, ge=1, le=100, description="Questions on a page.")
    after: Annotated[str | None, BeforeValidator(_blank_is_none), _after(_ID)] = Field(
        None, description="`next` of the last page: it goes on from there. With the orders newest and oldest."
    )
    page: PageNumber = Field(1, description=f"Without `after`, only of the first {MAX_OFFSET:,} questions.")

    @field_validator("after")
    @classmethod
    def _is_in_order_of_time(cls, after: str | None, info: ValidationInfo) -> str | None:
        if after and info.data.get("sort") not in ("newest", "oldest"):
            raise ValueError("goes with the orders newest and oldest alone")
        return after


class QuestionPath(Input):
    """Which question."""

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
        None, description="`next` of the last page: it goes on from there."
    )
    page: PageNumber = Field(1, description=f"Without `after`, only of the first {MAX_OFFSET:,} dead letters.")


class LetterPath(Input):
    """Which dead letter."""

    letter_id: LetterId


class Ask(BaseModel):
    """A question to the fleet; storage-service looks at it more closely."""

    model_config = ConfigDict(extra="forbid")

    question_text: str
    original_answer: str | None = None
    question_context: str | None = None


class Nothing(Input):
    """A request without content."""


class Output(BaseModel):
    """What an endpoint returns."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class QuestionCounts(Output):
    """Questions by status."""

    asked: int = Field(description="Times that any question was asked: the sum of `times_asked`.")
    total: int = Field(description="Different questions.")
    pending: int
    completed: int
    failed: int


class AnswerCounts(Output):
    """Kept answers by quality."""

    total: int
    accepted: int
    max_retries_reached: int
    self_check_accepted: int = Field(description="Without reference: they agree with further answers of the model.")
    self_check_max_retries_reached: int = Field(description="Without reference: they agree too little.")
    unscored: int


class ScoreSummary(Output):
    """Scores of the kept answers against their references; self-checks are on another scale and not among them.

    All null when there is none, `deviation` also when there is one.
    """

    count: int
    mean: float | None
    median: float | None
    deviation: float | None = Field(description="Standard deviation of the sample (n - 1).")
    min: float | None
    max: float | None


class AttemptShare(Output):
    """Kept answers that took so many attempts."""

    attempts: int
    answers: int
    accepted: int = Field(description="Of these, those that were accepted.")
    share: float = Field(description="Of all kept answers, 0 to 1.")


class LlmUse(Output):
    """What the answers cost."""

    calls: int = Field(description="Generations behind the kept answers: the sum of `processing_attempts`.")
    calls_per_accepted: float | None = Field(description="Calls for each accepted answer; null when there is none.")
    overhead_percent: float | None = Field(description="Calls beyond one for each answer: what the feedback loop adds.")
    prompt_tokens: int = Field(description="Of all attempts, and of failed calls that took tokens.")
    completion_tokens: int
    tokens_per_accepted: float | None = Field(description="Tokens of both kinds for each accepted answer.")
    cost: Cost | None = Field(
        description="Of the same calls, in the currency of `LLM_PRICES`, where the price is known; null when none is."
    )
    cost_per_accepted: Cost | None = Field(description="The whole cost for each accepted answer with a known price.")
    cost_per_point: Cost | None = Field(
        description="For each point of `bert_score` against a reference that was kept; without self-checked questions."
    )


class ProcessingTime(Output):
    """From the question to its kept answer, in milliseconds."""

    p50: float | None
    p95: float | None


class Statistics(Output):
    """The headline numbers."""

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

    since: Time = Field(description="First scored answer of the last `hours`, or their start when there is none.")
    until: Time
    hours: int | None = Field(description="How far back; null: to the first answer.")
    bucket_seconds: int
    points: list[Point]


class Bin(Output):
    """Scores from `lower` (included) to `upper` (excluded, but for 1)."""

    lower: float
    upper: float
    count: int
    side: Side = Field(description="Of the threshold. Bins are counted from the threshold: none is on both sides.")


class ScoreRange(Output):
    """A coarse range of scores."""

    lower: float | None = Field(description="Null: no lower end.")
    upper: float
    count: int
    share: float | None = Field(description="Of all scored answers, 0 to 1; null when there is none.")
    side: Side


class Histogram(Output):
    """Kept answers by their score against the reference."""

    threshold: float
    bin_width: float
    count: int = Field(description="Scored answers.")
    at_or_above_threshold: int
    bins: list[Bin] = Field(description="All from the lowest to the highest score, empty ones included.")
    ranges: list[ScoreRange]


class AttemptScore(Output):
    """Scores of questions that took so many attempts; different questions for each number of attempts."""

    attempts: int
    count: int
    mean_score: float = Field(description="Of the kept answers.")
    mean_first_score: float | None = Field(description="Of the first answers to the same questions.")


class Interval(Output):
    """A 95 % confidence interval (Student's t)."""

    low: float
    high: float


class Regeneration(Output):
    """The same questions before and after: first answer against kept answer, where there was a second attempt."""

    count: int
    improved: int = Field(description="Questions whose kept answer scores higher than the first.")
    mean_first_score: float | None
    mean_kept_score: float | None
    mean_gain: float | None = Field(description="The best attempt is kept, so that no single gain is negative.")
    gain_interval: Interval | None = Field(description="Of `mean_gain`; null for fewer than two questions.")
    relative_gain_percent: float | None = Field(description="`mean_gain` of `mean_first_score`.")


class Improvement(Output):
    """What the feedback loop brings."""

    by_attempts: list[AttemptScore]
    regenerated: Regeneration


class Question(Output):
    """A question with its kept answer; the answer's fields are null while there is none."""

    question_id: str
    question_text: str = Field(description="Its first 500 characters.")
    times_asked: int
    status: Status
    quality: Quality | None
    bert_score: float | None
    processing_attempts: int | None
    llm_response: str | None = Field(description="Its first 500 characters.")
    asked_at: Time


class TopQuestions(Output):
    """Questions that stand out; best and worst by scores against a reference."""

    most_asked: list[Question]
    best: list[Question]
    worst: list[Question]


class Figure(Output):
    """A chart, ready for `Plotly.react`."""

    name: FigureName
    empty: bool = Field(description="There is nothing to show yet.")
    summary: str = Field(description="What the chart says, in words: its caption and its text for screen readers.")
    data: list[dict[str, Any]]
    layout: dict[str, Any]


class QuestionRow(Output):
    """A question in the list; the answer's fields are null while there is none."""

    question_id: str
    question_text: str = Field(description="Its first 300 characters.")
    topic: str | None
    status: Status
    quality: Quality | None
    bert_score: float | None
    processing_attempts: int | None
    total_processing_time_ms: int | None
    times_asked: int
    asked_at: Time


class Questions(Output):
    """A page of the list of questions."""

    total: int = Field(description="Questions that the filter lets through.")
    total_is_minimum: bool = Field(False, description="There are more than `total`: nobody has counted on.")
    page: int
    limit: int
    next: str | None = Field(None, description="`after` of the next page, in the orders newest and oldest; null: none.")
    has_next: bool = Field(False, description="There are questions beyond this page.")
    questions: list[QuestionRow]


PREVIEW_CHARACTERS = 500


class DeadLetter(Output):
    """A message that a service could not read or handle."""

    id: int
    topic: str = Field(description="Where its letter stands.")
    partition: int
    offset: int
    source_topic: str | None = Field(description="Where the message was rejected; null: not known.")
    source_partition: int | None
    source_offset: int | None
    reason: Rejection
    error: str
    value_bytes: int | None = Field(description="Size of the message; null: it has no value, or was not forwarded.")
    kept_bytes: int | None = Field(description="How many of them are kept; a message that was cut cannot be replayed.")
    preview: str | None = Field(
        description=f"The first {PREVIEW_CHARACTERS} characters of the message; what is no UTF-8 is replaced."
    )
    question_id: str | None = Field(description="The message's key, where it is the id of a question.")
    question_text: str | None = Field(description="Its first 120 characters; null: no such question is known.")
    failed_at: Time
    received_at: Time
    replayed_at: Time | None

    @property
    def whole(self) -> bool:
        """Whether all of its bytes are kept."""
        return self.kept_bytes is not None and self.kept_bytes == self.value_bytes


class DeadLetters(Output):
    """A page of the list of dead letters, the newest first."""

    total: int
    total_is_minimum: bool = Field(False, description="There are more than `total`: nobody has counted on.")
    page: int
    limit: int
    next: str | None = Field(None, description="`after` of the next page; null: none.")
    has_next: bool = Field(False, description="There are dead letters beyond this page.")
    dead_letters: list[DeadLetter]


class Attempt(Output):
    """A scored generation."""

    attempt: int
    model: str
    llm_response: str
    bert_score: float | None
    llm_latency_ms: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = Field(0, description="Of the completion's, those of what the model thought.")
    cost: Cost | None = Field(description="In the currency of `LLM_PRICES`; null: no price was known.")
    generated_at: Time


class CallError(Output):
    """Calls to the model that failed at the same attempt and retry: the last one, and when it is (or was) due again."""

    attempt: int
    retry: int
    type: str
    cause: Cause = "other"
    status_code: int | None
    message: str
    counts_as_retry: bool = Field(
        True, description="False: the provider did not admit it, or was unavailable for everybody; no retry was spent."
    )
    times: int = Field(1, description="How many calls: more than one where the first ones cost no retry.")
    prompt_tokens: int = Field(0, description="Taken all the same, for an answer that was empty or refused.")
    completion_tokens: int = 0
    cost: Cost | None = None
    failed_at: Time
    due_at: Time | None


class Usage(Output):
    """What a question took: all its attempts, and calls that took tokens and brought nothing."""

    prompt_tokens: int
    completion_tokens: int
    cost: Cost | None = Field(description="Of those whose price was known; null when none was.")


class KeptAnswer(Output):
    """The answer that was kept."""

    llm_response: str
    bert_score: float | None
    bert_precision: float | None
    bert_recall: float | None
    quality: Quality
    scorer: str | None
    model: str
    processing_attempts: int
    total_processing_time_ms: int
    created_at: Time


class Failure(Output):
    """Why there is no answer."""

    reason: str
    retry_count: int
    last_error: str
    failed_at: Time


class QuestionDetail(Output):
    """All that is known about a question."""

    question_id: str
    question_text: str
    topic: str | None
    question_context: str | None
    original_answer: str | None
    status: Status
    times_asked: int
    asked_at: Time
    published_at: Time | None
    answer: KeptAnswer | None
    failure: Failure | None
    attempts: list[Attempt]
    errors: list[CallError]
    usage: Usage | None = Field(description="Null: no call has brought or taken anything yet.")

    @property
    def self_checked(self) -> bool:
        """Whether its scores, if it has any, are those of a self-check."""
        return self.answer.quality in SELF_CHECKED if self.answer else self.original_answer is None

    @property
    def kept_attempt(self) -> int | None:
        """Which attempt was kept: the first one with the best score."""
        if not self.answer or not self.attempts:
            return None
        same = [each for each in self.attempts if each.llm_response == self.answer.llm_response]
        return max(same or self.attempts, key=lambda each: (each.bert_score or -1, -each.attempt)).attempt


class WhatIf(Output):
    """What a threshold would do to the stored attempts.

    Questions that were accepted early have no further attempts; where a threshold would have asked for one, the rest
    is unknown, and the numbers say so.
    """

    threshold: float
    questions: int = Field(description="Questions with a scored first attempt: what all this rests on.")
    passed: list[int] = Field(description="Questions whose first passing attempt is number 1, 2, …")
    exhausted: int = Field(description="All attempts made and all below: the best answer would be kept.")
    unknown: int = Field(description="Below so far, and never asked again since the threshold then was lower.")
    calls_min: int = Field(description="Calls to the model, if unknown questions passed at the next attempt.")
    calls_max: int = Field(description="Calls to the model, if unknown questions used up all attempts.")
    mean_score: float | None = Field(description="Of the answers to keep; of unknown questions the best so far.")


class WaitingError(Output):
    """A question that waits to be asked again."""

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
    """Errors that wait for their due time, as they were seen last on their topics."""

    overload: int = Field(description="Errors on the topic that the retry consumer has still to finish.")
    quota: int
    next: list[WaitingError] = Field(description="Those that are due next.")


class TopicState(Output):
    """A topic as it was seen last; null is what could not be read."""

    name: str
    group: str | None = Field(description="Consumer group; null: nobody reads it.")
    messages: int | None = Field(description="Messages written since the topic was made.")
    lag: int | None = Field(description="Messages that the group has still to finish.")
    rate: float | None = Field(description="Messages written per second, over the last 30 s.")
    stalled: bool = Field(description="It has work that does not have to wait, and finishes none of it.")


class GroupState(Output):
    """A consumer group as it was seen last."""

    name: str
    topics: list[str]
    state: str | None
    members: int | None
    lag: int | None


class Flink(Output):
    """The Flink job."""

    state: str | None = Field(description="Null: there is no job.")
    tasks: int
    tasks_running: int
    since: Time | None
    working: bool = Field(description="All of its tasks are at work.")


class Why(Output):
    """Why a neighbour gave no usable answer: a kind, which the catalogues have words for."""

    kind: Literal["no-connection", "no-answer", "not-found", "no-topics", "status", "unexpected", "said"] = Field(
        description="`not-found`: its name is unknown, no container runs; `said`: the neighbour's own words."
    )
    detail: str = Field("", description="HTTP status, kind of error, or the neighbour's own words, as they are.")

    def __str__(self) -> str:
        """Returns it in a few words, for logs and problem+json."""
        return f"{self.kind.replace('-', ' ')} {self.detail}".strip() if self.kind != "said" else self.detail


class ServiceState(Output):
    """A service as it was seen last."""

    name: str
    healthy: bool
    instances: int = Field(description="Containers that answer.")
    why: Why | None = Field(description="Why it is not healthy.")


class Alert(Output):
    """Something that needs attention."""

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
    values: dict[str, str | float] = Field(description="What its text tells.")


class Pipeline(Output):
    """The state of the pipeline, as it was seen last."""

    sampled_at: Time | None = Field(description="Null: not looked at yet.")
    age_seconds: float | None
    kafka_error: Why | None
    topics: list[TopicState]
    groups: list[GroupState]
    flink: Flink | None
    flink_error: Why | None
    services: list[ServiceState]
    providers: list[ProviderStatus] = Field(description="Of the model; empty: nothing is known of them.")
    cache_hit_rate: float | None = Field(description="Of storage-service's replies since its start, 0 to 1.")


class PipelineReport(Pipeline):
    """The same with what waits in the database, and the alerts."""

    waiting: Waiting | None = Field(description="Null: not known, Kafka is away.")
    alerts: list[Alert]


class Overview(Output):
    """All that the overview shows beside its charts."""

    statistics: Statistics | None = Field(description="Null: the database is away.")
    pipeline: PipelineReport
    top: TopQuestions | None = Field(description="Null: the database is away.")
