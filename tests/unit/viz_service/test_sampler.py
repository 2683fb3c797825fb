"""The sampler: what it reads from its neighbours, and that it outlives them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from pytest_httpserver import HTTPServer

from pipeline import topics
from tests.unit.viz_service.fakes import FakeStorage
from viz_service import sampler
from viz_service.sampler import BudgetLook, FlinkLook, KafkaLook, Sampler, ServicesLook, StorageLook
from viz_service.schemas import Why
from viz_service.settings import VizSettings

JOB = {
    "jid": "1",
    "name": "score-validator",
    "state": "RUNNING",
    "start-time": 2000,
    "tasks": {"total": 4, "running": 4},
}


def test_reads_the_newest_job_of_our_name() -> None:
    old = JOB | {"state": "FAILED", "start-time": 1000}
    other = JOB | {"name": "another", "state": "FAILED", "start-time": 3000}
    found = sampler.read_job({"jobs": [old, JOB, other]})
    assert (found.state, found.working) == ("RUNNING", True)


def test_running_without_its_tasks_is_not_working() -> None:
    assert not sampler.read_job({"jobs": [JOB | {"tasks": {"total": 4, "running": 3}}]}).working


def test_no_job_is_not_working() -> None:
    assert (sampler.read_job({"jobs": []}).state, sampler.read_job({"jobs": []}).working) == (None, False)


def test_flink_answers(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/jobs/overview").respond_with_json({"jobs": [JOB]})
    assert FlinkLook(httpserver.url_for("").rstrip("/"))()["flink"].working


@pytest.mark.parametrize("answer", ["not JSON", '{"jobs": [{}]}', '{"other": 1}'])
def test_flink_answers_nonsense(httpserver: HTTPServer, answer: str) -> None:
    httpserver.expect_request("/jobs/overview").respond_with_data(answer, content_type="application/json")
    assert FlinkLook(httpserver.url_for("").rstrip("/"))()["flink_error"]


def test_flink_is_away() -> None:
    assert FlinkLook("http://127.0.0.1:1")() == {"flink_error": Why(kind="no-connection")}


def test_services_are_ready_or_say_why_not(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/ready").respond_with_json({"detail": "kafka: timed out"}, status=503)
    httpserver.expect_request("/metrics").respond_with_data("# metrics")
    url = httpserver.url_for("").rstrip("/")
    monkeypatch.setattr(sampler, "LOOPS", ("localhost", "no-such-host.invalid"))
    settings = VizSettings(storage_url=url, score_validator_url="http://127.0.0.1:1", metrics_port=httpserver.port)
    found = {each.name: each for each in ServicesLook(settings)()["services"]}
    assert (found["storage-service"].healthy, str(found["storage-service"].why)) == (False, "kafka: timed out")
    assert (found["score-validator"].healthy, str(found["score-validator"].why)) == (False, "no connection")
    assert (found["localhost"].healthy, found["localhost"].instances) == (True, 1)
    missing = found["no-such-host.invalid"]
    assert (missing.healthy, missing.why) == (False, Why(kind="not-found"))


def test_replies_come_from_storage_service() -> None:
    assert StorageLook(FakeStorage())()["replies"]["cache"] == 3
    assert StorageLook(FakeStorage(away=True))() == {}


def test_the_budget_comes_from_storage_service() -> None:
    budget = BudgetLook(FakeStorage())()["budget"]
    assert (budget.paused, budget.spent_tokens, budget.resumes_at) == (True, 100_004, datetime(2026, 3, 5, tzinfo=UTC))


def test_an_absent_or_unreadable_budget_is_unknown() -> None:
    assert BudgetLook(FakeStorage(away=True))() == {}
    strange = FakeStorage()
    strange.day = {"day": "yesterday"}
    assert BudgetLook(strange)() == {}


def test_the_sampler_looks_at_the_budget() -> None:
    looks = sampler.sampler(VizSettings(), FakeStorage())._looks
    assert [type(each) for each in looks].count(BudgetLook) == 1


def test_kafka_is_away() -> None:
    found = KafkaLook(VizSettings(kafka_bootstrap_servers="127.0.0.1:1"))()
    assert found["kafka_error"] in (Why(kind="no-connection"), Why(kind="no-answer"))


def test_what_kafka_seldom_says_is_told_in_its_words() -> None:
    assert sampler.why_kafka(KafkaError(KafkaError._TRANSPORT)) == Why(kind="no-connection")
    rare = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    assert sampler.why_kafka(rare) == Why(kind="said", detail=rare.str())


def test_kafka_tells_offsets() -> None:
    """Against the mock broker that librdkafka brings; it does not know DescribeGroups, so groups stay unknown."""
    mock = AdminClient({"test.mock.num.brokers": 1})
    [broker] = mock.list_topics(timeout=10).brokers.values()
    address = f"{broker.host}:{broker.port}"
    producer = Producer({"bootstrap.servers": address})
    for number in range(5):
        producer.produce(topics.QUESTIONS_PENDING, b"{}", key=str(number))
    assert producer.flush(10) == 0
    found = KafkaLook(VizSettings(kafka_bootstrap_servers=address))()
    assert "kafka_error" not in found
    assert sum(offset for (name, _), offset in found["ends"].items() if name == topics.QUESTIONS_PENDING) == 5
    assert {offset for (_, name, _), offset in found["committed"].items() if name == topics.QUESTIONS_PENDING} <= {
        -1001,
        -1,
    }


def test_a_look_that_fails_does_not_blind_the_others() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("a fault of ours")

    made = Sampler([broken, lambda: {"kafka_error": Why(kind="no-answer")}], 5)
    with ThreadPoolExecutor(2) as pool:
        made.sample(pool)
    assert [each.kafka_error for each in made.samples()] == [Why(kind="no-answer")]
    assert made.age_seconds() is not None


def test_starts_and_ends() -> None:
    made = Sampler([dict], 1)
    made.start()
    made.close()
    made._thread.join(5)
    assert not made._thread.is_alive()
