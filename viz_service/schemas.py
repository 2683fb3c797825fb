"""What the endpoints take and return. Queries return the same models: there is one description of a row."""

from datetime import UTC
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""RFC 3339 in UTC, whatever the session's time zone is."""

Side = Literal["below", "at_or_above"]
Quality = Literal["accepted", "max_retries_reached", "unscored"]
Status = Literal["pending", "completed", "failed"]
Theme = Literal["light", "dark"]
FigureName = Literal["score-ranges", "attempts", "score-histogram", "improvement", "score-timeseries"]


class Input(BaseModel):
    """A misspelt parameter is an error, it is not left out."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Input):
    """Endpoints without parameters."""


class TimeseriesQuery(Input):
    """Parameters of the time series."""

    hours: int = Field(24, ge=1, le=168, description="How far back.")


class TopQuery(Input):
    """Parameters of the lists of questions."""

    limit: int = Field(10, ge=1, le=100, description="Length of each list.")


class FigurePath(Input):
    """Which figure."""

    name: FigureName


class FigureQuery(TimeseriesQuery):
    """Parameters of a figure; `hours` matters to `score-timeseries` only."""

    theme: Theme = Field("light", description="Colours for a light or a dark page.")


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
    unscored: int


class ScoreSummary(Output):
    """Scores of the kept answers; all null when there is none, `deviation` also when there is one."""

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
    share: float = Field(description="Of all kept answers, 0 to 1.")


class LlmUse(Output):
    """What the answers cost."""

    calls: int = Field(description="Generations behind the kept answers: the sum of `processing_attempts`.")
    overhead_percent: float | None = Field(description="Calls beyond one for each answer: what the feedback loop adds.")
    prompt_tokens: int
    completion_tokens: int


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
    hours: int
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
    """Kept answers by score."""

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
    """Questions that stand out."""

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
