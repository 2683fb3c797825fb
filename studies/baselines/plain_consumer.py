"""The Flink job's work in a plain asyncio consumer, for studies/fleet/flink_alone.py.

`python -m studies.baselines.plain_consumer IN OUT`

A consumer without Flink: it scores records concurrently, produces the resulting records, and commits an offset once all
earlier ones are acknowledged. It uses the job's own client of the scorer and its own decision. Unlike the job, it does
not detect copies and has no state.
"""

import argparse
import asyncio
from collections import defaultdict
from datetime import UTC, datetime

import confluent_kafka

from flink_job.decision import Record, decide, read
from flink_job.scoring import ScorerClient
from flink_job.settings import FlinkJobSettings
from pipeline.offsets import LowWatermark
from studies.fleet.environment.errors import MeasurementError
from tests.fleet import CLIENT

BATCH = 100


async def work(source: str, target: str, settings: FlinkJobSettings) -> None:
    """Consumes without end."""
    loop = asyncio.get_running_loop()
    consumer = confluent_kafka.Consumer(
        {
            **CLIENT,
            "group.id": "benchmark-plain",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # stored offsets are committed in the background
        }
    )
    producer = confluent_kafka.Producer(
        {**CLIENT, "enable.idempotence": True, "linger.ms": 2, "compression.type": "lz4"}
    )
    consumer.subscribe([source])
    scorer = ScorerClient(settings.scorer_url, settings.score_capacity)
    free = asyncio.Semaphore(settings.score_capacity)
    watermarks: dict[int, LowWatermark] = defaultdict(LowWatermark)

    async def handle(record: Record) -> None:
        try:
            response = read(record)
            result = await scorer.score(response.llm_response, response.original_answer or "")
            made = decide(record, result, settings.gate, datetime.now(UTC))
            await asyncio.gather(*(deliver(each.key, each.value) for each in made.sent))
        finally:
            free.release()
        watermark = watermarks[record.partition]
        watermark.finish(record.offset)
        if progress := watermark.progress:
            position = confluent_kafka.TopicPartition(source, record.partition, progress.position)
            consumer.store_offsets(offsets=[position])

    def deliver(key: bytes | None, value: bytes) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: confluent_kafka.KafkaError | None) -> None:
            if error:
                done.set_exception(confluent_kafka.KafkaException(error))
            else:
                done.set_result(None)

        def delivered(error: confluent_kafka.KafkaError | None, _message: confluent_kafka.Message) -> None:
            loop.call_soon_threadsafe(settle, error)  # this callback runs in the polling thread

        producer.produce(target, value, key, on_delivery=delivered)
        return done

    async def acknowledgements() -> None:
        while True:
            await asyncio.to_thread(producer.poll, 0.1)

    async with asyncio.TaskGroup() as tasks:  # the first error ends all tasks
        tasks.create_task(acknowledgements())
        while True:
            for message in await asyncio.to_thread(consumer.consume, BATCH, 0.1):
                if message.error():
                    raise MeasurementError(str(message.error()))
                await free.acquire()
                partition, offset = message.partition(), message.offset()
                assert partition is not None  # it was consumed
                assert offset is not None
                watermarks[partition].start(offset)
                tasks.create_task(handle(Record(message.key(), message.value(), partition, offset)))


def main() -> None:
    """Consumes until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="IN", help="topic of answers")
    parser.add_argument("target", metavar="OUT", help="topic of the resulting records")
    options = parser.parse_args()
    asyncio.run(work(options.source, options.target, FlinkJobSettings()))


if __name__ == "__main__":
    main()
