"""Procedures of docs/operations.md: restoring a backup, more partitions, another parallelism."""

import uuid
from datetime import UTC, datetime

import confluent_kafka
import pytest
import requests

from flink_job.cluster import Cluster
from pipeline import topics
from pipeline.messages import ProviderError, RetryableFailure
from tests.demonstration.document import Step
from tests.demonstration.runner import Runner
from tests.fleet import CLIENT, eventually
from tests.unit import samples

TABLES = ("questions", "responses", "attempts", "call_errors", "failed_questions")
VIEWS = ("score_summary", "regeneration_analysis", "latency_by_stage", "error_distribution")
SCRATCH = "restored"
FLINK = "http://flink-jobmanager:8081"
MOST_PARTITIONS = 6
"""Highest number of partitions set here, as partitions cannot be removed and tests run more than once."""


def psql(fleet, database, statement):
    return fleet.exec("postgres", "psql", "-U", "user", "-d", database, "-qAt", "-c", statement).strip()


def contents(fleet, database):
    """Returns the number of rows and a checksum of each table."""
    statement = "SELECT count(*), sum(hashtextextended(each::text, 0)) FROM {} AS each"
    return {table: psql(fleet, database, statement.format(table)) for table in TABLES}


@pytest.fixture
def scratch(fleet):
    """An empty database next to the fleet's own."""
    drop = ("dropdb", "-U", "user", "--if-exists", "--force", SCRATCH)
    fleet.exec("postgres", *drop)
    fleet.exec("postgres", "createdb", "-U", "user", SCRATCH)
    yield SCRATCH
    fleet.exec("postgres", *drop)


def test_a_restored_backup_has_the_same_contents(fleet, scratch, unique):
    assert fleet.ask(unique("What is a backup?"), "A backup is a copy.", wait=60).json()["status"] == "completed"
    backup_and_restore = (
        f"set -o pipefail; pg_dump -U user -d yahoo_db -Fc | pg_restore -U user -d {scratch} --exit-on-error"
    )

    def restored_while_nothing_changed():
        """Copies the database; returns its contents, or None if others changed it meanwhile."""
        before = contents(fleet, "yahoo_db")
        fleet.exec("postgres", "dropdb", "-U", "user", "--force", scratch)
        fleet.exec("postgres", "createdb", "-U", "user", scratch)
        fleet.exec("postgres", "bash", "-c", backup_and_restore)
        return before if contents(fleet, "yahoo_db") == before else None

    before = eventually(restored_while_nothing_changed, "a backup of a fleet at rest", 120, interval=1)
    assert contents(fleet, scratch) == before
    assert not before["responses"].startswith("0|")
    for view in VIEWS:
        statement = f"SELECT count(*) FROM {view}"
        assert psql(fleet, scratch, statement) == psql(fleet, "yahoo_db", statement)
    privilege = "SELECT has_table_privilege('reader', 'responses', 'SELECT')"
    assert psql(fleet, scratch, privilege) == "t", "the dashboard's role must be able to read restored tables"


def test_a_new_partition_is_consumed(fleet):
    topic = topics.ERROR_OVERLOAD
    producer = confluent_kafka.Producer({**CLIENT})

    def partitions():
        return len(producer.list_topics(topic, timeout=10).topics[topic].partitions)

    expected = min(partitions() + 1, MOST_PARTITIONS)
    if expected > partitions():
        alter = ("--alter", "--topic", topic, "--partitions", str(expected))
        fleet.exec("kafka", "kafka-topics", "--bootstrap-server", "localhost:9092", *alter)
    eventually(lambda: partitions() == expected, f"{topic} has {expected} partitions", 30)

    now = datetime.now(UTC)
    question = samples.question(question_text=f"growth {uuid.uuid4()}", original_answer=None, asked_at=now)
    error = ProviderError(type="overload", status_code=503, message="made by a test")
    failed = question.convert_to(RetryableFailure, error=error, failed_at=now)
    errors = []
    producer.produce(
        topic,
        failed.to_bytes(),
        failed.question_id.encode(),
        partition=expected - 1,
        on_delivery=lambda error, message: errors.append(error),
    )
    assert producer.flush(20) == 0
    assert errors == [None]
    again = fleet.messages(
        topics.QUESTIONS_PENDING, lambda message: message.get("question_id") == failed.question_id, 60
    )
    assert again["retry_count"] == 1


def stages():
    """Returns the running job and the parallelism of its stages, or None while it is not running."""
    cluster = Cluster(FLINK)
    active = cluster.jobs().active
    if len(active) != 1 or not active[0].fully_running:
        return None
    vertices = requests.get(f"{FLINK}/jobs/{active[0].id}", timeout=10).json()["vertices"]
    return active[0], {each["parallelism"] for each in vertices}


def test_the_job_is_restored_from_its_checkpoint_with_another_parallelism(fleet, unique):
    """The parallelism is raised to 2, the number of slots of a TaskManager, and set back to 1."""
    cluster, runner = Cluster(FLINK), Runner()

    def rescale(parallelism):
        found = eventually(stages, "the job works", 120, interval=1)
        old = found[0]

        def checkpointed():
            return requests.get(f"{FLINK}/jobs/{old.id}/checkpoints", timeout=10).json()["counts"]["completed"]

        eventually(checkpointed, "a checkpoint is complete", 90, interval=1)
        submitter = "docker compose up --detach --no-deps flink-job"
        runner.run(Step("", 0, f"FLINK_PARALLELISM={parallelism} {submitter}"))
        cluster.cancel(old)

        def rescaled():
            found = stages()
            return found if found and found[0].id != old.id else None

        new, parallelisms = eventually(rescaled, "the job is submitted again", 180, interval=1)
        assert max(parallelisms) == parallelism
        restored = cluster.restored_checkpoint(new)
        assert restored is not None, "the job was not restored from a checkpoint"
        assert restored.parent.name == old.id

    try:
        for parallelism in (2, 1):
            ids = [fleet.ask(unique("Who scores me?"), "Flink does.").json()["question_id"] for _ in range(3)]
            rescale(parallelism)
            assert {fleet.finish(each, 180)["status"] for each in ids} == {"completed"}
    finally:
        runner.run(Step("", 0, "docker compose up --detach --no-deps flink-job"))
        runner.close()
        fleet.wait_healthy("flink-job", 180)
