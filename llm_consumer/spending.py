"""What calls have taken today, counted from the answers in `llm-responses-success`: what stays when Redis is gone.

Answers alone are counted: what an empty answer took stands in no topic.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import confluent_kafka
import structlog

from pipeline import budget, messages, topics
from pipeline.kafka import client_config
from pipeline.messages import Response, Unreadable
from pipeline.settings import KafkaSettings

log = structlog.get_logger()

_TIMEOUT_SECONDS = 10
_BATCH = 500


@dataclass(frozen=True)
class Spent:
    """What calls took on a day.

    Attributes:
        day: The day (UTC).
        tokens: Of prompts and answers together.
        nanocost: In billionths of a currency unit.
    """

    day: date
    tokens: int = 0
    nanocost: int = 0


def add_up(day: date, responses: Iterable[Response]) -> Spent:
    """Adds up what answers took on a day. One that was sent twice was paid for once."""
    calls = {
        (each.question_id, each.generated_at): (each.prompt_tokens + each.completion_tokens, each.cost)
        for each in responses
        if each.generated_at.astimezone(UTC).date() == day
    }
    nanocost = sum(int((cost or 0) * budget.NANO) for _, cost in calls.values())
    return Spent(day, sum(tokens for tokens, _ in calls.values()), nanocost)


def spent_on(day: date, settings: KafkaSettings, stop: threading.Event) -> Spent:
    """Counts what the answers in the topic took on a day; waits for the broker until `stop` is set."""
    while not stop.is_set():
        try:
            return add_up(day, _responses_since(datetime.combine(day, time(), UTC), settings, stop))
        except confluent_kafka.KafkaException as error:
            log.warning("waited for the broker to know what was spent today", error=str(error.args[0]))
            stop.wait(2)
    return Spent(day)


def _responses_since(moment: datetime, settings: KafkaSettings, stop: threading.Event) -> Iterable[Response]:
    """Yields the answers that were written since then, up to where the topic ends now."""
    consumer = confluent_kafka.Consumer(
        client_config(settings, "llm-consumer-spending")
        | {"group.id": "llm-consumer-spending", "enable.auto.commit": False, "enable.partition.eof": False}
    )
    try:
        topic = consumer.list_topics(topics.RESPONSES_SUCCESS, timeout=_TIMEOUT_SECONDS).topics[
            topics.RESPONSES_SUCCESS
        ]
        left = {}
        at = round(moment.timestamp() * 1000)
        wanted = [confluent_kafka.TopicPartition(topics.RESPONSES_SUCCESS, number, at) for number in topic.partitions]
        begins = consumer.offsets_for_times(wanted, timeout=_TIMEOUT_SECONDS) if wanted else []
        for each in begins:
            _, end = consumer.get_watermark_offsets(each, timeout=_TIMEOUT_SECONDS)
            if 0 <= each.offset < end:  # negative: nothing is that young
                left[each.partition] = end
        consumer.assign([each for each in begins if each.partition in left])
        while left and not stop.is_set():
            records = consumer.consume(_BATCH, timeout=_TIMEOUT_SECONDS)
            if not records:
                raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT))
            for record in records:
                if record.error():
                    raise confluent_kafka.KafkaException(record.error())
                number, offset = record.partition(), record.offset()
                if number in left and offset is not None and offset + 1 >= left[number]:
                    del left[number]
                try:
                    message = messages.read(topics.RESPONSES_SUCCESS, record.key(), record.value())
                except Unreadable:
                    continue
                if isinstance(message, Response):
                    yield message
    finally:
        consumer.close()
