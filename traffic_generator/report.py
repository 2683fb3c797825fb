"""What came of a run: counted while it goes on, summed up as figures, table rows and JSON. Values only."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NOTHING = "-"
# A schedule that is later than this is worth a remark: the pace was not the one asked for.
LATE_SECONDS = 1.0


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Returns the nearest-rank percentile: the smallest value that `percent` % of the values do not exceed.

    Nearest rank and not interpolated: every figure shown is one that was measured, also of two values.

    Args:
        values: In any order and unit; the result has the same unit.
        percent: Above 0, at most 100.

    Returns:
        None when there are no values.

    Raises:
        ValueError: `percent` is out of range.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is not in (0, 100]: {percent}")
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@dataclass(slots=True)
class Tally:
    """Counts by state. A question that was asked is in flight or in exactly one of the five states.

    Attributes:
        requested: Questions that the run is to ask.
        asked: Questions sent so far.
        cached: Answered at once.
        pending: Accepted and not answered yet.
        completed: Accepted and answered later.
        failed: Given up by the fleet.
        errors: Without a usable reply, or lost afterwards.
        accepted: Questions that were ever pending.
        sources: Where the answers given at once came from (`cache`, `database`).
        reply_seconds: From sending to the reply, one for each reply.
        answer_seconds: From sending to the answer, one for each completed question.
        reasons: What was said about errors and failed questions.
        late_seconds: How late the latest question was sent.
    """

    requested: int = 0
    asked: int = 0
    cached: int = 0
    pending: int = 0
    completed: int = 0
    failed: int = 0
    errors: int = 0
    accepted: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    reply_seconds: list[float] = field(default_factory=list)
    answer_seconds: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    late_seconds: float = 0.0

    @property
    def settled(self) -> int:
        """Questions of which nothing more is expected."""
        return self.cached + self.completed + self.failed + self.errors

    @property
    def in_flight(self) -> int:
        """Questions that were sent and have no reply yet."""
        return self.asked - self.settled - self.pending

    def sent(self, late_seconds: float = 0.0) -> None:
        """Counts a question that was sent `late_seconds` after it was due."""
        self.asked += 1
        self.late_seconds = max(self.late_seconds, late_seconds)

    def answered_at_once(self, seconds: float, source: str | None) -> None:
        """Counts a reply that held the answer, `seconds` after sending."""
        self.cached += 1
        self.reply_seconds.append(seconds)
        self.sources[source or "unnamed"] += 1

    def accepted_for_later(self, seconds: float) -> None:
        """Counts a reply that only took the question, `seconds` after sending."""
        self.pending += 1
        self.accepted += 1
        self.reply_seconds.append(seconds)

    def answered(self, seconds: float) -> None:
        """Counts a pending question as completed, `seconds` after sending."""
        self.pending -= 1
        self.completed += 1
        self.answer_seconds.append(seconds)

    def gave_up(self, reason: str, *, was_pending: bool = True) -> None:
        """Counts a question that the fleet marked as failed."""
        self.pending -= was_pending
        self.failed += 1
        self.reasons[reason] += 1

    def went_wrong(self, reason: str, *, was_pending: bool = False) -> None:
        """Counts a question without a usable reply."""
        self.pending -= was_pending
        self.errors += 1
        self.reasons[reason] += 1

    def line(self) -> str:
        """Returns the counts by state in one line."""
        names = ("asked", "cached", "pending", "completed", "failed", "errors")
        return "  ".join(f"{name} {getattr(self, name)}" for name in names)


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run that is over.

    Attributes:
        tally: Its counts.
        duration_seconds: From the first question to the end of the run, waiting included.
        asking_seconds: From the first question to the last reply.
        interrupted: It was stopped before its end.
        timed_out: Questions were still pending when the time was up.
    """

    tally: Tally
    duration_seconds: float
    asking_seconds: float
    interrupted: bool = False
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Everything that was to be done was done, without an error or a failed question."""
        return not (self.tally.errors or self.tally.failed or self.interrupted or self.timed_out)

    @property
    def requests_per_second(self) -> float:
        """Questions sent per second of asking."""
        return self.tally.asked / self.asking_seconds if self.asking_seconds > 0 else 0.0

    def rows(self) -> list[tuple[str, str]]:
        """Returns the table: names and values as they are shown."""
        tally = self.tally
        sources = ", ".join(f"{source} {count}" for source, count in sorted(tally.sources.items()))
        return [
            ("asked", str(tally.asked) if tally.asked == tally.requested else f"{tally.asked} of {tally.requested}"),
            ("cached (answered at once)", f"{tally.cached} ({sources})" if sources else "0"),
            ("pending (no answer yet)", str(tally.pending)),
            ("completed (answered later)", str(tally.completed)),
            ("failed", str(tally.failed)),
            ("errors", str(tally.errors)),
            ("reply p50 / p95", _pair(tally.reply_seconds)),
            ("answer p50 / p95", _pair(tally.answer_seconds)),
            ("duration", f"{self.duration_seconds:.1f} s"),
            ("requests/s", f"{self.requests_per_second:.2f}"),
        ]

    def remarks(self, most: int = 5) -> list[str]:
        """Returns what the table cannot tell, one line each: at most `most` reasons, then what happened to the run."""
        found = [f"{count} x {reason}" for reason, count in self.tally.reasons.most_common(most)]
        if len(self.tally.reasons) > most:
            found.append(f"and {len(self.tally.reasons) - most} other reasons")
        if self.tally.late_seconds > LATE_SECONDS:
            found.append(
                f"questions were sent up to {self.tally.late_seconds:.1f} s late: replies too slow for this pace"
            )
        if self.timed_out:
            found.append(f"the time was up with {self.tally.pending} questions pending")
        if self.interrupted:
            found.append("stopped before the end")
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns the report as a JSON object; figures that were not measured are null."""
        tally = self.tally
        return {
            "ok": self.ok,
            "requested": tally.requested,
            "asked": tally.asked,
            "cached": tally.cached,
            "cached_from": dict(tally.sources),
            "accepted": tally.accepted,
            "pending": tally.pending,
            "completed": tally.completed,
            "failed": tally.failed,
            "errors": tally.errors,
            "reasons": dict(tally.reasons.most_common()),
            "reply_latency_ms": _milliseconds(tally.reply_seconds),
            "answer_latency_ms": _milliseconds(tally.answer_seconds),
            "late_ms_max": round(tally.late_seconds * 1000, 1),
            "duration_seconds": round(self.duration_seconds, 3),
            "requests_per_second": round(self.requests_per_second, 3),
            "interrupted": self.interrupted,
            "timed_out": self.timed_out,
        }


def _pair(seconds: Sequence[float]) -> str:
    return f"{_shown(percentile(seconds, 50))} / {_shown(percentile(seconds, 95))}" if seconds else NOTHING


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _milliseconds(seconds: Sequence[float]) -> dict[str, float] | None:
    p50, p95 = percentile(seconds, 50), percentile(seconds, 95)
    if p50 is None or p95 is None:
        return None
    return {"p50": round(p50 * 1000, 1), "p95": round(p95 * 1000, 1)}
