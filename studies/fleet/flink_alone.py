"""Measures the throughput of the Flink job: `python -m studies.fleet.flink_alone`, in the tests' container.

Answers are written to the job's topic at once, with a fake scorer that takes 20 ms, and the resulting decisions are
counted. A plain asyncio consumer (baselines/plain_consumer.py) processes the same answers, alternating with the job.
The job is measured as it runs: for parallelism 2, FLINK_PARALLELISM=2 must be set in its container.
"""

import argparse
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import confluent_kafka
import confluent_kafka.admin

from pipeline import topics
from pipeline.messages import Question, Response
from pipeline.question import question_id
from studies.fleet.environment.containers import own_image, running_container
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fakes import ANSWER, REFERENCE, fake_scorer
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import CLIENT, Fleet

FLINK, PLAIN = "flink", "plain asyncio"
SCORER_MS = 20
WARM_UP = 500
SOURCE, TARGET = "benchmark-plain-in", "benchmark-plain-out"
WRITER = "storage-writer"

METHOD = f"""\
Records are written as fast as the broker accepts them; the time is from the first record until the broker has the last
decision. The fake scorer takes {SCORER_MS} ms, and both sides have as many calls in flight (SCORE_CAPACITY): capacity /
{SCORER_MS} ms is the limit of both. storage-writer is stopped meanwhile. The job detects duplicates and takes
checkpoints; the plain consumer does neither."""


def answers(count: int) -> list[Response]:
    """Returns answers of the model to new questions."""
    now = datetime.now(UTC)
    made = []
    for text in unique_questions(count)[1]:
        question = Question(question_id=question_id(text), question_text=text, original_answer=REFERENCE, asked_at=now)
        made.append(
            question.convert_to(Response, llm_response=ANSWER, model="scripted", llm_latency_ms=0, generated_at=now)
        )
    return made


def compare(runs: Sequence[Run], parallelism: int) -> Comparison:
    """Compares the medians."""
    flink, plain = (median([run for run in runs if run["side"] == side], "records/s") for side in (FLINK, PLAIN))
    return Comparison(
        figure=f"Flink job alone at parallelism {parallelism}, records/s",
        unit="records/s",
        fleet=flink,
        against=plain,
        baseline=PLAIN,
        goal=1 if parallelism == 1 else 1.5,
    )


def time_decisions(source: str, target: str, made: Sequence[Response]) -> float:
    """Writes answers to a topic and reads the decisions from another; returns the seconds that it took."""
    consumer = confluent_kafka.Consumer({**CLIENT, "group.id": f"benchmark-{uuid.uuid4()}"})
    producer = confluent_kafka.Producer({**CLIENT, "linger.ms": 2, "compression.type": "lz4"})
    records = [(each.question_id.encode(), each.to_bytes()) for each in made]
    count = len(records)
    waiting = {key for key, _ in records}
    try:
        known = consumer.list_topics(target, timeout=10).topics[target]
        partitions = [confluent_kafka.TopicPartition(target, each) for each in known.partitions]
        for each in partitions:
            each.offset = consumer.get_watermark_offsets(each, timeout=10)[1]
        consumer.assign(partitions)
        started, last = time.time(), 0.0
        for key, value in records:
            producer.produce(source, value, key)
            producer.poll(0)
        if producer.flush(60):
            raise MeasurementError("the broker did not acknowledge the answers")
        deadline = time.monotonic() + 60 + count * 0.1
        while waiting:
            if time.monotonic() > deadline:
                raise MeasurementError(f"{len(waiting)} of {count} decisions did not come")
            for record in consumer.consume(1000, 0.5):
                key = record.key() or b""
                if not record.error() and key in waiting:
                    waiting.remove(key)
                    last = max(last, record.timestamp()[1] / 1000)
        return last - started
    finally:
        consumer.close()


@contextmanager
def plain_consumer(fleet: Fleet) -> Iterator[None]:
    """Runs the plain consumer on its own topics, with the same number of partitions as the job's."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def delete() -> None:
        there = [name for name in (SOURCE, TARGET) if name in admin.list_topics(timeout=10).topics]
        for deleted in admin.delete_topics(there).values() if there else ():
            deleted.result(30)

    delete()
    count = len(admin.list_topics(topics.RESPONSES_SUCCESS, timeout=10).topics[topics.RESPONSES_SUCCESS].partitions)
    for created in admin.create_topics(
        [confluent_kafka.admin.NewTopic(name, count) for name in (SOURCE, TARGET)]
    ).values():
        created.result(30)
    command = ["python", "-m", "studies.baselines.plain_consumer", SOURCE, TARGET]
    try:
        with running_container(fleet, own_image(fleet), "plain-consumer", command=command, mem_limit="512m"):
            wait_for_members("benchmark-plain", 1)
            yield
    finally:
        delete()


@contextmanager
def without_writer(fleet: Fleet) -> Iterator[None]:
    """Stops storage-writer during the measurement; later it skips answers to questions that are not in the database."""
    [writer] = fleet.containers(WRITER)
    writer.stop(timeout=15)
    try:
        yield
    finally:
        writer.start()
        fleet.wait_healthy(WRITER)


@study(
    "How many records/s does the Flink job process, compared with a plain asyncio consumer?",
    METHOD,
    option("--records", type=int, default=10_000, help="records of each run (default: 10000)"),
    option("--rounds", type=int, default=3, help="(default: 3)"),
    option("--parallelism", type=int, default=1, help="parallelism of the running job (default: 1)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    ways = {FLINK: (topics.RESPONSES_SUCCESS, topics.VALIDATED), PLAIN: (SOURCE, TARGET)}
    with (
        idle_fleet() as fleet,
        fake_scorer(fleet, SCORER_MS),
        without_writer(fleet),
        plain_consumer(fleet),
    ):
        for source, target in ways.values():
            time_decisions(source, target, answers(WARM_UP))
        for number in range(1, options.rounds + 1):
            for side in (FLINK, PLAIN) if number % 2 else (PLAIN, FLINK):
                seconds = time_decisions(*ways[side], answers(options.records))
                runs.add(
                    {
                        "side": side,
                        "parallelism": options.parallelism if side == FLINK else 1,
                        "round": number,
                        "records": options.records,
                        "seconds": seconds,
                        "records/s": options.records / seconds,
                    }
                )
    suffix = "" if options.parallelism == 1 else f"_{options.parallelism}"
    return Findings([compare(runs, options.parallelism)], suffix)


if __name__ == "__main__":
    main()
