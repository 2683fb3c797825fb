"""The rate limiter of one provider: when the next call may be made, and what its outcome teaches. Pure.

A provider admits so many requests and tokens a minute. It may say so (headers, words of a refusal), its user may say so
(`LLM_RPM`, `LLM_TPM`), or its refusals tell. The limiter is a token bucket whose tokens come back a window after they
were taken (a sliding window log). Such a client keeps to the limit of a provider that counts fixed windows, sliding
windows, or has a bucket of its own, and still uses all of it.

Without a word of the provider its limit is learnt. There are two kinds, told apart by probes after a refusal:

- A window: what was admitted within the last minute was all that there is. No probe succeeds before the minute is over.
- A pace: a probe is admitted earlier, so the provider refills as time goes by. Calls keep a gap; it is halved until
  the next refusal, then shrinks slowly with each answer and grows with each refusal (additive increase, multiplicative
  decrease of the rate).

Probes are few, about one for twenty answers. The number of calls in flight grows with the answers of an unknown
provider, so that its first refusals are few, too.

A provider that is unavailable to several questions, and answers none, is left alone, but for a probe at growing
intervals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from llm_consumer.hints import Limit
from pipeline.messages import Cause
from pipeline.provider import LimitSource

MINUTE = 60.0
BUCKET_SECONDS = 0.5
"""Resolution of the log."""
MARGIN_SECONDS = 1.0
"""From the beginning of its bucket a token comes back so much later: a call takes its time to the provider."""

SLOT_RETRY_SECONDS = 0.25
"""After which a call that waits for another one to end is tried again."""

PROBE_SECONDS = (2.0, 6.0, 18.0, 54.0)
"""Waits before probes of a provider that refuses and does not say for how long; the last one repeats."""

CREDIT_PROBE_SECONDS = (60.0, 120.0, 300.0, 600.0)
"""The same where a quota or the credit is used up."""

OUTAGE_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""The same where the provider is unavailable."""

OUTAGE_QUESTIONS = 3
"""Questions that have to fail, with no answer between them, before a provider counts as unavailable."""

RECENT_ANSWER_SECONDS = 10.0
"""A first failure so soon after an answer is taken for the question's own."""

ANSWERS_PER_PROBE = 20
ANSWERS_PER_SLOT = 4
"""Answers that an unknown provider has to give before one more call is made at the same time."""

MIN_REPORTED_WAIT_SECONDS = 1.0
"""Shorter waits are not told: at a pace each call has one."""

REPLICA_TIMEOUT_SECONDS = 15.0
"""After which a replica that was not heard of is taken for dead: its calls are no longer in flight."""

REPORTED_LIMIT_SECONDS = 600.0
"""For which a limit holds that the provider told: it may have been raised since. Headers tell it with each answer."""

WAITING_REPLICA_SECONDS = 1.5
"""After which a replica that wanted to call, and did not come back, wants no more."""

RAISE_FACTOR, RAISE_SECONDS, LONGEST_RAISE_SECONDS = 1.5, 90.0, 3600.0
"""A learnt limit a minute is raised after this time without a refusal; after twice the time when it proves right."""

CLOCK_SLACK_SECONDS = 1.0
"""By which a clock may be set and no wait needs to be mended."""

GAP_SHRINKS, GAP_GROWS = 0.985, 1.15
"""Factors of the gap between calls, for an answer and for a refusal."""

Kind = Literal["requests", "tokens"]


