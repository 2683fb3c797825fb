"""The results of a run: counts during the run; figures, table rows and JSON at its end. No I/O."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from traffic_generator.prediction import Prediction

NOTHING = "-"
# The report mentions delays above this: the requested pace was not reached.
LATE_SECONDS = 1.0
# The report mentions detection delays above this: they make the latencies of answers too long.
UNSEEN_SECONDS = 0.5


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Returns the nearest-rank percentile: the smallest value that `percent` % of the values do not exceed.

    It is not interpolated, so that each figure was measured, even with only two values.

    Args:
        values: Values in any order and unit; the result has the same unit.
        percent: Above 0, at most 100.

    Returns:
        The percentile; None if there are no values.

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
        requested: Questions that the run will ask.
        asked: Questions sent so far.
        cached: Questions answered at once.
        pending: Questions accepted and not answered yet.
        completed: Questions accepted and answered later.
        failed: Questions given up by the fleet.
        errors: Questions without a usable reply, or lost afterwards.
        accepted: Questions that were pending at any time.
        repeated: Questions that this run had sent before.
        joined: Repeated questions whose first occurrence was still pending.
        known: Questions answered at once that this run had not sent before; an earlier run had.
        sources: Sources of the answers given at once (`cache`, `database`).
        cached_seconds: Time from sending to the reply, for each question answered at once.
        accepted_seconds: Time from sending to the reply, for each accepted question.
        since_due_seconds: Time from when a question was due to its reply, for each reply.
        answer_seconds: Time from sending to the answer, for each completed question.
        unseen_seconds: Longest possible delay between an answer and its detection, for each completed question.
        reasons: Reasons of errors and failed questions.
        late_seconds: Largest delay of sending a question.
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
        """Questions in a final state."""
        return self.cached + self.completed + self.failed + self.errors

    @property
    def in_flight(self) -> int:
        """Questions sent without a reply yet."""
        return self.asked - self.settled - self.pending

    @property
    def distinct(self) -> int:
        """Different questions among those sent."""
        return self.asked - self.repeated

    @property
    def reply_seconds(self) -> list[float]:
        """Times from sending to the reply, for each reply with an answer or an acceptance."""
        return self.cached_seconds + self.accepted_seconds

    @property
    def hit_rate(self) -> float | None:
        """Share of those replies that contained the answer, from 0 to 1; None without replies."""
        replies = self.cached + self.accepted
        return self.cached / replies if replies else None

    def sent(self, late_seconds: float = 0.0, *, repeated: bool = False) -> None:
        """Counts a question that was sent `late_seconds` after it was due."""
        self.asked += 1
        self.repeated += repeated
        self.late_seconds = max(self.late_seconds, late_seconds)

    def answered_at_once(self, seconds: float, source: str | None, *, repeated: bool = False) -> None:
        """Counts a reply with the answer, `seconds` after sending."""
        self.cached += 1
        self.known += not repeated
        self.cached_seconds.append(seconds)
        self.sources[source or "unnamed"] += 1

    def accepted_for_later(self, seconds: float, *, repeated: bool = False) -> None:
        """Counts a reply that only accepted the question, `seconds` after sending."""
        self.pending += 1
        self.accepted += 1
        self.joined += repeated
        self.accepted_seconds.append(seconds)

    def answered(self, seconds: float, unseen_seconds: float = 0.0) -> None:
        """Counts a pending question as completed, `seconds` after sending, detected up to `unseen_seconds` late."""
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
        """Returns the counts by state as one line."""
        names = ("asked", "cached", "pending", "completed", "failed", "errors")
        return "  ".join(f"{name} {getattr(self, name)}" for name in names)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a finished run.

    Attributes:
        tally: Its counts.
        duration_seconds: Time from the first question to the end of the run, including the wait for answers.
        asking_seconds: Time from the first question to the last reply.
        predicted: The prediction for the questions that were asked.
        interrupted: Whether it was stopped before its end.
        timed_out: Whether questions were still pending at the timeout.
    """

    tally: Tally
    duration_seconds: float
    asking_seconds: float
    predicted: Prediction
    interrupted: bool = False
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether the run was complete, without errors and failed questions."""
        return not (self.tally.errors or self.tally.failed or self.interrupted or self.timed_out)

    @property
    def requests_per_second(self) -> float:
        """Questions sent per second of asking."""
        return self.tally.asked / self.asking_seconds if self.asking_seconds > 0 else 0.0

    def rows(self) -> list[tuple[str, str]]:
        """Returns the rows of the table: names and formatted values."""
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
            # Two standard deviations contain 95 % of the runs.
            distinct += f" ± {2 * predicted.distinct_deviation:.1f}"
            rate += f" ± {200 * predicted.hit_rate_deviation:.1f}"
        else:
            # Deterministic: a whole number.
            distinct = f"{predicted.distinct:.0f}"
        return [
            ("different questions / predicted", f"{self.tally.distinct} / {distinct}"),
            ("hit rate / predicted", f"{_percent(self.tally.hit_rate)} / {rate}"),
        ]

    def remarks(self, most: int = 5) -> list[str]:
        """Returns remarks for below the table, one line each: at most `most` reasons, then remarks about the run."""
        found = [f"{count} x {reason}" for reason, count in self.tally.reasons.most_common(most)]
        if len(self.tally.reasons) > most:
            found.append(f"and {len(self.tally.reasons) - most} other reasons")
        if self.tally.known:
            found.append(f"{self.tally.known} answered at once although new in this run: asked before it")
        if self.tally.joined:
            found.append(
                f"{self.tally.joined} asked again while the first was pending: neither a hit nor a second call"
            )
        if self.tally.late_seconds > LATE_SECONDS:
            found.append(
                f"questions were sent up to {self.tally.late_seconds:.1f} s late: replies were too slow for this pace; "
                f"counted from when they were due, reply p50 / p95 are {_pair(self.tally.since_due_seconds)}"
            )
        unseen = percentile(self.tally.unseen_seconds, 95)
        if unseen is not None and unseen > UNSEEN_SECONDS:
            found.append(f"answers may have been detected up to {_shown(unseen)} (p95) late")
        if self.timed_out:
            found.append(f"timed out with {self.tally.pending} questions pending")
        if self.interrupted:
            found.append("stopped before the end")
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns the report as a JSON object; values that were not measured are null."""
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
