"""The state of the pipeline, from samples of it. Pure.

The sampler looks at Kafka, Flink and the services every few seconds; what is here turns its samples into lags, rates
and alerts. Offsets that cannot be read are None, and what follows from them is None as well: never a made-up zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from pipeline import topics
from pipeline.budget import Budget
from pipeline.provider import ProviderStatus
from viz_service.schemas import Alert, Flink, GroupState, Pipeline, ServiceState, TopicState, Waiting, WaitingError, Why

RATE_SECONDS = 30.0
"""Rates are means over this time, in seconds: long enough to be calm, short enough to be live."""

STALL_SECONDS = 90.0
"""A group that has work and commits nothing for this long is stalled, in seconds. The Flink job commits with its
checkpoints, every 30 s."""

KEPT_SECONDS = 600.0
"""How long samples are kept, in seconds: an alert about a stalled group tells no longer time, and dead letters are new
for so long."""

PENDING_GRACE_SECONDS = 3600.0
"""For how much longer than the patience with a provider, in seconds, a question may be pending without an alert."""

MIN_ANSWERS = 20
"""Fewer scored answers make no share to be alarmed about."""

MODEL_GROUP = "llm-consumer"
"""The one whose calls wait for the day's budget and for the providers."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(each.name for each in topics.ALL if each.group == group)
    for group in dict.fromkeys(each.group for each in topics.ALL if each.group)
}
"""Topics by consumer group."""

SHOWN_ERRORS = 5
SHOWN_CHARACTERS = 160
"""Of what a provider says, in an alert."""

_RETRIES = (
    ("retry-overload-consumer", topics.ERROR_OVERLOAD),
    ("retry-quota-consumer", topics.ERROR_QUOTA),
)
_ERROR_TOPICS = {topics.ERROR_OVERLOAD, topics.ERROR_QUOTA}


@dataclass(frozen=True)
class Member:
    """A consumer group as the broker knows it."""

    state: str
    members: int


@dataclass(frozen=True)
class Sample:
    """One look at everything.

    Attributes:
        at: Monotonic time, in seconds.
        taken_at: The same on the clock.
        kafka_error: Why Kafka could not be read, or None.
        first: First offset by topic and partition.
        ends: Offset after the last message by topic and partition.
        committed: Committed offset by group, topic and partition; -1: none yet.
        ahead: How many messages beyond that one are finished already, likewise; none where it is not told.
        groups: What the broker says of the groups.
        flink: The job, or None when Flink is away.
        flink_error: Why, or None.
        services: Health by service.
        replies: Replies of storage-service by source since its start, or None.
        budget: What calls of the model took today and may take, or None when nobody has told.
        providers: How the providers of the model stand; empty when nobody has told.
        oldest_pending_seconds: Age of the pending question that was asked first; None without one, or when not told.
        dead_letters: Rejected messages that were not replayed, or None when nobody has told.
        errors: Failed calls that were seen on their topics, by due time; of the newest sample only.
        due: When the first unfinished message of an error topic is due, or was, by topic; none without one.
    """

    at: float
    taken_at: datetime
    kafka_error: Why | None = None
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    committed: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    ahead: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    groups: Mapping[str, Member] = field(default_factory=dict)
    flink: Flink | None = None
    flink_error: Why | None = None
    services: Sequence[ServiceState] = ()
    replies: Mapping[str, int] | None = None
    budget: Budget | None = None
    providers: Sequence[ProviderStatus] = ()
    oldest_pending_seconds: float | None = None
    dead_letters: int | None = None
    errors: Sequence[WaitingError] = ()
    due: Mapping[str, datetime] = field(default_factory=dict)


def end(sample: Sample, topic: str) -> int | None:
    """Returns the sum of a topic's end offsets; None when it could not be read."""
    found = [offset for (name, _), offset in sample.ends.items() if name == topic]
    return sum(found) if found else None


def position(sample: Sample, group: str, topic: str) -> int | None:
    """Returns how far a group has come, summed over partitions; without a commit one counts from its start.

    What is finished out of order counts: one message that waits for a day must not hide what is done meanwhile.
    """
    partitions = [each for each in sample.ends if each[0] == topic]
    offsets = [sample.committed.get((group, *each)) for each in partitions]
    if not partitions or None in offsets:
        return None
    return sum(
        max(offset if offset is not None else -1, sample.first.get(each, 0)) + sample.ahead.get((group, *each), 0)
        for each, offset in zip(partitions, offsets, strict=True)
    )


