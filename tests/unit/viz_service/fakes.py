"""Fakes of the queries, storage-service and the sampler that `create_app` takes, without I/O."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flask.testing import FlaskClient

from pipeline.errors import Unavailable
from viz_service import buckets, queries
from viz_service.app import create_app
from viz_service.export import COLUMNS
from viz_service.pipeline_state import Sample
from viz_service.schemas import (
    AnswerCounts,
    Attempt,
    AttemptScore,
    AttemptShare,
    DeadLetter,
    DeadLetters,
    DeadLettersQuery,
    ErrorRecord,
    Filter,
    Histogram,
    Improvement,
    KeptAnswer,
    LlmUse,
    Point,
    ProcessingTime,
    Question,
    QuestionCounts,
    QuestionDetail,
    QuestionRow,
    Questions,
    QuestionsQuery,
    ScoreSummary,
    Statistics,
    Timeseries,
    TopQuestions,
    Usage,
    WaitingError,
    WhatIf,
)
from viz_service.settings import VizSettings
from viz_service.storage import EventStream, Reply

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


SCRIPT = "<script>alert(1)</script>"
KNOWN = "a" * 32
UNKNOWN = "b" * 32


def question(**changes: Any) -> QuestionDetail:
    """Returns a question with an overload error, two attempts and its second answer kept."""
    attempts = [
        Attempt(
            attempt=number,
            model="scripted",
            llm_response=f"Answer {number} {SCRIPT}",
            bert_score=score,
            llm_latency_ms=900,
            prompt_tokens=50,
            completion_tokens=40,
            cost=cost,
            generated_at=NOW + timedelta(seconds=10 * number),
        )
        for number, score, cost in ((1, 0.3, None), (2, 0.6, Decimal("0.000118400")))
    ]
    error = ErrorRecord(
        attempt=1,
        retry=0,
        type="overload",
        status_code=503,
        message=f"server busy {SCRIPT}",
        failed_at=NOW + timedelta(seconds=1),
        due_at=NOW + timedelta(seconds=3),
    )
    kept = KeptAnswer(
        llm_response=f"Answer 2 {SCRIPT}",
        bert_score=0.6,
        bert_precision=0.61,
        bert_recall=0.59,
        quality="accepted",
        scorer="scripted",
        model="scripted",
        processing_attempts=2,
        total_processing_time_ms=21_000,
        created_at=NOW + timedelta(seconds=21),
    )
    known: dict[str, Any] = {
        "question_id": KNOWN,
        "question_text": f"Why? {SCRIPT}",
        "question_context": None,
        "original_answer": f"Because. {SCRIPT}",
        "topic": f"science {SCRIPT}",
        "status": "completed",
        "times_asked": 3,
        "asked_at": NOW,
        "published_at": NOW,
        "answer": kept,
        "failure": None,
        "attempts": attempts,
        "errors": [error],
        "usage": Usage(prompt_tokens=130, completion_tokens=80, cost=Decimal("0.000236800")),
    }
    return QuestionDetail(**known | changes)


def waiting_error(**changes: Any) -> WaitingError:
    """Returns a failed call that is due a minute later."""
    known: dict[str, Any] = {
        "question_id": KNOWN,
        "question_text": f"Why? {SCRIPT}",
        "attempt": 1,
        "retry": 0,
        "type": "quota",
        "status_code": 429,
        "message": "quota",
        "failed_at": NOW,
        "due_at": NOW + timedelta(minutes=1),
    }
    return WaitingError(**known | changes)


def letter(**changes: Any) -> DeadLetter:
    """Returns a dead letter of an unreadable message whose key is the id of its question."""
    known: dict[str, Any] = {
        "id": 7,
        "topic": "llm-responses-error-permanent",
        "partition": 0,
        "offset": 41,
        "source_topic": "llm-responses-success",
        "source_partition": 2,
        "source_offset": 1805,
        "reason": "malformed",
        "error": f"not JSON {SCRIPT}",
        "value_bytes": 26,
        "kept_bytes": 26,
        "preview": f"{{{SCRIPT}",
        "question_id": KNOWN,
        "question_text": f"Why? {SCRIPT}",
        "failed_at": NOW,
        "received_at": NOW,
        "replayed_at": None,
    }
    return DeadLetter(**known | changes)


USED_UP: dict[str, Any] = {
    "day": "2026-03-04",
    "spent_tokens": 100_004,
    "spent_cost": "0.040118400",
    "budget_tokens": 100_000,
    "budget_cost": None,
    "paused": True,
    "resumes_at": "2026-03-05T00:00:00.000Z",
}
"""A reply of `GET /budget`."""

LIMITED: dict[str, Any] = {
    "provider": "https://api.example.com/v1",
    "state": "limited",
    "cause": "rate_limit",
    "message": f"slow down {SCRIPT}",
    "waiting_until": "2026-03-04T12:31:00.000Z",
    "requests_per_minute": 10.0,
    "tokens_per_minute": 6000.0,
    "limit_source": "refusals",
    "calls_last_minute": 10,
    "refused_last_minute": 1,
    "tokens_last_minute": 480,
    "in_flight": 0,
    "at": "2026-03-04T12:30:00.000Z",
}
"""One of the providers in a reply of `GET /providers`."""


class FakeQueries:
    """Fake queries with a few rows, none, or an unavailable database; records the calls."""

    def __init__(self, *, empty: bool = False, unavailable: bool = False) -> None:
        self.empty = empty
        self.unavailable = unavailable
        self.calls: list[tuple[str, Any]] = []
        self.detail = question()
        self.letters = [] if empty else [letter()]
        self.below_last_hour = 0
        self.changes: dict[str, Any] = {}

    def check(self) -> None:
        if self.unavailable:
            raise Unavailable("PostgreSQL: connection refused")

    def statistics(self, hours: int | None = None) -> Statistics:
        self.check()
        some = 0 if self.empty else 1
        return Statistics(
            generated_at=NOW,
            threshold=THRESHOLD,
            questions=QuestionCounts(
                asked=30 * some, total=12 * some, pending=1 * some, completed=10 * some, failed=1 * some
            ),
            answers=AnswerCounts(
                total=10 * some,
                accepted=7 * some,
                max_retries_reached=2 * some,
                self_check_accepted=0,
                self_check_max_retries_reached=0,
                unscored=1 * some,
            ),
            scores=ScoreSummary(
                count=9 * some, **dict.fromkeys(("mean", "median", "deviation", "min", "max"), 0.5 if some else None)
            ),
            attempts=[
                AttemptShare(attempts=1, answers=6, accepted=6, share=0.6),
                AttemptShare(attempts=3, answers=4, accepted=1, share=0.4),
            ]
            * some,
            llm=LlmUse(
                calls=18 * some,
                calls_per_accepted=18 / 7 if some else None,
                overhead_percent=80.0 if some else None,
                prompt_tokens=900,
                completion_tokens=700,
                tokens_per_accepted=1600 / 7 if some else None,
                cost=Decimal("0.007") if some else None,
                cost_per_accepted=Decimal("0.001") if some else None,
                cost_per_point=Decimal("0.0015") if some else None,
            ),
            total_processing_time_ms=ProcessingTime(p50=1500 if some else None, p95=9000 if some else None),
        )

    def timeseries(self, hours: int | None) -> Timeseries:
        self.check()
        self.calls.append(("hours", hours))
        starts = [] if self.empty else [NOW - timedelta(minutes=minutes) for minutes in (300, 295, 5)]
        return Timeseries(
            since=starts[0] if starts else NOW - timedelta(hours=hours or 1),
            until=NOW,
            hours=hours,
            bucket_seconds=300,
            points=[Point(start=start, mean_score=0.5, count=3) for start in starts],
        )

    def histogram(self, hours: int | None = None) -> Histogram:
        self.check()
        return buckets.histogram(THRESHOLD, {} if self.empty else {-3: 1, -1: 2, 0: 4, 2: 2})

    def improvement(self, hours: int | None = None) -> Improvement:
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
        self.calls.append(("limit", limit))
        pending = Question(
            question_id="0" * 32,
            question_text=f"{SCRIPT}?",
            times_asked=4,
            status="pending",
            quality=None,
            bert_score=None,
            processing_attempts=None,
            llm_response=None,
            asked_at=NOW,
        )
        return TopQuestions(most_asked=[] if self.empty else [pending], best=[], worst=[])

    def what_if(self, threshold: float) -> WhatIf:
        self.check()
        self.calls.append(("threshold", threshold))
        rows = [{"passed_at": 1, "unknown": False, "made": 1, "questions": 6, "scores": Decimal("3.6")}]
        return queries.what_if(threshold, 3, [] if self.empty else rows)

    def questions(self, query: QuestionsQuery) -> Questions:
        self.check()
        self.calls.append(("questions", query))
        rows = [
            QuestionRow(
                question_id=KNOWN,
                question_text=f"Why? {SCRIPT}",
                topic="science",
                status="completed",
                quality="accepted",
                bert_score=0.6,
                processing_attempts=2,
                total_processing_time_ms=21_000,
                times_asked=3,
                asked_at=NOW,
            )
        ]
        found = [] if self.empty else [each.model_copy(update=self.changes) for each in rows]
        total = 60 * len(found)
        more = query.page * query.limit < total
        return Questions(total=total, page=query.page, limit=query.limit, has_next=more, questions=found)

    def topics(self) -> list[str]:
        self.check()
        return [] if self.empty else ["health & sport", "science"]

    def dead_letters(self, query: DeadLettersQuery) -> DeadLetters:
        self.check()
        self.calls.append(("dead_letters", query))
        total = 60 * len(self.letters)
        more = query.page * query.limit < total
        end = f"2026-03-04T12:30:00+00:00~{self.letters[-1].id}" if more else None
        return DeadLetters(
            total=total, page=query.page, limit=query.limit, has_next=more, next=end, dead_letters=self.letters
        )

    def export(self, query: Filter) -> Iterator[Mapping[str, Any]]:
        self.check()
        self.calls.append(("export", query))
        if not self.empty:
            yield dict.fromkeys(COLUMNS) | {"question_id": KNOWN, "llm_response": "=1+1", "bert_score": -0.1}

    def question(self, question_id: str) -> QuestionDetail | None:
        self.check()
        return self.detail if question_id == self.detail.question_id else None

    def recent(self) -> tuple[int, int]:
        self.check()
        return 100, self.below_last_hour


class FakeStream(EventStream):
    """Fake stream of two events."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield b"event: pending\n\n"
        yield b"event: completed\n\n"

    def close(self) -> None:
        self.closed = True