@dataclass(frozen=True)
class Bounds:
    """What the settings say.

    Attributes:
        concurrency: Calls in flight of the whole fleet.
        requests_per_minute: `LLM_RPM`; None: not known.
        tokens_per_minute: `LLM_TPM`; None: not known.
        call_seconds: After which a call has ended, whatever became of it.
        longest_wait_seconds: Cap on what a provider may ask for.
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
    """By the limit that was learnt there was no room for it: a probe."""


@dataclass
class ReportedLimit:
    """A limit that the provider told."""

    limit: int
    window: float
    longest_reset: float = 0.0
    at: float = 0.0


@dataclass
class Book:
    """What is known of a provider; all times in seconds since the epoch.

    Attributes:
        machine: Whose clock they go by (`pipeline.clock.Clock.machine`).
        started: When that machine was started, by this clock: another time than before tells that it was set.
        version: Grows with each change, so that of two copies the newer one is known.
        log: Admitted calls, refused calls and tokens by bucket of time.
        calls: In flight, by id.
        heard: When replicas were last heard of.
        told: Limits that the provider told, by kind.
        limit: Requests a minute that were learnt; 0: none.
        raise_at: When the learnt limit is next raised.
        raise_seconds: After how long.
        full: Whether the learnt limit has held a call back since it was set.
        gap: Seconds between two calls, learnt; 0: none.
        searching: The gap is halved with each answer: no refusal has bounded it yet.
        last_at: When the last call was admitted.
        held_until: When the limits have room for the call that asked last; 0: at once.
        closed_until: Nobody calls before.
        cause: Why; None: calls need not wait.
        message: The provider's own words about it.
        half_open: After `closed_until` one call goes first.
        refused_at: When the last refusal came that was a new one.
        probed_at: When the call was sent that met it.
        refusals: New refusals since a call was last admitted.
        probes: New refusals in all.
        answered: Answers in all.
        answered_at: Of the last one.
        failed: Questions that failed since, at most `OUTAGE_QUESTIONS`.
        failed_at: When the provider was last found unavailable.
        outages: How often since the last answer.
        tokens_per_call: Mean of what calls took; 0: not known.
        waiting: Replicas that want to call and have no slot: since when, and when they last asked.
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
    """Returns the newer of two copies, with the log of both: after a loss neither is less careful than before."""
    first, second = (one, other) if one.version >= other.version else (other, one)
    for bucket, counts in second.log.items():
        known = first.log.get(bucket, [0, 0, 0])
        first.log[bucket] = [max(pair) for pair in zip(known, counts, strict=True)]
    return first