def lag(sample: Sample, group: str, topic: str) -> int | None:
    """Returns how many messages a group has still to finish; None when it is not known."""
    last, done = end(sample, topic), position(sample, group, topic)
    return None if last is None or done is None else max(0, last - done)


def rate(samples: Sequence[Sample], topic: str) -> float | None:
    """Returns messages written to a topic per second, over `RATE_SECONDS`; None before there are two samples."""
    known = [each for each in samples if end(each, topic) is not None]
    if len(known) < 2:
        return None
    newest = known[-1]
    oldest = next(each for each in known if newest.at - each.at <= RATE_SECONDS or each is known[-2])
    written = (end(newest, topic) or 0) - (end(oldest, topic) or 0)
    seconds = newest.at - oldest.at
    # Offsets go back when the topics were made anew.
    return max(0, written) / seconds if seconds > 0 else None


def stalled_for(samples: Sequence[Sample], group: str, topic: str) -> float:
    """Returns for how many seconds a group has had work to do and finished nothing, as far as samples go back."""
    since = None
    done = None
    for sample in reversed(samples):
        current = position(sample, group, topic)
        if current is None:
            continue  # not known: neither a reason for an alarm nor against one
        if done is None:
            done = current
        if current != done or not lag(sample, group, topic) or _waits(sample, group, topic):
            break
        since = sample.at
    return samples[-1].at - since if since is not None else 0.0


def _waits(sample: Sample, group: str, topic: str) -> bool:
    """Returns whether a group leaves its work alone as it is meant to: it is not stalled.

    Calls of the model wait for the day's budget and for a provider that admits none; an error waits for its due time.
    """
    if group == MODEL_GROUP:
        paused = sample.budget is not None and sample.budget.paused
        return paused or any(each.state != "open" for each in sample.providers)
    if topic in _ERROR_TOPICS:
        due_at = sample.due.get(topic)
        return due_at is None or due_at > sample.taken_at
    return False


def pipeline(samples: Sequence[Sample], age_seconds: float | None) -> Pipeline:
    """Makes the state of the pipeline.

    Args:
        samples: Oldest first; the last one is shown.
        age_seconds: Of the last one; None when there is none.
    """
    newest = samples[-1] if samples else None
    return Pipeline(
        sampled_at=newest.taken_at if newest else None,
        age_seconds=age_seconds,
        kafka_error=newest.kafka_error if newest else None,
        topics=[_topic(samples, each) for each in topics.ALL],
        groups=[_group(newest, group) for group in GROUPS],
        flink=newest.flink if newest else None,
        flink_error=newest.flink_error if newest else None,
        services=list(newest.services) if newest else [],
        providers=list(newest.providers) if newest else [],
        cache_hit_rate=cache_hit_rate(newest.replies if newest else None),
    )


def waiting(samples: Sequence[Sample], now: datetime) -> Waiting | None:
    """Returns what waits for its due time; None when Kafka has not told."""
    if not samples or samples[-1].kafka_error:
        return None
    overload, quota = (lag(samples[-1], group, topic) for group, topic in _RETRIES)
    if overload is None or quota is None:
        return None
    due = [each for each in samples[-1].errors if each.due_at > now]
    return Waiting(overload=overload, quota=quota, next=due[:SHOWN_ERRORS])


def cache_hit_rate(replies: Mapping[str, int] | None) -> float | None:
    """Returns the share of replies that came from the cache (0 to 1); None when there was no reply yet."""
    total = sum(replies.values()) if replies else 0
    return (replies or {}).get("cache", 0) / total if total else None


def new_dead_letters(samples: Sequence[Sample]) -> int:
    """Returns how many dead letters came while samples were kept, of those that are still to be replayed."""
    known = [each.dead_letters for each in samples if each.dead_letters is not None]
    came = sum(max(0, later - earlier) for earlier, later in pairwise(known))
    return min(came, known[-1]) if known else 0


def alerts(
    samples: Sequence[Sample],
    age_seconds: float | None,
    below: int,
    scored: int,
    limit: float,
    stale_after: float,
    patience: float,
) -> list[Alert]:
    """Returns what needs somebody's attention, the gravest first.

    Args:
        samples: Oldest first.
        age_seconds: Of the last one; None when there is none.
        below: Scored answers of the last hour that ended at `max_retries_reached`.
        scored: Scored answers of the last hour.
        limit: Share of those that may be below.
        stale_after: Seconds after which a sample says nothing about now.
        patience: Seconds for which a question waits for a provider.
    """
    found: list[Alert] = []
    if samples and age_seconds is not None and age_seconds > stale_after:
        found.append(Alert(kind="stale", values={"seconds": round(age_seconds)}))
    elif samples:
        found += _alerts_of(samples, patience)
    if scored >= MIN_ANSWERS and below / scored > limit:
        found.append(Alert(kind="max-retries", values={"share": below / scored, "limit": limit, "count": scored}))
    return found


