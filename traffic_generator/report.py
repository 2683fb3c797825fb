"""What came of a run: counted while it goes on, summed up as figures, table rows and JSON. Values only."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from traffic_generator.prediction import Prediction

NOTHING = "-"
# A schedule that is later than this is worth a remark: the pace was not the one asked for.
LATE_SECONDS = 1.0
# An answer that may have been there for longer before it was seen makes the latencies of answers too long.
UNSEEN_SECONDS = 0.5


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
        repeated: Questions sent that this run had sent before.
        joined: Of those, the ones that found the first one still pending.
        known: Questions answered at once that this run had not sent before: an earlier one had.
        sources: Where the answers given at once came from (`cache`, `database`).
        cached_seconds: From sending to the reply, one for each question answered at once.
        accepted_seconds: The same, one for each question that was accepted.
        since_due_seconds: From when it was to be sent to the reply, one for each reply.
        answer_seconds: From sending to the answer, one for each completed question.
        unseen_seconds: For how long at most an answer had been there before it was seen, one for each of those.
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
    repeated: int = 0
    joined: int = 0
    known: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    cached_seconds: list[float] = field(default_factory=list)
    accepted_seconds: list[float] = field(default_factory=list)
    since_due_seconds: list[float] = field(default_factory=list)
    answer_seconds: list[float] = field(default_factory=list)
    unseen_seconds: list[float] = field(default_factory=list)
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

    @property
    def distinct(self) -> int:
        """Different questions among those sent."""
        return self.asked - self.repeated

    @property
    def reply_seconds(self) -> list[float]:
        """From sending to the reply, one for each reply that held an answer or took the question."""
        return self.cached_seconds + self.accepted_seconds

    @property
    def hit_rate(self) -> float | None:
        """The share of those replies that held the answer, from 0 to 1; None of none."""
        replies = self.cached + self.accepted
        return self.cached / replies if replies else None

    def sent(self, late_seconds: float = 0.0, *, repeated: bool = False) -> None:
        """Counts a question that was sent `late_seconds` after it was due."""
        self.asked += 1
        self.repeated += repeated
        self.late_seconds = max(self.late_seconds, late_seconds)

    def answered_at_once(self, seconds: float, source: str | None, *, repeated: bool = False) -> None:
        """Counts a reply that held the answer, `seconds` after sending."""
        self.cached += 1
        self.known += not repeated
        self.cached_seconds.append(seconds)
        self.sources[source or "unnamed"] += 1

    def accepted_for_later(self, seconds: float, *, repeated: bool = False) -> None:
        """Counts a reply that only took the question, `seconds` after sending."""
        self.pending += 1
        self.accepted += 1
        self.joined += repeated
        self.accepted_seconds.append(seconds)

    def answered(self, seconds: float, unseen_seconds: float = 0.0) -> None:
        """Counts a pending question as completed, `seconds` after sending, and `unseen_seconds` too late at most."""
        self.pending -= 1
        self.completed += 1
        self.answer_seconds.append(seconds)
        self.unseen_seconds.append(unseen_seconds)

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
        predicted: What the distribution predicts of the questions that were asked.
        interrupted: It was stopped before its end.
        timed_out: Questions were still pending when the time was up.
    """

    tally: Tally
    duration_seconds: float
    asking_seconds: float
    predicted: Prediction
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
            *self._hit_rows(),
            ("reply p50 / p95", _pair(tally.reply_seconds)),
            ("reply of hits p50 / p95", _pair(tally.cached_seconds)),
            ("reply of misses p50 / p95", _pair(tally.accepted_seconds)),
            ("answer p50 / p95", _pair(tally.answer_seconds)),
            ("duration", f"{self.duration_seconds:.1f} s"),
            ("requests/s", f"{self.requests_per_second:.2f}"),
        ]

    def _hit_rows(self) -> list[tuple[str, str]]:
        predicted = self.predicted
        distinct, rate = f"{predicted.distinct:.1f}", _percent(predicted.hit_rate)
        if predicted.distinct_deviation and predicted.hit_rate_deviation:
            # Two standard deviations: nineteen of twenty runs fall within.
            distinct += f" ± {2 * predicted.distinct_deviation:.1f}"
            rate += f" ± {200 * predicted.hit_rate_deviation:.1f}"
        else:
            # No chance in it: a whole number.
            distinct = f"{predicted.distinct:.0f}"
        return [
            ("different questions / predicted", f"{self.tally.distinct} / {distinct}"),
            ("hit rate / predicted", f"{_percent(self.tally.hit_rate)} / {rate}"),
        ]

    def remarks(self, most: int = 5) -> list[str]:
        """Returns what the table cannot tell, one line each: at most `most` reasons, then what happened to the run."""
        found = [f"{count} x {reason}" for reason, count in self.tally.reasons.most_common(most)]
        if len(self.tally.reasons) > most:
            found.append(f"and {len(self.tally.reasons) - most} other reasons")
        if self.tally.known:
            found.append(f"{self.tally.known} answered at once although new to this run: asked before it")
        if self.tally.joined:
            found.append(f"{self.tally.joined} asked again while the first was pending: no hit, and no second call")
        if self.tally.late_seconds > LATE_SECONDS:
            found.append(
                f"questions were sent up to {self.tally.late_seconds:.1f} s late: replies too slow for this pace; "
                f"counted from when they were due, reply p50 / p95 are {_pair(self.tally.since_due_seconds)}"
            )
        unseen = percentile(self.tally.unseen_seconds, 95)
        if unseen is not None and unseen > UNSEEN_SECONDS:
            found.append(f"answers may have been there for up to {_shown(unseen)} (p95) before they were seen")
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
            "hits": self._hits_as_json(),
            "reply_latency_ms": _milliseconds(tally.reply_seconds),
            "reply_latency_cached_ms": _milliseconds(tally.cached_seconds),
            "reply_latency_accepted_ms": _milliseconds(tally.accepted_seconds),
            "reply_latency_since_due_ms": _milliseconds(tally.since_due_seconds),
            "answer_latency_ms": _milliseconds(tally.answer_seconds),
            "answer_unseen_ms": _milliseconds(tally.unseen_seconds),
            "late_ms_max": round(tally.late_seconds * 1000, 1),
            "duration_seconds": round(self.duration_seconds, 3),
            "requests_per_second": round(self.requests_per_second, 3),
            "interrupted": self.interrupted,
            "timed_out": self.timed_out,
        }

    def _hits_as_json(self) -> dict[str, Any]:
        tally, predicted = self.tally, self.predicted
        return {
            "rate": _rounded(tally.hit_rate),
            "rate_predicted": _rounded(predicted.hit_rate),
            "rate_deviation": _rounded(predicted.hit_rate_deviation),
            "distinct": tally.distinct,
            "distinct_predicted": _rounded(predicted.distinct),
            "distinct_deviation": _rounded(predicted.distinct_deviation),
            "repeated": tally.repeated,
            "joined": tally.joined,
            "known": tally.known,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share * 100:.1f} %"


def _pair(seconds: Sequence[float]) -> str:
    return f"{_shown(percentile(seconds, 50))} / {_shown(percentile(seconds, 95))}" if seconds else NOTHING


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _milliseconds(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    figures = {f"p{percent}": percentile(seconds, percent) for percent in (50, 95, 99)}
    return {name: round(value * 1000, 1) for name, value in figures.items() if value is not None} | {
        "max": round(max(seconds) * 1000, 1)
    }
