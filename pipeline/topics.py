"""The seven topics. Every key is a question id."""

from dataclasses import dataclass, field

QUESTIONS_PENDING = "questions-pending"
RESPONSES_SUCCESS = "llm-responses-success"
ERROR_OVERLOAD = "llm-responses-error-overload"
ERROR_QUOTA = "llm-responses-error-quota"
VALIDATED = "validated-responses"
LOW_QUALITY = "low-quality-responses"
PERMANENT = "llm-responses-error-permanent"

MAX_MESSAGE_BYTES = 1_048_576
"""Largest message on every topic but `PERMANENT`, in bytes."""

MAX_PERMANENT_BYTES = 2_097_152
"""Largest message on `PERMANENT`, in bytes: it carries a message of `MAX_MESSAGE_BYTES` in base64 (4/3 of its size)."""


RETENTION_MS = 30 * 24 * 60 * 60 * 1000
"""Minimum retention of messages that have to be handled, in milliseconds: 30 days. A used-up budget may pause a backlog
for days, and a fleet may be stopped for weeks."""


@dataclass(frozen=True)
class Topic:
    """A topic as `kafka_init` creates it.

    Attributes:
        name: Name of the topic.
        partitions: Number of partitions at creation. It may be raised later, and no code may depend on it.
        purpose: One sentence for people and for the AsyncAPI document.
        producers: Compose services that write it.
        consumers: Compose services that read it.
        group: Consumer group that reads it; empty: none.
        config: Topic settings that differ from the broker's; each value is a minimum.
    """

    name: str
    partitions: int
    purpose: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    group: str = ""
    config: dict[str, str] = field(default_factory=dict)


_KEPT = {"retention.ms": str(RETENTION_MS)}
_RETRIES = ("retry-overload-consumer", "retry-quota-consumer")

ALL = (
    Topic(
        QUESTIONS_PENDING,
        3,
        "Questions to be asked: new ones, regenerations, error retries, and those that waited for the provider.",
        producers=("storage-service", "storage-writer", "flink-job", *_RETRIES),
        consumers=("llm-consumer",),
        group="llm-consumer",
        config=_KEPT,
    ),
    Topic(
        RESPONSES_SUCCESS,
        3,
        "Answers of the model that wait for their score.",
        producers=("llm-consumer",),
        consumers=("flink-job",),
        group="score-validator",
        config=_KEPT,
    ),
    Topic(
        ERROR_OVERLOAD,
        2,
        "Calls that failed because of an overloaded provider or a rate limit; repeated after 2, 4, 8 s, or after the "
        "provider's delay.",
        producers=("llm-consumer",),
        consumers=("retry-overload-consumer",),
        group="retry-overload-consumer",
        config=_KEPT,
    ),
    Topic(
        ERROR_QUOTA,
        2,
        "Calls that failed because a quota or the credit is used up; repeated after 60 s, or after the provider's "
        "delay.",
        producers=("llm-consumer",),
        consumers=("retry-quota-consumer",),
        group="retry-quota-consumer",
        config=_KEPT,
    ),
    Topic(
        VALIDATED,
        3,
        "Final answers.",
        producers=("flink-job", "llm-consumer", *_RETRIES),
        consumers=("storage-writer",),
        group="storage-writer",
        config=_KEPT,
    ),
    Topic(
        LOW_QUALITY,
        1,
        "A record of every attempt below the threshold.",
        producers=("flink-job",),
        consumers=("storage-writer",),
        group="storage-writer",
    ),
    Topic(
        PERMANENT,
        1,
        "Questions that cannot be answered and messages that cannot be read.",
        producers=("llm-consumer", "flink-job", "storage-writer", *_RETRIES),
        consumers=("storage-writer",),
        group="storage-writer",
        config={**_KEPT, "max.message.bytes": str(MAX_PERMANENT_BYTES)},
    ),
)

WORKING = tuple(topic for topic in ALL if topic.name != LOW_QUALITY)
"""Topics through which questions pass. If a message of them is lost or cannot be read, its question stops there.
`LOW_QUALITY` only holds records: questions do not depend on its messages."""