def follow_clock(book: Book, machine: str, started: float) -> None:
    """Moves all times of a book with a clock that was set since it was written: what waits, waits as long as it had to.

    It takes a clock of the machine that wrote the book; those of two machines can only be taken to agree.

    Args:
        book: The book.
        machine: Whose clock it goes by from now on.
        started: When that machine was started, by its clock, in seconds since the epoch.
    """
    moved = started - book.started
    if machine == book.machine and abs(moved) > CLOCK_SLACK_SECONDS:
        for name in ("raise_at", "last_at", "held_until", "closed_until", "refused_at", "probed_at", "answered_at"):
            _move(book, name, moved)
        _move(book, "failed_at", moved)
        for call in book.calls.values():
            _move(call, "sent_at", moved)
        for told in book.told.values():
            _move(told, "at", moved)
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
    """Decides by a book, and keeps it."""

    def __init__(self, book: Book, bounds: Bounds, share: float = 1.0) -> None:
        """Makes a limiter.

        Args:
            book: What is known; it is changed.
            bounds: What the settings say.
            share: Of all limits that may be used, above 0 to 1: less than 1 while the others cannot be seen.
        """
        self.book = book
        self._bounds = bounds
        self._share = share

    # --- before a call ----------------------------------------------------------------------------------------

    def admit(self, call_id: str, replica: str, tokens: int, now: float) -> float:
        """Admits a call, or tells for how long it has to wait.

        Args:
            call_id: Of the call; its outcome names it.
            replica: Who wants to make it.
            tokens: That it will take, as far as one can tell, in case nothing better is known.
            now: The time.

        Returns:
            0 if it is admitted; otherwise the seconds to wait before the next try.
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
        """Notes that a replica lives, which says it now and then while it has calls in flight."""
        self.book.version += 1
        self.book.heard[replica] = now

    def _no_slot(self, replica: str, now: float) -> bool:
        """Returns whether all calls are in flight that may be, or another replica has waited longer for one."""
        book = self.book
        in_flight = len(book.calls)
        known = bool(book.told or book.limit or book.gap) or self._bounds.requests_per_minute is not None
        slots = self._bounds.concurrency if known else 1 + book.answered // ANSWERS_PER_SLOT
        if book.half_open:
            slots = 1
        if in_flight >= max(1, int(min(slots, self._bounds.concurrency) * self._share)):
            return True
        mine = book.waiting.get(replica, [now])[0]
        return any(
            since < mine and now - seen < WAITING_REPLICA_SECONDS
            for other, (since, seen) in book.waiting.items()
            if other != replica
        )

    def _known_limits(self, now: float) -> Iterator[tuple[Kind, int, float]]:
        """Yields the limits that are certain: kind, limit, and the window in seconds, a minute at most."""
        bounds = self._bounds
        if bounds.requests_per_minute:
            yield "requests", bounds.requests_per_minute, MINUTE
        if bounds.tokens_per_minute:
            yield "tokens", bounds.tokens_per_minute, MINUTE
        for kind, told in self.book.told.items():
            if told.window <= MINUTE and now - told.at <= REPORTED_LIMIT_SECONDS:
                yield "tokens" if kind == "tokens" else "requests", told.limit, told.window

    def _wait(self, kind: Kind, limit: int, window: float, wanted: int, now: float) -> float:
        """Returns the seconds until there is room by a limit; 0 when there is."""
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
        """Notes that the provider answered a call; an error that is the question's fault is an answer, too.

        Args:
            call_id: Of the call.
            tokens: That it took; 0: not known.
            limits: That the answer tells.
            now: The time.
        """
        book, call = self.book, self._ended(call_id, now)
        book.answered += 1
        book.answered_at = now
        book.failed, book.outages = [], 0
        if tokens and call:
            self._count(call.sent_at, 0, 0, tokens - call.tokens)
            book.tokens_per_call += (tokens - book.tokens_per_call) * (0.2 if book.tokens_per_call else 1)
        if book.cause == "unavailable" or (book.cause and call and call.sent_at > book.refused_at):
            self._open()
        if call and call.sent_at > book.refused_at:
            book.refusals = 0
            self._admits(call)
        self._note_limits(limits, now)
        if book.limit and book.full and now >= book.raise_at:
            book.limit = ceil(book.limit * RAISE_FACTOR)
            book.raise_at = now + book.raise_seconds
            book.full = False

    def refused(
        self, call_id: str, cause: Cause, wait_seconds: float | None, message: str, limits: Sequence[Limit], now: float
    ) -> None:
        """Notes that the provider did not admit a call.

        Args:
            call_id: Of the call.
            cause: `rate_limit`, `quota` or `credit`.
            wait_seconds: For how long it wants no call; None: it does not say.
            message: Its own words.
            limits: That the refusal tells.
            now: The time.
        """
        book, call = self.book, self._ended(call_id, now)
        sent_at = call.sent_at if call else now
        if call:
            self._count(sent_at, -1, 1, -call.tokens)
        book.failed, book.outages = [], 0
        self._note_limits(limits, now)
        hint = min(wait_seconds or 0.0, self._bounds.longest_wait_seconds)
        if sent_at <= book.refused_at:  # sent before the last refusal was known: nothing new
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
        # At a pace one refusal is a call that came too soon; calls go on.
        self._close(cause, message, now + max(hint, wait), not book.gap or book.refusals > 1)

    def failed(
        self, call_id: str, question_id: str, since: float | None, message: str, hint: float, now: float
    ) -> bool:
        """Notes that the provider was unavailable to a call.

        Args:
            call_id: Of the call.
            question_id: Of the question that it was made for.
            since: When a call for it last failed; None: this is the first.
            message: What went wrong.
            hint: For how long the provider wants no call, in seconds; 0: it does not say.
            now: The time.

        Returns:
            Whether the question may be at fault: the provider answered others meanwhile.
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
        """Notes that a call was broken off from this side; the provider may have counted it."""
        self._ended(call_id, now)

    def reopen(self) -> None:
        """Forgets why calls wait, for somebody has seen the provider answer."""
        self._open()

    def _admits(self, call: Call) -> None:
        """Learns from a call that was admitted after the last refusal."""
        book = self.book
        if call.full:  # before a window would have had room: the provider keeps a pace
            book.limit, book.full = 0, False
            book.gap, book.searching = call.sent_at - book.probed_at, True
        elif book.gap:
            book.gap *= 0.5 if book.searching else GAP_SHRINKS

    def _learn(self, hinted: bool, now: float) -> float:
        """Learns from a refusal that no limit explains; returns the seconds until the next probe."""
        book = self.book
        if book.gap and book.refusals < len(PROBE_SECONDS):
            book.gap *= 2 if book.searching else GAP_GROWS
            book.searching = False
            return book.gap if book.refusals == 1 else max(book.gap, _of(PROBE_SECONDS, book.refusals - 1))
        before, book.limit = book.limit, max(1, self._within(MINUTE, 0, now))
        book.gap = 0.0
        # Found again to be what it was: not to be doubted so soon, and not to be asked about.
        confirmed = bool(before) and abs(before - book.limit) <= max(1, before // 2)
        book.raise_seconds = min(LONGEST_RAISE_SECONDS, 2 * book.raise_seconds) if confirmed else RAISE_SECONDS
        book.raise_at = now + book.raise_seconds
        book.full = False
        if confirmed or book.probes > 1 + book.answered / ANSWERS_PER_PROBE:
            return self._wait("requests", book.limit, MINUTE, 1, now)
        return 0.0 if hinted and book.refusals == 1 else _of(PROBE_SECONDS, book.refusals)

    def _note_limits(self, limits: Sequence[Limit], now: float) -> None:
        """Notes what the provider says of its limits."""
        found: dict[str, ReportedLimit] = {}
        for each in limits:
            reset = each.reset_seconds or 0.0
            if each.limit:
                known = self.book.told.get(each.kind)
                longest = max(reset, known.longest_reset if known and known.limit == each.limit else 0.0)
                told = ReportedLimit(each.limit, each.window_seconds or _window(longest), longest, now)
                # Of several of a kind (of a minute and of a day; of prompts, of answers, of both) the one of the
                # shortest window, and then the widest: what is left of the others tells enough.
                best = found.get(each.kind, told)
                found[each.kind] = min(told, best, key=lambda one: (one.window, -one.limit))
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
        """Drops what is over: calls of a worker that died, old buckets, an end of waiting."""
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
        if book.cause and now >= book.closed_until and not book.half_open:
            self._open()

    def _count(self, at: float, admitted: int, refused: int, tokens: int) -> None:
        counts = self.book.log.setdefault(str(int(at / BUCKET_SECONDS)), [0, 0, 0])
        for column, more in enumerate((admitted, refused, tokens)):
            counts[column] += more

    def _within(self, window: float, column: int, now: float) -> int:
        """Returns how many of a kind were counted within the last `window` seconds."""
        return sum(counts[column] for bucket, counts in self.book.log.items() if _comes_back(bucket, window) > now)

    # --- for readers ------------------------------------------------------------------------------------------

    def last_minute(self, now: float) -> tuple[int, int, int]:
        """Returns the admitted calls, the refused calls and the tokens of the last minute."""
        calls, refused, tokens = (self._within(MINUTE, column, now) for column in range(3))
        return calls, refused, tokens

    def waiting_until(self, now: float) -> float | None:
        """Returns when the next call is made; None while none has to wait."""
        until = max(self.book.closed_until, self.book.held_until)
        return until if until > now else None

    def waiting_for(self, now: float) -> Cause | None:
        """Returns why calls wait; None while none has to."""
        if self.book.closed_until > now or self.book.half_open:
            return self.book.cause
        return "rate_limit" if self.book.held_until > now else None

    def per_minute(self, kind: Kind) -> tuple[float | None, LimitSource | None]:
        """Returns the limit of a kind, a minute, and who said so."""
        bounds = self._bounds
        set_by_user = bounds.requests_per_minute if kind == "requests" else bounds.tokens_per_minute
        if set_by_user:
            return set_by_user, "settings"
        told = self.book.told.get(kind)
        if told and told.window <= MINUTE:
            return told.limit * MINUTE / told.window, "provider"
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
    """Returns the window of a limit whose name does not say it, by the longest time until its reset, in seconds.

    Too short at first rather than too long: a limit of a second that was taken for one of a minute would be sixty times
    too strict. Towards the limit the time until the reset grows to the whole window.
    """
    if not longest_reset:
        return MINUTE
    return next((each for each in (1.0, MINUTE, 3600.0) if longest_reset <= each * 1.02), 86_400.0)
