"""Lags, rates and alerts computed from samples."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from pipeline import topics
from pipeline.budget import Budget
from pipeline.provider_status import ProviderStatus
from pipeline.topics import Topic
from tests.unit.viz_service.fakes import LIMITED, NOW, SCRIPT, USED_UP, FakeStorage, waiting_error
from viz_service import pipeline_state
from viz_service.pipeline_state import Member, Sample
from viz_service.sampler import BudgetProbe
from viz_service.schemas import FailureReason, Flink, ServiceState

PENDING, CONSUMER = topics.QUESTIONS_PENDING, "llm-consumer"
NO_CONNECTION = FailureReason(kind="no-connection")
PATIENCE = 86_400
RUNNING = Flink(state="RUNNING", tasks=4, tasks_running=4, since=NOW, working=True)


def sample(
    at: float, ends: tuple[int, int] = (0, 0), committed: tuple[int, int] = (0, 0), topic: str = PENDING
) -> Sample:
    group = next(group for group, names in pipeline_state.GROUPS.items() if topic in names)
    return Sample(
        at=at,
        taken_at=NOW,
        ends={(topic, number): offset for number, offset in enumerate(ends)},
        first={(topic, number): 0 for number in range(len(ends))},
        committed={(group, topic, number): offset for number, offset in enumerate(committed)},
        flink=RUNNING,
    )


def kinds(*samples: Sample, age: float | None = 1.0, below: int = 0, scored: int = 0) -> list[str]:
    return [
        each.kind
        for each in pipeline_state.alerts(samples, age, below, scored, limit=0.5, stale_after=25, patience=PATIENCE)
    ]


def test_groups_have_the_topics_of_their_service() -> None:
    assert pipeline_state.GROUPS["score-validator"] == (topics.RESPONSES_SUCCESS,)
    assert pipeline_state.GROUPS["storage-writer"] == (topics.VALIDATED, topics.LOW_QUALITY, topics.PERMANENT)
    assert Topic("a-record", 1, "Nobody reads it.", (), ()).group == ""
    assert "" not in pipeline_state.GROUPS


def retries(overload: int = 0, quota: int = 0, **more: object) -> Sample:
    ends = {(topics.ERROR_OVERLOAD, 0): 10, (topics.ERROR_QUOTA, 0): 10}
    committed = {
        ("retry-overload-consumer", topics.ERROR_OVERLOAD, 0): 10 - overload,
        ("retry-quota-consumer", topics.ERROR_QUOTA, 0): 10 - quota,
    }
    return Sample(at=0, taken_at=NOW, ends=ends, committed=committed, **more)  # type: ignore[arg-type]


def test_waiting_counts_uncommitted_errors_and_lists_those_due_next() -> None:
    errors = [waiting_error(due_at=NOW + timedelta(seconds=second), retry=second % 3) for second in range(-2, 9)]
    found = pipeline_state.waiting([retries(overload=2, quota=7, errors=errors)], NOW)
    assert found
    assert (found.overload, found.quota) == (2, 7)
    assert [(each.due_at - NOW).seconds for each in found.next] == [1, 2, 3, 4, 5]


def test_waiting_is_unknown_while_kafka_is_unavailable() -> None:
    assert pipeline_state.waiting([], NOW) is None
    assert pipeline_state.waiting([replace(retries(), kafka_error=NO_CONNECTION)], NOW) is None
    assert pipeline_state.waiting([Sample(at=0, taken_at=NOW)], NOW) is None


def test_lag_is_the_sum_over_partitions() -> None:
    assert pipeline_state.lag(sample(0, (10, 7), (8, 7)), CONSUMER, PENDING) == 2


def test_lag_without_a_commit_is_counted_from_the_first_offset() -> None:
    observed = replace(sample(0, (10, 7), (-1, 7)), first={(PENDING, 0): 4, (PENDING, 1): 0})
    assert pipeline_state.lag(observed, CONSUMER, PENDING) == 6


def test_lag_is_unknown_when_an_offset_is_unknown() -> None:
    assert pipeline_state.lag(Sample(at=0, taken_at=NOW), CONSUMER, PENDING) is None
    half = replace(sample(0, (10, 7), (8, 7)), committed={(CONSUMER, PENDING, 0): 8})
    assert pipeline_state.lag(half, CONSUMER, PENDING) is None


def test_the_rate_is_the_mean_over_half_a_minute() -> None:
    observed = [sample(at, (at * 2, 0)) for at in (0, 100, 110, 120, 130)]
    observed[-1] = sample(130, (300, 0))
    assert pipeline_state.rate(observed, PENDING) == pytest.approx((300 - 200) / 30)


def test_the_rate_needs_two_samples_and_is_never_negative() -> None:
    assert pipeline_state.rate([sample(0, (5, 0))], PENDING) is None
    assert pipeline_state.rate([sample(0, (50, 0)), sample(5, (0, 0))], PENDING) == 0


def test_the_rate_ignores_samples_without_kafka() -> None:
    observed = [sample(0, (0, 0)), Sample(at=5, taken_at=NOW, kafka_error=NO_CONNECTION), sample(10, (20, 0))]
    assert pipeline_state.rate(observed, PENDING) == pytest.approx(2)


def test_a_group_that_commits_is_not_stalled() -> None:
    observed = [sample(at, (at + 10, 0), (at, 0)) for at in range(0, 300, 5)]
    assert pipeline_state.stalled_for(observed, CONSUMER, PENDING) == 0
    assert kinds(*observed) == []


def test_a_group_with_work_that_commits_nothing_is_stalled() -> None:
    observed = [sample(at, (at + 10, 0), (7, 0)) for at in range(0, 100, 5)]
    assert pipeline_state.stalled_for(observed, CONSUMER, PENDING) == 95
    [alert] = pipeline_state.alerts(observed, 1.0, 0, 0, 0.5, 25, PATIENCE)
    assert alert.kind == "stalled"
    assert alert.values == {"group": CONSUMER, "topic": PENDING, "lag": 98, "seconds": 95}
    state = pipeline_state.pipeline(observed, 1.0)
    assert [each.name for each in state.topics if each.stalled] == [PENDING]


def test_a_group_without_work_is_not_stalled() -> None:
    idle = [sample(at, (7, 0), (7, 0)) for at in range(0, 300, 5)]
    just_began = [*idle, sample(300, (8, 0), (7, 0))]
    assert pipeline_state.stalled_for(just_began, CONSUMER, PENDING) == 0


def errors(begin: int, end: int, due_seconds: float | None, ahead: int = 0) -> list[Sample]:
    """Returns samples of an error topic with uncommitted messages; the first is due in `due_seconds`."""
    partition = ("retry-quota-consumer", topics.ERROR_QUOTA, 0)
    due = {} if due_seconds is None else {topics.ERROR_QUOTA: NOW + timedelta(seconds=due_seconds)}
    return [
        replace(sample(at, (9, 0), (1, 0), topics.ERROR_QUOTA), due=due, ahead={partition: ahead})
        for at in range(begin, end, 5)
    ]


def test_an_error_that_is_not_due_yet_is_not_stalled() -> None:
    assert kinds(*errors(0, 600, 86_400)) == []
    assert kinds(*errors(0, 600, None)) == []


def test_errors_that_are_due_and_not_retried_are_stalled() -> None:
    waited, due = errors(0, 600, 86_400), errors(600, 695, 0)
    assert kinds(*waited, *due[:-1]) == []
    [alert] = pipeline_state.alerts([*waited, *due], 1.0, 0, 0, 0.5, 25, PATIENCE)
    assert alert.kind == "stalled"
    assert alert.values == {"group": "retry-quota-consumer", "topic": topics.ERROR_QUOTA, "lag": 8, "seconds": 90}


def test_messages_finished_out_of_order_count_as_progress() -> None:
    one, two = errors(0, 90, -1, ahead=2), errors(90, 180, -1, ahead=3)
    assert kinds(*one, *two) == []
    assert pipeline_state.lag(two[-1], "retry-quota-consumer", topics.ERROR_QUOTA) == 5
    assert pipeline_state.stalled_for([*one, *two], "retry-quota-consumer", topics.ERROR_QUOTA) == 85


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"kafka_error": NO_CONNECTION}, "kafka-away"),
        ({"flink": None, "flink_error": NO_CONNECTION}, "flink-away"),
        ({"flink": RUNNING.model_copy(update={"state": "RESTARTING", "working": False})}, "job-not-running"),
        ({"flink": Flink(state=None, tasks=0, tasks_running=0, since=None, working=False)}, "no-job"),
        (
            {"services": [ServiceState(name="storage-writer", healthy=False, instances=0, why=NO_CONNECTION)]},
            "service-unhealthy",
        ),
    ],
)
def test_each_fault_raises_its_alert(changes: dict[str, object], kind: str) -> None:
    assert kinds(replace(sample(0), **changes)) == [kind]  # type: ignore[arg-type]


def test_an_alert_has_the_kind_and_detail_of_its_reason() -> None:
    [alert] = pipeline_state.alerts([replace(sample(0), kafka_error=NO_CONNECTION)], 1, 0, 0, 0.5, 30, PATIENCE)
    assert alert.values == {"why": "no-connection", "detail": ""}


PAUSED = Budget.model_validate(USED_UP)


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, {"spent_tokens": 100_004, "budget_tokens": 100_000}),
        ({"budget_tokens": None, "budget_cost": Decimal("0.04")}, {"spent_cost": 0.0401184, "budget_cost": 0.04}),
        ({"budget_cost": Decimal(5)}, {"spent_tokens": 100_004, "budget_tokens": 100_000}),
        (
            {"budget_cost": Decimal("0.04")},
            {"spent_tokens": 100_004, "budget_tokens": 100_000, "spent_cost": 0.0401184, "budget_cost": 0.04},
        ),
    ],
)
def test_the_alert_of_a_used_up_budget_has_spending_limits_and_the_end(
    changes: dict[str, object], reached: dict[str, float]
) -> None:
    [alert] = pipeline_state.alerts(
        [replace(sample(0), budget=PAUSED.model_copy(update=changes))], 1, 0, 0, 0.5, 30, PATIENCE
    )
    assert alert.kind == "budget-used-up"
    assert alert.values == {**reached, "resumes_at": "2026-03-05T00:00:00+00:00"}


@pytest.mark.parametrize("budget", [None, Budget(day=NOW.date(), spent_tokens=3, budget_tokens=4)])
def test_a_budget_that_is_left_or_unknown_raises_no_alert(budget: Budget | None) -> None:
    assert kinds(replace(sample(0), budget=budget)) == []


def test_an_unavailable_storage_service_raises_a_single_alert() -> None:
    unhealthy = ServiceState(name="storage-service", healthy=False, instances=0, why=NO_CONNECTION)
    assert kinds(replace(sample(0), services=[unhealthy], **BudgetProbe(FakeStorage(unavailable=True))())) == [
        "service-unhealthy"
    ]


def test_a_group_that_waits_for_the_budget_is_not_stalled() -> None:
    waits = [replace(sample(at, (9, 0), (7, 0)), budget=PAUSED) for at in range(0, 300, 5)]
    assert kinds(*waits) == ["budget-used-up"]
    # The stall is measured from the moment when calls are allowed again.
    resumed = [sample(at, (9, 0), (7, 0)) for at in range(300, 395, 5)]
    assert kinds(*waits, *resumed[:-1]) == []
    assert kinds(*waits, *resumed) == ["stalled"]


def test_other_groups_are_stalled_during_a_pause_of_the_budget() -> None:
    name = topics.VALIDATED
    assert kinds(*(replace(sample(at, (9, 0), (7, 0), name), budget=PAUSED) for at in range(0, 100, 5))) == [
        "budget-used-up",
        "stalled",
    ]


def provider(**changes: object) -> ProviderStatus:
    return ProviderStatus.model_validate(LIMITED | changes)


@pytest.mark.parametrize("state", ["limited", "unavailable"])
def test_the_alert_of_a_closed_provider_has_cause_end_and_limits(state: str) -> None:
    [alert] = pipeline_state.alerts([replace(sample(0), providers=[provider(state=state)])], 1, 0, 0, 0.5, 30, PATIENCE)
    assert alert.kind == f"provider-{state}"
    assert alert.values == {
        "provider": "https://api.example.com/v1",
        "cause": "rate_limit",
        "message": f"slow down {SCRIPT}",
        "waiting_until": "2026-03-04T12:31:00.000Z",
        "requests_per_minute": 10,
        "tokens_per_minute": 6000,
        "limit_source": "refusals",
        "calls_last_minute": 10,
        "refused_last_minute": 1,
        "tokens_last_minute": 480,
        "in_flight": 0,
    }


def test_the_message_of_a_provider_is_shortened_to_one_line() -> None:
    status = provider(message=f"slow\n  down {'!' * 500}")
    [alert] = pipeline_state.alerts([replace(sample(0), providers=[status])], 1, 0, 0, 0.5, 30, PATIENCE)
    text = alert.values["message"]
    assert isinstance(text, str)
    assert text.startswith("slow down !!!")
    assert text.endswith("!…")
    assert len(text) == pipeline_state.SHOWN_CHARACTERS


def test_an_open_provider_is_listed_without_an_alert() -> None:
    observed = replace(sample(0), providers=[provider(state="open", cause=None, message=None, waiting_until=None)])
    assert kinds(observed) == []
    assert [each.state for each in pipeline_state.pipeline([observed], 1).providers] == ["open"]
    assert pipeline_state.pipeline([], None).providers == []


@pytest.mark.parametrize("state", ["limited", "unavailable"])
def test_a_group_that_waits_for_a_provider_is_not_stalled(state: str) -> None:
    others = provider(provider="https://another.example.com", state="open")
    waits = [replace(sample(at, (9, 0), (7, 0)), providers=[others, provider(state=state)]) for at in range(0, 300, 5)]
    assert kinds(*waits) == [f"provider-{state}"]
    assert not any(each.stalled for each in pipeline_state.pipeline(waits, 1.0).topics)
    # The stall is measured from the moment when the provider admits calls.
    resumed = [replace(sample(at, (9, 0), (7, 0)), providers=[others]) for at in range(300, 395, 5)]
    assert kinds(*waits, *resumed[:-1]) == []
    assert kinds(*waits, *resumed) == ["stalled"]


def test_other_groups_are_stalled_while_a_provider_is_closed() -> None:
    name = topics.VALIDATED
    observed = [replace(sample(at, (9, 0), (7, 0), name), providers=[provider()]) for at in range(0, 100, 5)]
    assert kinds(*observed) == ["provider-limited", "stalled"]


def test_alerts_about_failures_come_before_alerts_about_limits() -> None:
    both = [provider(), provider(provider="https://another.example.com", state="unavailable")]
    assert kinds(replace(sample(0), budget=PAUSED, providers=both)) == [
        "provider-unavailable",
        "budget-used-up",
        "provider-limited",
    ]


LONG = PATIENCE + 3600


@pytest.mark.parametrize(("age", "found"), [(None, []), (LONG, []), (LONG + 1, ["pending-long"])])
def test_a_question_pending_beyond_its_patience_raises_an_alert(age: float | None, found: list[str]) -> None:
    assert kinds(replace(sample(0), oldest_pending_seconds=age)) == found


def test_the_alert_about_a_pending_question_has_its_age() -> None:
    observed = [sample(0), replace(sample(5), oldest_pending_seconds=LONG + 60.4)]
    [alert] = pipeline_state.alerts(observed, 1, 0, 0, 0.5, 30, PATIENCE)
    assert alert.values == {"seconds": LONG + 60}
    assert pipeline_state.alerts(observed, 1, 0, 0, 0.5, 30, 2 * PATIENCE) == []
    assert kinds(*observed, sample(10)) == [], "only the newest sample is used"


def test_questions_that_wait_for_the_budget_are_not_pending_too_long() -> None:
    observed = replace(sample(0), oldest_pending_seconds=LONG + 1, budget=PAUSED)
    assert kinds(observed) == ["budget-used-up"]
    lasts = Budget(day=NOW.date(), spent_tokens=3, budget_tokens=4)
    assert kinds(replace(observed, budget=lasts)) == ["pending-long"]


@pytest.mark.parametrize(
    ("letters", "new"),
    [
        ([], 0),
        ([None, None], 0),
        ([7], 0),
        ([7, 7, 7], 0),
        ([0, 2, 2], 2),
        ([7, None, 8, None, 10], 3),
        ([7, 5], 0),  # two were replayed
        ([7, 4, 5], 1),
        ([7, 8, 5], 1),  # others were replayed meanwhile
        ([0, 2, 0], 0),  # all are replayed: nothing is left to do
        ([None, 2, None], 0),
    ],
)
def test_new_dead_letters_raise_an_alert_with_their_number(letters: list[int | None], new: int) -> None:
    observed = [replace(sample(5 * number), dead_letters=each) for number, each in enumerate(letters)]
    found = pipeline_state.alerts(observed, 1, 0, 0, 0.5, 30, PATIENCE)
    assert [(each.kind, each.values) for each in found] == ([("dead-letters", {"count": new})] if new else [])


def test_old_samples_raise_only_the_stale_alert() -> None:
    assert kinds(Sample(at=0, taken_at=NOW, kafka_error=NO_CONNECTION), age=60) == ["stale"]


def test_without_samples_there_are_no_alerts_and_no_lags() -> None:
    assert kinds(age=None) == []
    state = pipeline_state.pipeline([], None)
    assert {each.lag for each in state.topics} == {None}
    assert state.cache_hit_rate is None


@pytest.mark.parametrize(("below", "scored", "found"), [(11, 20, True), (10, 20, False), (19, 19, False)])
def test_too_many_answers_below_the_threshold_raise_an_alert(below: int, scored: int, found: bool) -> None:
    assert (kinds(below=below, scored=scored) == ["max-retries"]) is found


def test_groups_have_their_members_and_the_lag_of_all_their_topics() -> None:
    observed = replace(sample(0, (10, 7), (8, 7)), groups={CONSUMER: Member("STABLE", 2)})
    group = next(each for each in pipeline_state.pipeline([observed], 0).groups if each.name == CONSUMER)
    assert (group.state, group.members, group.lag) == ("STABLE", 2, 2)


def test_the_cache_hit_rate_is_a_share_of_all_replies() -> None:
    assert pipeline_state.cache_hit_rate({"cache": 3, "database": 1, "pending": 4, "failed": 0}) == pytest.approx(3 / 8)
    assert pipeline_state.cache_hit_rate({"cache": 0, "pending": 0}) is None
