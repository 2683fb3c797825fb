"""The sampler: what it reads from its dependencies, and its behaviour without them."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pytest_httpserver import HTTPServer

from pipeline import topics
from pipeline.offsets import Progress
from tests.unit.viz_service.fakes import NOW, FakeStorage, waiting_error
from viz_service import pipeline_state, sampler
from viz_service.pipeline_state import Sample
from viz_service.sampler import (
    BudgetProbe,
    FlinkProbe,
    KafkaProbe,
    ProvidersProbe,
    Sampler,
    ServicesProbe,
    StorageProbe,
)
from viz_service.schemas import FailureReason
from viz_service.settings import VizSettings
from viz_service.waiting import Errors

JOB = {
    "jid": "1",
    "name": "score-validator",
    "state": "RUNNING",
    "start-time": 2000,
    "tasks": {"total": 4, "running": 4},
}


def test_the_newest_job_with_the_right_name_is_read() -> None:
    old = JOB | {"state": "FAILED", "start-time": 1000}
    other = JOB | {"name": "another", "state": "FAILED", "start-time": 3000}
    found = sampler.read_job({"jobs": [old, JOB, other]})
    assert (found.state, found.working) == ("RUNNING", True)


def test_a_job_with_missing_tasks_is_not_working() -> None:
    assert not sampler.read_job({"jobs": [JOB | {"tasks": {"total": 4, "running": 3}}]}).working


def test_without_a_job_the_state_is_unknown_and_not_working() -> None:
    assert (sampler.read_job({"jobs": []}).state, sampler.read_job({"jobs": []}).working) == (None, False)


def test_the_job_is_read_from_flink(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/jobs/overview").respond_with_json({"jobs": [JOB]})
    assert FlinkProbe(httpserver.url_for("").rstrip("/"))()["flink"].working


@pytest.mark.parametrize("answer", ["not JSON", '{"jobs": [{}]}', '{"other": 1}'])
def test_an_invalid_reply_of_flink_is_an_error(httpserver: HTTPServer, answer: str) -> None:
    httpserver.expect_request("/jobs/overview").respond_with_data(answer, content_type="application/json")
    assert FlinkProbe(httpserver.url_for("").rstrip("/"))()["flink_error"]


def test_an_unreachable_flink_is_an_error() -> None:
    assert FlinkProbe("http://127.0.0.1:1")() == {"flink_error": FailureReason(kind="no-connection")}


def test_services_are_healthy_or_have_a_reason(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/ready").respond_with_json({"detail": "kafka: timed out"}, status=503)
    httpserver.expect_request("/metrics").respond_with_data("# metrics")
    url = httpserver.url_for("").rstrip("/")
    monkeypatch.setattr(sampler, "CONSUMER_SERVICES", ("localhost", "no-such-host.invalid"))
    settings = VizSettings(storage_url=url, scorer_url="http://127.0.0.1:1", metrics_port=httpserver.port)
    found = {each.name: each for each in ServicesProbe(settings)()["services"]}
    assert (found["storage-service"].healthy, str(found["storage-service"].why)) == (False, "kafka: timed out")
    assert (found["score-validator"].healthy, str(found["score-validator"].why)) == (False, "no connection")
    assert (found["localhost"].healthy, found["localhost"].instances) == (True, 1)
    missing = found["no-such-host.invalid"]
    assert (missing.healthy, missing.why) == (False, FailureReason(kind="not-found"))


def test_replies_are_read_from_storage_service() -> None:
    assert StorageProbe(FakeStorage())()["replies"]["cache"] == 3
    assert StorageProbe(FakeStorage(unavailable=True))() == {}


@pytest.mark.parametrize("oldest", [None, 2.125])
def test_the_oldest_pending_question_and_dead_letters_are_read_from_storage_service(oldest: float | None) -> None:
    storage = FakeStorage()
    storage.figures["oldest_pending_seconds"] = oldest
    sample = Sample(at=0, taken_at=NOW, **StorageProbe(storage)())
    assert (sample.oldest_pending_seconds, sample.dead_letters) == (oldest, 3)


@pytest.mark.parametrize("figures", [{}, {"dead_letters": None}, {"oldest_pending_seconds": "long"}])
def test_invalid_statistics_are_unknown(figures: dict[str, Any]) -> None:
    storage = FakeStorage()
    storage.figures = storage.figures | figures if figures else {}
    assert StorageProbe(storage)() == {}


def test_the_budget_is_read_from_storage_service() -> None:
    budget = BudgetProbe(FakeStorage())()["budget"]
    assert (budget.paused, budget.spent_tokens, budget.resumes_at) == (True, 100_004, datetime(2026, 3, 5, tzinfo=UTC))


def test_an_unavailable_or_invalid_budget_is_unknown() -> None:
    assert BudgetProbe(FakeStorage(unavailable=True))() == {}
    invalid = FakeStorage()
    invalid.day = {"day": "yesterday"}
    assert BudgetProbe(invalid)() == {}


def test_provider_statuses_are_read_from_storage_service() -> None:
    [provider] = ProvidersProbe(FakeStorage())()["providers"]
    assert (provider.state, provider.requests_per_minute, provider.cause) == ("limited", 10, "rate_limit")
    assert provider.waiting_until == datetime(2026, 3, 4, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize("standing", [{}, {"providers": None}, {"providers": [{"state": "asleep"}]}])
def test_unavailable_or_invalid_provider_statuses_are_unknown(standing: dict[str, Any]) -> None:
    assert ProvidersProbe(FakeStorage(unavailable=True))() == {}
    invalid = FakeStorage()
    invalid.standing = standing
    assert ProvidersProbe(invalid)() == {}


@pytest.mark.parametrize("probe", [BudgetProbe, ProvidersProbe])
def test_the_sampler_probes_the_budget_and_the_providers(probe: type) -> None:
    probes = sampler.sampler(VizSettings(), FakeStorage())._probes
    assert [type(each) for each in probes].count(probe) == 1


def test_the_number_of_kept_samples_is_limited() -> None:
    kept = Sampler([dict], 5)._samples.maxlen
    assert kept is not None
    assert 2 * pipeline_state.STALL_SECONDS / 5 <= kept <= 200


def test_an_unreachable_kafka_is_an_error() -> None:
    found = KafkaProbe(VizSettings(kafka_bootstrap_servers="127.0.0.1:1"))()
    assert found["kafka_error"] in (FailureReason(kind="no-connection"), FailureReason(kind="no-answer"))


def test_rare_errors_of_kafka_keep_their_message() -> None:
    assert sampler.kafka_failure(KafkaError(KafkaError._TRANSPORT)) == FailureReason(kind="no-connection")
    rare = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    assert sampler.kafka_failure(rare) == FailureReason(kind="said", detail=rare.str())


def test_offsets_are_read_from_kafka() -> None:
    """The mock broker of librdkafka does not support DescribeGroups, so groups stay unknown."""
    mock = AdminClient({"test.mock.num.brokers": 1})
    [broker] = mock.list_topics(timeout=10).brokers.values()
    address = f"{broker.host}:{broker.port}"
    producer = Producer({"bootstrap.servers": address})
    for number in range(5):
        producer.produce(topics.QUESTIONS_PENDING, b"{}", key=str(number))
    assert producer.flush(10) == 0
    found = KafkaProbe(VizSettings(kafka_bootstrap_servers=address))()
    assert "kafka_error" not in found
    assert sum(offset for (name, _), offset in found["ends"].items() if name == topics.QUESTIONS_PENDING) == 5
    assert {offset for (_, name, _), offset in found["committed"].items() if name == topics.QUESTIONS_PENDING} <= {
        -1001,
        -1,
    }


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


class FakeAdmin:
    """Fake broker with one partition per error topic, offsets 5 to 20, and a commit of the quota group."""

    def __init__(self, offset: int, metadata: str | None) -> None:
        self.committed = (offset, metadata)

    def list_topics(self, timeout: float) -> Any:
        known = {name: SimpleNamespace(partitions={0: None}) for name in (topics.ERROR_OVERLOAD, topics.ERROR_QUOTA)}
        return SimpleNamespace(topics=known)

    def list_offsets(self, asked: Mapping[TopicPartition, Any], request_timeout: float) -> Any:
        latest = type(next(iter(asked.values()))) is type(sampler.OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {each: done(SimpleNamespace(offset=20 if latest else 5)) for each in asked}

    def list_consumer_groups(self, request_timeout: float) -> Any:
        return done(SimpleNamespace(valid=[SimpleNamespace(group_id="retry-quota-consumer")]))

    def list_consumer_group_offsets(self, asked: Any, request_timeout: float) -> Any:
        offset, metadata = self.committed
        found = SimpleNamespace(topic=topics.ERROR_QUOTA, partition=0, offset=offset, metadata=metadata, error=None)
        return {asked[0].group_id: done(SimpleNamespace(topic_partitions=[found]))}

    def describe_consumer_groups(self, asked: list[str], request_timeout: float) -> Any:
        return {each: done(SimpleNamespace(state=SimpleNamespace(name="STABLE"), members=[1])) for each in asked}


class FakeReader:
    """Fake reader that records the progress passed to it."""

    def read(self, ends: Mapping[Any, int], done: Mapping[Any, Progress]) -> Errors:
        self.done = done
        return Errors([waiting_error()], {topics.ERROR_QUOTA: NOW + timedelta(days=1)})


@pytest.mark.parametrize(
    ("offset", "metadata", "progress", "lag"),
    [
        (8, "1+4,2+3", Progress(8, (range(9, 13), range(15, 18))), 12 - 7),
        (8, "", Progress(8), 12),
        (8, None, Progress(8), 12),
        (8, "of another program", Progress(8), 12),
        (-1001, None, Progress(5), 15),
        (3, "1+4", Progress(5), 15),
    ],
)
def test_messages_finished_out_of_order_are_read_from_the_commit_metadata(
    offset: int, metadata: str | None, progress: Progress, lag: int
) -> None:
    probe, reader = KafkaProbe(VizSettings()), FakeReader()
    probe._errors = reader  # type: ignore[assignment]
    sample = Sample(at=0, taken_at=NOW, **probe._probe(FakeAdmin(offset, metadata)))  # type: ignore[arg-type]
    assert reader.done == {(topics.ERROR_QUOTA, 0): progress, (topics.ERROR_OVERLOAD, 0): Progress(5)}
    assert pipeline_state.lag(sample, "retry-quota-consumer", topics.ERROR_QUOTA) == lag
    assert sample.due == {topics.ERROR_QUOTA: NOW + timedelta(days=1)}
    assert [each.type for each in sample.errors] == ["quota"]


def test_a_failed_probe_does_not_affect_the_others() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("a fault of ours")

    made = Sampler([broken, lambda: {"kafka_error": FailureReason(kind="no-answer")}], 5)
    with ThreadPoolExecutor(2) as pool:
        made.sample(pool)
    assert [each.kafka_error for each in made.samples()] == [FailureReason(kind="no-answer")]
    assert made.age_seconds() is not None


def test_the_sampler_starts_and_stops() -> None:
    made = Sampler([dict], 1)
    made.start()
    made.close()
    made._thread.join(5)
    assert not made._thread.is_alive()