def _alerts_of(samples: Sequence[Sample], patience: float) -> list[Alert]:
    newest = samples[-1]
    found = []
    if newest.kafka_error:
        found.append(Alert(kind="kafka-away", values=_reason(newest.kafka_error)))
    if newest.flink_error:
        found.append(Alert(kind="flink-away", values=_reason(newest.flink_error)))
    elif newest.flink and not newest.flink.working:
        state = newest.flink.state
        found.append(
            Alert(kind="job-not-running", values={"state": state}) if state else Alert(kind="no-job", values={})
        )
    found += [
        Alert(kind="service-unhealthy", values={"service": each.name} | _reason(each.why))
        for each in newest.services
        if not each.healthy
    ]
    found += [
        Alert(kind="provider-unavailable", values=_standing(each))
        for each in newest.providers
        if each.state == "unavailable"
    ]
    if newest.budget and newest.budget.paused:
        found.append(Alert(kind="budget-used-up", values=_spent(newest.budget)))
    found += [
        Alert(kind="provider-limited", values=_standing(each)) for each in newest.providers if each.state == "limited"
    ]
    for group, names in GROUPS.items():
        for name in names:
            seconds, waiting = stalled_for(samples, group, name), lag(newest, group, name)
            if waiting and seconds >= STALL_SECONDS:
                found.append(
                    Alert(
                        kind="stalled",
                        values={"group": group, "topic": name, "lag": waiting, "seconds": round(seconds)},
                    )
                )
    pending, paused = newest.oldest_pending_seconds, newest.budget is not None and newest.budget.paused
    if pending is not None and pending > patience + PENDING_GRACE_SECONDS and not paused:
        found.append(Alert(kind="pending-long", values={"seconds": round(pending)}))
    if count := new_dead_letters(samples):
        found.append(Alert(kind="dead-letters", values={"count": count}))
    return found


def _spent(budget: Budget) -> dict[str, str | float]:
    """Returns which limits are reached and when calls go on, as values of an alert."""
    limits: tuple[tuple[str, int | Decimal | None, int | Decimal | None], ...] = (
        ("tokens", budget.spent_tokens, budget.budget_tokens),
        ("cost", budget.spent_cost, budget.budget_cost),
    )
    values: dict[str, str | float] = {}
    for unit, spent, limit in limits:
        if spent is not None and limit is not None and spent >= limit:
            values |= {f"spent_{unit}": float(spent), f"budget_{unit}": float(limit)}
    if budget.resumes_at:
        values["resumes_at"] = budget.resumes_at.isoformat()
    return values


def _standing(provider: ProviderStatus) -> dict[str, str | float]:
    """Returns how a provider stands, as values of an alert; what it says itself is shortened."""
    values: dict[str, str | float] = provider.model_dump(mode="json", exclude_none=True, exclude={"state", "at"})
    if provider.message:
        said = " ".join(provider.message.split())
        values["message"] = said if len(said) <= SHOWN_CHARACTERS else f"{said[: SHOWN_CHARACTERS - 1]}…"
    return values


def _reason(why: Why | None) -> dict[str, str | float]:
    """Returns the reason as values of an alert: `why` is the kind, `detail` what comes with it."""
    return {"why": why.kind, "detail": why.detail} if why else {}


def _topic(samples: Sequence[Sample], topic: topics.Topic) -> TopicState:
    newest = samples[-1] if samples else None
    group = topic.group or None
    return TopicState(
        name=topic.name,
        group=group,
        messages=end(newest, topic.name) if newest else None,
        lag=lag(newest, group, topic.name) if newest and group else None,
        rate=rate(samples, topic.name),
        stalled=bool(group and samples and stalled_for(samples, group, topic.name) >= STALL_SECONDS),
    )


def _group(sample: Sample | None, name: str) -> GroupState:
    known = sample.groups.get(name) if sample else None
    lags = [lag(sample, name, topic) if sample else None for topic in GROUPS[name]]
    return GroupState(
        name=name,
        topics=list(GROUPS[name]),
        state=known.state if known else None,
        members=known.members if known else None,
        lag=None if None in lags else sum(each or 0 for each in lags),
    )
