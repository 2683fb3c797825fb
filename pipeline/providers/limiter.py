"""The rate limiter of one provider: decides when the next call may be made, and learns from outcomes. Pure.

A provider admits a number of requests and tokens a minute. The limit is known from the provider (headers, texts of
refusals) or from the settings (`LLM_RPM`, `LLM_TPM`); otherwise it is learnt from refusals. The limiter is a sliding
window log: a token becomes available again one window after it was taken. It respects the limit of a provider that
counts fixed windows, counts sliding windows, or has a token bucket, and still uses the whole limit.

Two kinds of limits are learnt; probes after a refusal distinguish them:

- A window: the calls of the last minute used up the limit. No probe succeeds before the minute is over.
- A pace: a probe is admitted earlier, so the provider refills its limit continuously. Calls keep a gap. The gap is
  halved until the next refusal; then it shrinks slowly with each answer and grows with each refusal (additive increase,
  multiplicative decrease of the rate).

Probes are rare, about one for twenty answers. The number of calls in flight to an unknown provider grows with its
answers, so that there are few refusals at first.

When a provider fails several questions and answers none, calls stop, except for probes at growing intervals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from pipeline.messages import NOT_ADMITTED, Cause
from pipeline.provider_status import LimitSource
from pipeline.providers.hints import Limit

MINUTE = 60.0
BUCKET_SECONDS = 0.5
"""Resolution of the log."""
MARGIN_SECONDS = 1.0
"""Added to the window of a token, which starts with its bucket: a call takes time to reach the provider."""

SLOT_RETRY_SECONDS = 0.25
"""Time after which a call that waits for a free slot is tried again."""

PROBE_SECONDS = (2.0, 6.0, 18.0, 54.0)
"""Waits before probes of a provider that refuses calls without a delay; the last one repeats."""

ADMITTED_SECONDS = 5.0
"""Time after which a probe counts as admitted although it is not answered yet: a provider refuses a call at once, but
an answer may take minutes."""

CREDIT_PROBE_SECONDS = (60.0, 120.0, 300.0, 600.0)
"""The same when a quota or the credit is used up."""

OUTAGE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""The same when the provider is unavailable."""

OUTAGE_QUESTIONS = 3
"""Number of questions that have to fail, without an answer in between, before a provider is unavailable."""

RECENT_ANSWER_SECONDS = 10.0
"""A first failure within this time after an answer is attributed to the question."""

ANSWERS_PER_PROBE = 20
ANSWERS_PER_SLOT = 4
"""Number of answers of an unknown provider after which one more call may be in flight."""

MIN_REPORTED_WAIT_SECONDS = 1.0
"""Shorter waits are not reported, because at a pace each call has one."""

REPLICA_TIMEOUT_SECONDS = 15.0
"""Time without a report after which a replica is considered dead, and its calls no longer in flight."""

REPORTED_LIMIT_SECONDS = 600.0
"""Time for which a reported limit is valid, because it may be raised. Headers report it with each answer."""

WAITING_REPLICA_SECONDS = 1.5
"""Time after which a replica that waits for a slot, and does not ask again, no longer waits."""

RAISE_FACTOR, RAISE_SECONDS, LONGEST_RAISE_SECONDS = 1.5, 90.0, 3600.0
"""A learnt limit is raised by this factor after this time without a refusal. When a refusal confirms the limit, the
time is doubled, up to the maximum."""

CLOCK_SLACK_SECONDS = 1.0
"""Change of the clock up to which waits need no correction."""

GAP_SHRINKS, GAP_GROWS = 0.985, 1.15
"""Factors of the gap between calls, for an answer and for a refusal."""

Kind = Literal["requests", "tokens"]


@dataclass(frozen=True)
class Bounds:
    """Limits from the settings.

    Attributes:
        concurrency: Calls in flight of the whole fleet.
        requests_per_minute: `LLM_RPM`; None: unknown.
        tokens_per_minute: `LLM_TPM`; None: unknown.
        call_seconds: Time after which a call has ended in any case.
        longest_wait_seconds: Longest wait that a provider may ask for.
    """

    concurrency: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    call_seconds: float = 60.0
    longest_wait_seconds: float = 86_400.0


