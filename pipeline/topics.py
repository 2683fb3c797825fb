"""The seven topics, in one place. Every key is a question id."""

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
"""Largest message on `PERMANENT`, in bytes: one of `MAX_MESSAGE_BYTES` in base64 (4/3 of it) with its origin."""


RETENTION_MS = 30 * 24 * 60 * 60 * 1000
"""How long what has to be worked off is kept at least, in milliseconds: 30 days. A day's budget may pause a backlog for
days, and a fleet may be stopped for weeks."""


@dataclass(frozen=True)
class Topic:
    """A topic as `kafka_init` creates it.

    Attributes:
        name: Name of the topic.
        partitions: Partitions at creation; they may be raised later, and nothing may depend on the number.
        purpose: One sentence for people and for the AsyncAPI document.
        producers: Compose services that write it.
        consumers: Compose services that read it.
        group: Consumer group that reads it; empty: nobody does.
        config: Topic settings that differ from the broker's, each the least that is needed.
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
        "Questions to be asked: new ones, regenerations, error retries, and those that waited for their provider.",
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
        "Calls that met an overloaded provider, or a rate limit; asked again after 2, 4, 8 s or as it says.",
        producers=("llm-consumer",),
        consumers=("retry-overload-consumer",),
        group="retry-overload-consumer",
        config=_KEPT,
    ),
    Topic(
        ERROR_QUOTA,
        2,
        "Calls that met an exhausted quota, or credit; asked again after 60 s or as it says.",
        producers=("llm-consumer",),
        consumers=("retry-quota-consumer",),
        group="retry-quota-consumer",
        config=_KEPT,
    ),
    Topic(
        VALIDATED,
        3,
        "Answers to keep.",
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
"""Those whose messages carry questions on: a message that is lost or cannot be read ends its question there, or makes
it wait. `LOW_QUALITY` is a record only: whatever becomes of its messages, their questions go on elsewhere."""
