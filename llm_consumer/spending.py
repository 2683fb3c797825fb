"""Today's spending of calls, computed from the topics of their outcomes, in case Redis has lost its counts."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from decimal import Decimal

import confluent_kafka
import structlog

from pipeline import budget, messages, topics
from pipeline.kafka import client_config
from pipeline.messages import FailedQuestion, InvalidMessage, Message, ProviderError, Response, RetryableFailure
from pipeline.providers.day_budget import Spending
from pipeline.settings import KafkaSettings
from pipeline.topics import MAX_PERMANENT_BYTES

log = structlog.get_logger()

OUTCOMES = (topics.RESPONSES_SUCCESS, topics.ERROR_OVERLOAD, topics.ERROR_QUOTA, topics.PERMANENT)
"""Topics of the outcomes of calls."""

_TIMEOUT_SECONDS = 10
_POLL_SECONDS = 0.2
_BATCH = 500


def sum_spending(day: date, outcomes: Iterable[Message]) -> Spending:
    """Adds up the tokens and costs of a day's calls. An outcome that was sent twice is counted once."""
    calls: dict[tuple[str, datetime], tuple[int, Decimal]] = {}
    for each in outcomes:
        call: Response | ProviderError
        match each:
            case Response():
                call, at = each, each.generated_at
            case FailedQuestion() | RetryableFailure():  # retries that are used up send the same failure again
                call, at = each.error, each.failed_at
            case _:
                continue
        if at.astimezone(UTC).date() == day:
            calls[each.question_id, at] = (call.prompt_tokens + call.completion_tokens, call.cost or Decimal(0))
    return Spending(
        day, sum(tokens for tokens, _ in calls.values()), sum(int(cost * budget.NANO) for _, cost in calls.values())
    )


def spending_on(
    day: date, settings: KafkaSettings, stop: threading.Event, beat: Callable[[], None] = lambda: None
) -> Spending:
    """Computes the spending of a day; waits for the broker until `stop` is set.

    Args:
        day: The day (UTC).
        settings: Where the brokers are.
        stop: Ends the computation early.
        beat: Called at least every `_TIMEOUT_SECONDS`, because reading a busy day takes minutes.
    """
    while not stop.is_set():
        try:
            return sum_spending(day, _outcomes_since(datetime.combine(day, time_of_day(), UTC), settings, stop, beat))
        except confluent_kafka.KafkaException as error:
            log.warning("failed to read today's spending; trying again", error=str(error.args[0]))
            stop.wait(2)
    return Spending(day)


def _outcomes_since(
    moment: datetime, settings: KafkaSettings, stop: threading.Event, beat: Callable[[], None]
) -> Iterator[Message]:
    """Yields the outcomes of calls since `moment`, up to the current ends of the topics."""
    consumer = confluent_kafka.Consumer(
        client_config(settings, "llm-consumer-spending")
        | {
            "group.id": "llm-consumer-spending",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": MAX_PERMANENT_BYTES,
        }
    )
    try:
        at = round(moment.timestamp() * 1000)
        wanted = []
        for topic in OUTCOMES:
            beat()
            numbers = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic].partitions
            wanted += [confluent_kafka.TopicPartition(topic, number, at) for number in numbers]
        beat()
        young = [each for each in consumer.offsets_for_times(wanted, timeout=_TIMEOUT_SECONDS) if each.offset >= 0]
        left = {(each.topic, each.partition) for each in young}
        consumer.assign(young)
        heard_at = time.monotonic()
        while left and not stop.is_set():
            beat()
            for record in consumer.consume(_BATCH, timeout=_POLL_SECONDS):
                heard_at = time.monotonic()
                error = record.error()
                if error and error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    left.discard((record.topic() or "", record.partition() or 0))
                elif error:
                    raise confluent_kafka.KafkaException(error)
                else:
                    outcome = _outcome(record)
                    if outcome:
                        yield outcome
            if time.monotonic() - heard_at > _TIMEOUT_SECONDS:
                raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT))
    finally:
        consumer.close()


def _outcome(record: confluent_kafka.Message) -> Message | None:
    try:
        return messages.read(record.topic() or "", record.key(), record.value())
    except InvalidMessage:  # not the outcome of a call
        return None