@dataclass
class Call:
    """A call in flight."""

    replica: str
    sent_at: float
    tokens: int
    full: bool
    """The learnt limit had no room for it: the call is a probe."""


@dataclass
class ReportedLimit:
    """A limit that the provider has reported."""

    limit: int
    window: float
    longest_reset: float = 0.0
    at: float = 0.0


@dataclass
class Book:
    """State of the limiter of a provider; all times are in seconds since the epoch.

    Attributes:
        machine: Id of the machine whose clock the times follow (`pipeline.clock.Clock.machine`).
        started: Start time of that machine by its clock. It changes when the clock is set.
        version: Incremented with each change, so that the newer of two copies is known.
        log: Admitted calls, refused calls and tokens, by bucket of time.
        calls: Calls in flight, by id.
        heard: Times of the last report of each replica.
        told: Limits that the provider has reported, by kind.
        limit: Learnt limit of requests a minute; 0: none.
        raise_at: Time of the next raise of the learnt limit.
        raise_seconds: Time between two raises.
        full: Whether the learnt limit has delayed a call since it was set.
        gap: Learnt time between two calls in seconds; 0: none.
        searching: True: no refusal has bounded the gap yet, so it is halved with each answer.
        last_at: When the last call was admitted.
        held_until: When the limits have room for the last requested call; 0: at once.
        closed_until: No call is admitted before this time.
        cause: Why no call is admitted; None: calls are admitted.
        message: The provider's message about it.
        half_open: True: after `closed_until` a single call is made first, a probe.
        refused_at: Time of the last new refusal.
        probed_at: When the call of that refusal was sent.
        refusals: Number of new refusals since a call was last admitted.
        probes: Number of all new refusals.
        answered: Number of all answers.
        answered_at: Time of the last answer.
        failed: Questions that have failed since then, at most `OUTAGE_QUESTIONS`.
        failed_at: When the provider was last found unavailable.
        outages: How often it was found unavailable since the last answer.
        tokens_per_call: Mean number of tokens of a call; 0: unknown.
        waiting: Replicas that wait for a slot: the start of the wait, and the time of the last request.
    """

    machine: str = ""
    started: float = 0.0
    version: int = 0
    log: dict[str, list[int]] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    told: dict[str, ReportedLimit] = field(default_factory=dict)
    limit: int = 0
    raise_at: float = 0.0
    raise_seconds: float = 0.0
    full: bool = False
    gap: float = 0.0
    searching: bool = False
    last_at: float = 0.0
    held_until: float = 0.0
    closed_until: float = 0.0
    cause: Cause | None = None
    message: str = ""
    half_open: bool = False
    refused_at: float = 0.0
    probed_at: float = 0.0
    refusals: int = 0
    probes: int = 0
    answered: int = 0
    answered_at: float = 0.0
    failed: list[str] = field(default_factory=list)
    failed_at: float = 0.0
    outages: int = 0
    tokens_per_call: float = 0.0
    waiting: dict[str, list[float]] = field(default_factory=dict)


def newer(one: Book, other: Book) -> Book:
    """Returns the newer of two copies with the logs of both, so that no admitted call is forgotten."""
    first, second = (one, other) if one.version >= other.version else (other, one)
    for bucket, counts in second.log.items():
        known = first.log.get(bucket, [0, 0, 0])
        first.log[bucket] = [max(pair) for pair in zip(known, counts, strict=True)]
    return first


def follow_clock(book: Book, machine: str, started: float) -> None:
    """Adjusts all times of a book if the clock was set after the book was written, so that no wait changes.

    This is only possible on the machine that wrote the book; the clocks of two machines are assumed to agree.

    Args:
        book: The book.
        machine: Id of this machine, whose clock the book follows from now on.
        started: Start time of this machine by its clock, in seconds since the epoch.
    """
    moved = started - book.started
    if machine == book.machine and abs(moved) > CLOCK_SLACK_SECONDS:
        for name in ("raise_at", "last_at", "held_until", "closed_until", "refused_at", "probed_at", "answered_at"):
            _move(book, name, moved)
        _move(book, "failed_at", moved)
        for call in book.calls.values():
            _move(call, "sent_at", moved)
        for reported in book.told.values():
            _move(reported, "at", moved)
        book.heard = {replica: at + moved for replica, at in book.heard.items()}
        book.waiting = {replica: [at + moved for at in times] for replica, times in book.waiting.items()}
        buckets = round(moved / BUCKET_SECONDS)
        book.log = {str(int(bucket) + buckets): counts for bucket, counts in book.log.items()}
    book.machine, book.started = machine, started