class FakeStorage:
    """Fake storage-service that records its calls, or an unavailable one."""

    def __init__(self, *, unavailable: bool = False) -> None:
        self.unavailable = unavailable
        self.called: list[tuple[str, Any]] = []
        self.stream = FakeStream()
        self.figures: dict[str, Any] = {
            "replies": {"cache": 3, "database": 1, "pending": 4, "failed": 0},
            "oldest_pending_seconds": 2.125,
            "dead_letters": 3,
        }
        self.day: dict[str, Any] = USED_UP
        self.standing: dict[str, Any] = {"providers": [LIMITED]}
        self.rows: list[dict[str, Any]] = [
            {
                "question_id": KNOWN,
                "question_text": f"Why? {SCRIPT}",
                "reason": "retries_exhausted",
                "last_error": f"overload 503 {SCRIPT}",
                "retry_count": 3,
                "failed_at": "2026-03-04T12:00:00.000Z",
            }
        ]

    def _call(self, name: str, arguments: Any) -> None:
        if self.unavailable:
            raise Unavailable("storage-service: ConnectionError")
        self.called.append((name, arguments))

    def ask(self, body: Mapping[str, Any]) -> Reply:
        self._call("ask", dict(body))
        return Reply(202, b'{"status": "pending"}', "application/json")

    def events(self, question_id: str, last_event_id: str | None) -> EventStream | Reply:
        self._call("events", (question_id, last_event_id))
        return Reply(204, b"", "application/json") if last_event_id else self.stream

    def failed(self, query: Mapping[str, Any]) -> dict[str, Any]:
        self._call("failed", dict(query))
        return {"total": len(self.rows), "failed": self.rows}

    def retry(self, question_id: str) -> Reply:
        self._call("retry", question_id)
        return Reply(202, b'{"status": "pending"}', "application/json")

    def replay(self, letter_id: int) -> Reply:
        self._call("replay", letter_id)
        return Reply(202, b'{"id": 7}', "application/json")

    def statistics(self) -> dict[str, Any]:
        self._call("statistics", None)
        return self.figures

    def budget(self) -> dict[str, Any]:
        self._call("budget", None)
        return self.day

    def providers(self) -> dict[str, Any]:
        self._call("providers", None)
        return self.standing


class FakeState:
    """Fake sampler with the samples of the test."""

    def __init__(self, *samples: Sample, age: float | None = 1.0) -> None:
        self._samples = samples
        self._age = age if samples else None

    def samples(self) -> Sequence[Sample]:
        return self._samples

    def age_seconds(self) -> float | None:
        return self._age


def client_for(
    rows: FakeQueries, storage: FakeStorage | None = None, state: FakeState | None = None, **settings: Any
) -> FlaskClient:
    made = VizSettings(quality_threshold=THRESHOLD, **settings)
    return create_app(made, rows, storage or FakeStorage(), state or FakeState()).test_client()
