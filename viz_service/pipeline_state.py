"""Computes the state of the pipeline from samples: lags, rates and alerts. Pure functions.

The sampler probes Kafka, Flink and the services every few seconds. Offsets that cannot be read are None, and so are the
values computed from them: an unknown value is never shown as zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from pipeline import topics
from pipeline.budget import Budget
from pipeline.provider_status import ProviderStatus
from viz_service.schemas import (
    Alert,
    FailureReason,
    Flink,
    GroupState,
    Pipeline,
    ServiceState,
    TopicState,
    Waiting,
    WaitingError,
)

RATE_SECONDS = 30.0
"""Period of the mean rates, in seconds: long enough to be stable, short enough to be current."""

STALL_SECONDS = 90.0
"""Seconds without a commit after which a group that has work is stalled. The Flink job commits with its checkpoints,
every 30 s."""

KEPT_SECONDS = 600.0
"""How long samples are kept, in seconds. It limits the duration in an alert about a stalled group, and the time for
which dead letters count as new."""

PENDING_GRACE_SECONDS = 3600.0
"""Seconds beyond the patience with a provider for which a question may be pending without an alert."""

MIN_ANSWERS = 20
"""Minimum of scored answers for an alert about their share."""

MODEL_GROUP = "llm-consumer"
"""The group whose calls wait for the day's budget and for the providers."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(each.name for each in topics.ALL if each.group == group)
    for group in dict.fromkeys(each.group for each in topics.ALL if each.group)
}
"""Topics by consumer group."""

SHOWN_ERRORS = 5
SHOWN_CHARACTERS = 160
"""Limit of a provider's message in an alert."""

_RETRIES = (
    ("retry-overload-consumer", topics.ERROR_OVERLOAD),
    ("retry-quota-consumer", topics.ERROR_QUOTA),
)
_ERROR_TOPICS = {topics.ERROR_OVERLOAD, topics.ERROR_QUOTA}


@dataclass(frozen=True)
class Member:
    """A consumer group as described by the broker."""

    state: str
    members: int


@dataclass(frozen=True)
class Sample:
    """One sample of the whole pipeline.

    Attributes:
        at: Monotonic time, in seconds.
        taken_at: Wall-clock time.
        kafka_error: Why Kafka could not be read, or None.
        first: First offset by topic and partition.
        ends: Offset after the last message by topic and partition.
        committed: Committed offset by group, topic and partition; -1 if there is none yet.
        ahead: Number of messages finished beyond the committed offset, by the same keys; missing if unknown.
        groups: The groups as described by the broker.
        flink: The job, or None if Flink is unavailable.
        flink_error: Why Flink could not be read, or None.
        services: Health by service.
        replies: Replies of storage-service by source since its start, or None.
        budget: Used and allowed budget of model calls today, or None if unknown.
        providers: State of the model's providers; empty if unknown.
        oldest_pending_seconds: Age of the oldest pending question; None if there is none or it is unknown.
        dead_letters: Number of rejected messages that were not replayed, or None if unknown.
        errors: Failed calls on the error topics, by due time; in the newest sample only.
        due: Due time of the first unfinished message of each error topic that has one; it may have passed.
    """

    at: float
    taken_at: datetime
    kafka_error: FailureReason | None = None
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    committed: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    ahead: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    groups: Mapping[str, Member] = field(default_factory=dict)
    flink: Flink | None = None
    flink_error: FailureReason | None = None
    services: Sequence[ServiceState] = ()
    replies: Mapping[str, int] | None = None
    budget: Budget | None = None
    providers: Sequence[ProviderStatus] = ()
    oldest_pending_seconds: float | None = None
    dead_letters: int | None = None
    errors: Sequence[WaitingError] = ()
    due: Mapping[str, datetime] = field(default_factory=dict)


def end(sample: Sample, topic: str) -> int | None:
    """Returns the sum of a topic's end offsets; None if it could not be read."""
    found = [offset for (name, _), offset in sample.ends.items() if name == topic]
    return sum(found) if found else None