def _move(of: Book | Call | ReportedLimit, name: str, seconds: float) -> None:
    moment = getattr(of, name)
    if moment:  # 0: never
        setattr(of, name, moment + seconds)


class Limiter:
    """Admits calls according to a book, and updates the book."""

    def __init__(self, book: Book, bounds: Bounds, share: float = 1.0) -> None:
        """Makes a limiter.

        Args:
            book: State of the limiter; it is changed.
            bounds: Limits from the settings.
            share: Share of all limits that may be used, above 0 and up to 1; below 1 while Redis is unavailable.
        """
        self.book = book
        self._bounds = bounds
        self._share = share

    # --- before a call ----------------------------------------------------------------------------------------

    def admit(self, call_id: str, replica: str, tokens: int, now: float) -> float:
        """Admits a call, or returns how long it has to wait.

        Args:
            call_id: Id of the call, to be passed with its outcome.
            replica: Replica that wants to make the call.
            tokens: Estimated tokens of the call, used until the mean of earlier calls is known.
            now: The current time.

        Returns:
            0 if the call is admitted; otherwise the wait in seconds before the next request.
        """
        book = self.book
        self.alive(replica, now)
        self._forget(now)
        if now < book.closed_until:
            return book.closed_until - now
        if self._no_slot(replica, now):
            since = book.waiting.get(replica, [now])[0]
            book.waiting[replica] = [since, now]
            return SLOT_RETRY_SECONDS
        tokens = ceil(book.tokens_per_call) or tokens
        wait = max(
            (self._wait(kind, limit, window, tokens, now) for kind, limit, window in self._known_limits(now)),
            default=0.0,
        )
        learnt = self._wait("requests", book.limit, MINUTE, 1, now) if book.limit else 0.0
        if not book.half_open:
            book.full = book.full or bool(learnt)
            wait = max(wait, learnt, book.last_at + book.gap / self._share - now)
        if wait > 0:
            book.held_until = now + wait if wait > MIN_REPORTED_WAIT_SECONDS else 0.0
            return wait
        book.held_until = 0.0
        book.waiting.pop(replica, None)
        book.last_at = now
        book.calls[call_id] = Call(replica, now, tokens, bool(learnt))
        self._count(now, 1, 0, tokens)
        return 0.0

    def alive(self, replica: str, now: float) -> None:
        """Records that a replica is alive; replicas with calls in flight report it regularly."""
        self.book.version += 1
        self.book.heard[replica] = now

    def _no_slot(self, replica: str, now: float) -> bool:
        """Returns whether the maximum number of calls is in flight, or another replica has waited longer for a slot."""
        book = self.book
        in_flight = len(book.calls)
        known = bool(book.told or book.limit or book.gap) or self._bounds.requests_per_minute is not None
        slots = self._bounds.concurrency if known else 1 + book.answered // ANSWERS_PER_SLOT
        if book.half_open and self._probes():
            return True
        if in_flight >= max(1, int(min(slots, self._bounds.concurrency) * self._share)):
            return True
        mine = book.waiting.get(replica, [now])[0]
        return any(
            since < mine and now - seen < WAITING_REPLICA_SECONDS
            for other, (since, seen) in book.waiting.items()
            if other != replica
        )

    def _probes(self) -> list[Call]:
        """Returns the calls in flight that were sent after the provider had last admitted none."""
        since = max(self.book.refused_at, self.book.failed_at)
        return [call for call in self.book.calls.values() if call.sent_at > since]

    def _known_limits(self, now: float) -> Iterator[tuple[Kind, int, float]]:
        """Yields the configured and reported limits: kind, limit, and the window in seconds, at most a minute."""
        bounds = self._bounds
        if bounds.requests_per_minute:
            yield "requests", bounds.requests_per_minute, MINUTE
        if bounds.tokens_per_minute:
            yield "tokens", bounds.tokens_per_minute, MINUTE
        for kind, reported in self.book.told.items():
            if reported.window <= MINUTE and now - reported.at <= REPORTED_LIMIT_SECONDS:
                yield "tokens" if kind == "tokens" else "requests", reported.limit, reported.window

    def _wait(self, kind: Kind, limit: int, window: float, wanted: int, now: float) -> float:
        """Returns the seconds until a limit has room; 0 when it has."""
        column = 2 if kind == "tokens" else 0
        allowed = max(1, int(limit * self._share)) - (wanted if kind == "tokens" else 1)
        taken = self._within(window, column, now)
        if taken <= max(0, allowed):
            return 0.0
        for bucket in sorted(self.book.log, key=int):
            until = _comes_back(bucket, window)
            if until > now:
                taken -= self.book.log[bucket][column]
                if taken <= max(0, allowed):
                    return until - now
        return BUCKET_SECONDS

    # --- after a call -----------------------------------------------------------------------------------------

    def answered(self, call_id: str, tokens: int, limits: Sequence[Limit], now: float) -> None:
        """Records that the provider answered a call; an error that is the question's fault counts as an answer.

        Args:
            call_id: Id of the call.
            tokens: Tokens of the call; 0: unknown.
            limits: Limits that the response reports.
            now: The current time.
        """
        book, call = self.book, self._ended(call_id, now)
        book.answered += 1
        book.answered_at = now
        book.failed, book.outages = [], 0
        if tokens and call:
            self._count(call.sent_at, 0, 0, tokens - call.tokens)
            book.tokens_per_call += (tokens - book.tokens_per_call) * (0.2 if book.tokens_per_call else 1)
        if book.cause == "unavailable":
            self._open()
        if call and call.sent_at > book.refused_at:
            self._admits(call)
        self._note_limits(limits, now)
        if book.limit and book.full and now >= book.raise_at:
            book.limit = ceil(book.limit * RAISE_FACTOR)
            book.raise_at = now + book.raise_seconds
            book.full = False

    def refused(
        self, call_id: str, cause: Cause, wait_seconds: float | None, message: str, limits: Sequence[Limit], now: float
    ) -> None:
        """Records that the provider did not admit a call.

        Args:
            call_id: Id of the call.
            cause: `rate_limit`, `quota` or `credit`.
            wait_seconds: Wait that the provider asks for; None: it asks for none.
            message: Message of the provider.
            limits: Limits that the refusal reports.
            now: The current time.
        """
        book, call = self.book, self._ended(call_id, now)
        sent_at = call.sent_at if call else now
        if call:
            self._count(sent_at, -1, 1, -call.tokens)
        book.failed, book.outages = [], 0
        self._note_limits(limits, now)
        hint = min(wait_seconds or 0.0, self._bounds.longest_wait_seconds)
        if sent_at <= book.refused_at:  # sent before the last refusal was known, so there is nothing to learn
            self._close(cause, message, now + hint, book.half_open)
            return
        book.refused_at, book.probed_at = now, sent_at
        book.refusals += 1
        book.probes += 1
        if cause != "rate_limit":
            wait = hint or _of(CREDIT_PROBE_SECONDS, book.refusals)
            self._close(cause, message, now + wait, True)
            return
        certain = max(
            (self._wait(kind, limit, window, 1, now) for kind, limit, window in self._known_limits(now)), default=0.0
        )
        if certain:
            self._close(cause, message, now + max(hint, certain), False)
            return
        wait = self._learn(bool(hint), now)
        # At a pace, a single refusal only means that a call came too early; calls continue.
        self._close(cause, message, now + max(hint, wait), not book.gap or book.refusals > 1)

    def failed(
        self, call_id: str, question_id: str, since: float | None, message: str, hint: float, now: float
    ) -> bool:
        """Records that the provider was unavailable for a call.

        Args:
            call_id: Id of the call.
            question_id: Id of its question.
            since: Time of the last failed call for this question; None: this is the first one.
            message: The error message.
            hint: Wait that the provider asks for, in seconds; 0: it asks for none.
            now: The current time.

        Returns:
            Whether the question may be at fault: the provider answered other calls meanwhile.
        """
        book, call = self.book, self._ended(call_id, now)
        sent_at = call.sent_at if call else now
        first = not book.failed and now - book.answered_at <= RECENT_ANSWER_SECONDS
        at_fault = first or book.answered_at >= (sent_at if since is None else min(sent_at, since))
        if question_id not in book.failed:
            book.failed = [*book.failed, question_id][-OUTAGE_QUESTIONS:]
        unanswered = book.answered_at < sent_at
        if len(book.failed) >= OUTAGE_QUESTIONS and unanswered and sent_at > book.failed_at:
            book.failed_at = now
            book.outages += 1
            self._close("unavailable", message, now + max(hint, _of(OUTAGE_SECONDS, book.outages)), True)
        elif hint:
            self._close("unavailable", message, now + hint, True)
        return at_fault

    def abandoned(self, call_id: str, now: float) -> None:
        """Records that a call was cancelled by its replica; the provider may have counted it."""
        self._ended(call_id, now)

    def reopen(self) -> None:
        """Admits calls again, because the provider has just answered."""
        self._open()

    def _admits(self, call: Call) -> None:
        """Admits calls again, and learns from a call that was admitted after the last refusal."""
        book = self.book
        if book.cause:
            self._open()
        book.refusals = 0
        if call.full:  # admitted before a window would have had room, so the provider has a pace
            book.limit, book.full = 0, False
            book.gap, book.searching = call.sent_at - book.probed_at, True
        elif book.gap:
            book.gap *= 0.5 if book.searching else GAP_SHRINKS

    def _learn(self, hinted: bool, now: float) -> float:
        """Learns from a refusal that no known limit explains; returns the seconds until the next probe."""
        book = self.book
        if book.gap and book.refusals < len(PROBE_SECONDS):
            book.gap *= 2 if book.searching else GAP_GROWS
            book.searching = False
            return book.gap if book.refusals == 1 else max(book.gap, _of(PROBE_SECONDS, book.refusals - 1))
        before, book.limit = book.limit, max(1, self._within(MINUTE, 0, now))
        book.gap = 0.0
        # A confirmed limit is raised later, and needs no probe.
        confirmed = bool(before) and abs(before - book.limit) <= max(1, before // 2)
        book.raise_seconds = min(LONGEST_RAISE_SECONDS, 2 * book.raise_seconds) if confirmed else RAISE_SECONDS
        book.raise_at = now + book.raise_seconds
        book.full = False
        if confirmed or book.probes > 1 + book.answered / ANSWERS_PER_PROBE:
            return self._wait("requests", book.limit, MINUTE, 1, now)
        return 0.0 if hinted and book.refusals == 1 else _of(PROBE_SECONDS, book.refusals)

    def _note_limits(self, limits: Sequence[Limit], now: float) -> None:
        """Records the limits that the provider reports."""
        found: dict[str, ReportedLimit] = {}
        for each in limits:
            reset = each.reset_seconds or 0.0
            if each.limit:
                known = self.book.told.get(each.kind)
                longest = max(reset, known.longest_reset if known and known.limit == each.limit else 0.0)
                reported = ReportedLimit(each.limit, each.window_seconds or _window(longest), longest, now)
                # Of several limits of a kind (a minute and a day; prompts, answers, both), the one with the shortest
                # window is kept, and of these the highest. `remaining` and `reset` cover the others.
                best = found.get(each.kind, reported)
                found[each.kind] = min(reported, best, key=lambda one: (one.window, -one.limit))
            wanted = self.book.tokens_per_call if each.kind == "tokens" else 1
            if each.remaining is not None and each.remaining < max(1, wanted) and reset:
                hold = min(reset, self._bounds.longest_wait_seconds)
                cause: Cause = "quota" if hold > 2 * MINUTE else "rate_limit"
                self._close(cause, "", now + hold, self.book.half_open)
        self.book.told |= found

    # --- the book ---------------------------------------------------------------------------------------------

    def _ended(self, call_id: str, now: float) -> Call | None:
        self.book.version += 1
        return self.book.calls.pop(call_id, None)

    def _open(self) -> None:
        book = self.book
        book.closed_until, book.cause, book.message, book.half_open = 0.0, None, "", False

    def _close(self, cause: Cause, message: str, until: float, half_open: bool) -> None:
        book = self.book
        book.cause = cause
        book.message = message or book.message
        book.closed_until = max(book.closed_until, until)
        book.half_open = half_open

    def _forget(self, now: float) -> None:
        """Removes outdated entries: calls of dead replicas, old buckets, replicas that no longer wait, past waits.

        A wait is past, too, when a probe was not refused for `ADMITTED_SECONDS`.
        """
        book = self.book
        book.version += 1
        silent = now - REPLICA_TIMEOUT_SECONDS
        book.heard = {replica: at for replica, at in book.heard.items() if at > silent}
        book.calls = {
            call_id: call
            for call_id, call in book.calls.items()
            if call.replica in book.heard and now - call.sent_at <= self._bounds.call_seconds
        }
        for bucket in [each for each in book.log if _comes_back(each, MINUTE) <= now]:
            del book.log[bucket]
        for replica in [each for each, (_, seen) in book.waiting.items() if now - seen > WAITING_REPLICA_SECONDS]:
            del book.waiting[replica]
        if book.half_open and book.cause in NOT_ADMITTED:
            for probe in self._probes():
                if now - probe.sent_at >= ADMITTED_SECONDS:
                    self._admits(probe)
                    probe.full = False  # its answer is no further evidence of a pace
        if book.cause and now >= book.closed_until and not book.half_open:
            self._open()

    def _count(self, at: float, admitted: int, refused: int, tokens: int) -> None:
        counts = self.book.log.setdefault(str(int(at / BUCKET_SECONDS)), [0, 0, 0])
        for column, more in enumerate((admitted, refused, tokens)):
            counts[column] += more

    def _within(self, window: float, column: int, now: float) -> int:
        """Returns the sum of a column of the log within the last `window` seconds."""
        return sum(counts[column] for bucket, counts in self.book.log.items() if _comes_back(bucket, window) > now)

    # --- for readers ------------------------------------------------------------------------------------------

    def last_minute(self, now: float) -> tuple[int, int, int]:
        """Returns the admitted calls, the refused calls and the tokens of the last minute."""
        calls, refused, tokens = (self._within(MINUTE, column, now) for column in range(3))
        return calls, refused, tokens

    def waiting_until(self, now: float) -> float | None:
        """Returns when the next call is made; None while calls do not wait."""
        until = max(self.book.closed_until, self.book.held_until)
        return until if until > now else None

    def waiting_for(self, now: float) -> Cause | None:
        """Returns why calls wait; None while they do not."""
        if self.book.closed_until > now or self.book.half_open:
            return self.book.cause
        return "rate_limit" if self.book.held_until > now else None

    def per_minute(self, kind: Kind) -> tuple[float | None, LimitSource | None]:
        """Returns the limit of a kind for a minute, and its source."""
        bounds = self._bounds
        set_by_user = bounds.requests_per_minute if kind == "requests" else bounds.tokens_per_minute
        if set_by_user:
            return set_by_user, "settings"
        reported = self.book.told.get(kind)
        if reported and reported.window <= MINUTE:
            return reported.limit * MINUTE / reported.window, "provider"
        if kind == "requests" and self.book.limit:
            return self.book.limit, "refusals"
        if kind == "requests" and self.book.gap:
            return round(MINUTE / self.book.gap, 1), "refusals"
        return None, None


def _of(waits: Sequence[float], number: int) -> float:
    """Returns the wait before probe 1, 2, …; the last one repeats."""
    return waits[min(number, len(waits)) - 1]


def _comes_back(bucket: str, window: float) -> float:
    return int(bucket) * BUCKET_SECONDS + window + MARGIN_SECONDS


def _window(longest_reset: float) -> float:
    """Estimates the window of a limit in seconds from the longest time until its reset.

    The estimate is rather too short at first than too long: a limit for a second that is taken for one for a minute
    would be sixty times too strict. As the limit is used up, the time until the reset grows to the whole window.
    """
    if not longest_reset:
        return MINUTE
    return next((each for each in (1.0, MINUTE, 3600.0) if longest_reset <= each * 1.02), 86_400.0)
