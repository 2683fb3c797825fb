"""Rows without a database: routes are tested with a fake of `viz_service.queries.Queries`."""

from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient

from pipeline.errors import Unavailable
from viz_service import buckets, queries
from viz_service.app import create_app
from viz_service.schemas import (
    AnswerCounts,
    AttemptScore,
    AttemptShare,
    Histogram,
    Improvement,
    LlmUse,
    Point,
    ProcessingTime,
    Question,
    QuestionCounts,
    ScoreSummary,
    Statistics,
    Timeseries,
    TopQuestions,
)
from viz_service.settings import VizSettings

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
THRESHOLD = 0.48
NO_PAIRS = dict.fromkeys(("mean_gain", "mean_first_score", "mean_kept_score", "deviation")) | {
    "count": 0,
    "improved": 0,
}
PAIRS = {
    "count": 100,
    "improved": 80,
    "mean_first_score": 0.4,
    "mean_kept_score": 0.5,
    "mean_gain": 0.1,
    "deviation": 0.05,
}


class FakeQueries:
    """A few answers, none, or a database that is away; keeps the parameters it was asked with."""

    def __init__(self, *, empty: bool = False, away: bool = False) -> None:
        self.empty = empty
        self.away = away
        self.asked: list[tuple[str, int]] = []

    def check(self) -> None:
        if self.away:
            raise Unavailable("PostgreSQL: connection refused")

    def statistics(self) -> Statistics:
        self.check()
        some = 0 if self.empty else 1
        return Statistics(
            generated_at=NOW,
            threshold=THRESHOLD,
            questions=QuestionCounts(
                asked=30 * some, total=12 * some, pending=1 * some, completed=10 * some, failed=1 * some
            ),
            answers=AnswerCounts(total=10 * some, accepted=7 * some, max_retries_reached=2 * some, unscored=1 * some),
            scores=ScoreSummary(
                count=9 * some, **dict.fromkeys(("mean", "median", "deviation", "min", "max"), 0.5 if some else None)
            ),
            attempts=[
                AttemptShare(attempts=1, answers=6, share=0.6),
                AttemptShare(attempts=3, answers=4, share=0.4),
            ]
            * some,
            llm=LlmUse(
                calls=18 * some, overhead_percent=80.0 if some else None, prompt_tokens=900, completion_tokens=700
            ),
            total_processing_time_ms=ProcessingTime(p50=1500 if some else None, p95=9000 if some else None),
        )

    def timeseries(self, hours: int) -> Timeseries:
        self.check()
        self.asked.append(("hours", hours))
        starts = [] if self.empty else [NOW - timedelta(minutes=minutes) for minutes in (300, 295, 5)]
        return Timeseries(
            since=starts[0] if starts else NOW - timedelta(hours=hours),
            until=NOW,
            hours=hours,
            bucket_seconds=300,
            points=[Point(start=start, mean_score=0.5, count=3) for start in starts],
        )

    def histogram(self) -> Histogram:
        self.check()
        return buckets.histogram(THRESHOLD, {} if self.empty else {-3: 1, -1: 2, 0: 4, 2: 2})

    def improvement(self) -> Improvement:
        self.check()
        rows = [
            AttemptScore(attempts=1, count=6, mean_score=0.6, mean_first_score=0.6),
            AttemptScore(attempts=3, count=3, mean_score=0.45, mean_first_score=0.35),
        ]
        return Improvement(
            by_attempts=[] if self.empty else rows, regenerated=queries.regeneration(NO_PAIRS if self.empty else PAIRS)
        )

    def top(self, limit: int) -> TopQuestions:
        self.check()
        self.asked.append(("limit", limit))
        pending = Question(
            question_id="0" * 32,
            question_text="<script>alert(1)</script>?",
            times_asked=4,
            status="pending",
            quality=None,
            bert_score=None,
            processing_attempts=None,
            llm_response=None,
            asked_at=NOW,
        )
        return TopQuestions(most_asked=[] if self.empty else [pending], best=[], worst=[])


def client_for(rows: FakeQueries) -> FlaskClient:
    return create_app(VizSettings(quality_threshold=THRESHOLD), rows).test_client()