def position(sample: Sample, group: str, topic: str) -> int | None:
    """Returns the position of a group, summed over partitions; a partition without a commit counts from its start.

    Messages that are finished out of order count: one message that waits for a day must not hide later progress.
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
    """Returns the number of messages that a group has not finished; None if unknown."""
    last, done = end(sample, topic), position(sample, group, topic)
    return None if last is None or done is None else max(0, last - done)


def rate(samples: Sequence[Sample], topic: str) -> float | None:
    """Returns the messages written to a topic per second, over `RATE_SECONDS`; None with fewer than two samples."""
    known = [each for each in samples if end(each, topic) is not None]
    if len(known) < 2:
        return None
    newest = known[-1]
    oldest = next(each for each in known if newest.at - each.at <= RATE_SECONDS or each is known[-2])
    written = (end(newest, topic) or 0) - (end(oldest, topic) or 0)
    seconds = newest.at - oldest.at
    # Offsets go back if the topics were recreated.
    return max(0, written) / seconds if seconds > 0 else None


def stalled_for(samples: Sequence[Sample], group: str, topic: str) -> float:
    """Returns for how many seconds a group has had work and finished nothing, limited by the oldest sample."""
    since = None
    done = None
    for sample in reversed(samples):
        current = position(sample, group, topic)
        if current is None:
            continue  # unknown: neither a sign of a stall nor of progress
        if done is None:
            done = current
        if current != done or not lag(sample, group, topic) or _is_waiting(sample, group, topic):
            break
        since = sample.at
    return samples[-1].at - since if since is not None else 0.0


def _is_waiting(sample: Sample, group: str, topic: str) -> bool:
    """Returns whether a group waits intentionally, so that it is not stalled.

    Calls of the model wait for the day's budget and for a limited or unavailable provider; an error waits for its due
    time.
    """
    if group == MODEL_GROUP:
        paused = sample.budget is not None and sample.budget.paused
        return paused or any(each.state != "open" for each in sample.providers)
    if topic in _ERROR_TOPICS:
        due_at = sample.due.get(topic)
        return due_at is None or due_at > sample.taken_at
    return False


def pipeline(samples: Sequence[Sample], age_seconds: float | None) -> Pipeline:
    """Returns the state of the pipeline.

    Args:
        samples: Oldest first; the last one is shown.
        age_seconds: Age of the last sample; None if there is none.
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
    """Returns the errors that wait for their due time; None if Kafka could not be read."""
    if not samples or samples[-1].kafka_error:
        return None
    overload, quota = (lag(samples[-1], group, topic) for group, topic in _RETRIES)
    if overload is None or quota is None:
        return None
    due = [each for each in samples[-1].errors if each.due_at > now]
    return Waiting(overload=overload, quota=quota, next=due[:SHOWN_ERRORS])


def cache_hit_rate(replies: Mapping[str, int] | None) -> float | None:
    """Returns the share of replies from the cache (0 to 1); None if there were no replies yet."""
    total = sum(replies.values()) if replies else 0
    return (replies or {}).get("cache", 0) / total if total else None


def new_dead_letters(samples: Sequence[Sample]) -> int:
    """Returns the number of dead letters that arrived within `KEPT_SECONDS` and were not replayed."""
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
    """Returns the alerts, the most severe first.

    Args:
        samples: Oldest first.
        age_seconds: Age of the last sample; None if there is none.
        below: Scored answers of the last hour that ended at `max_retries_reached`.
        scored: Scored answers of the last hour.
        limit: Share of scored answers that may be below the threshold.
        stale_after: Seconds after which a sample is stale.
        patience: Longest wait of a question for a provider, in seconds.
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
        found.append(Alert(kind="kafka-away", values=_reason_values(newest.kafka_error)))
    if newest.flink_error:
        found.append(Alert(kind="flink-away", values=_reason_values(newest.flink_error)))
    elif newest.flink and not newest.flink.working:
        state = newest.flink.state
        found.append(
            Alert(kind="job-not-running", values={"state": state}) if state else Alert(kind="no-job", values={})
        )
    found += [
        Alert(kind="service-unhealthy", values={"service": each.name} | _reason_values(each.why))
        for each in newest.services
        if not each.healthy
    ]
    found += [
        Alert(kind="provider-unavailable", values=_provider_values(each))
        for each in newest.providers
        if each.state == "unavailable"
    ]
    if newest.budget and newest.budget.paused:
        found.append(Alert(kind="budget-used-up", values=_budget_values(newest.budget)))
    found += [
        Alert(kind="provider-limited", values=_provider_values(each))
        for each in newest.providers
        if each.state == "limited"
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


def _budget_values(budget: Budget) -> dict[str, str | float]:
    """Returns which limits are reached and when calls resume, as values of an alert."""
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


def _provider_values(provider: ProviderStatus) -> dict[str, str | float]:
    """Returns the state of a provider as values of an alert; its message is shortened."""
    values: dict[str, str | float] = provider.model_dump(mode="json", exclude_none=True, exclude={"state", "at"})
    if provider.message:
        text = " ".join(provider.message.split())
        values["message"] = text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
    return values


def _reason_values(why: FailureReason | None) -> dict[str, str | float]:
    """Returns the reason as values of an alert: `why` is its kind, `detail` its detail."""
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
