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


@dataclass(frozen=True)
class Topic:
    """A topic as `kafka_init` creates it.

    Attributes:
        name: Name of the topic.
        partitions: Partitions at creation; they may be raised later, and nothing may depend on the number.
        purpose: One sentence for people and for the AsyncAPI document.
        producers: Compose services that write it.
        consumers: Compose services that read it.
        config: Topic settings that differ from the broker's.
    """

    name: str
    partitions: int
    purpose: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    config: dict[str, str] = field(default_factory=dict)


_RETRIES = ("retry-overload-consumer", "retry-quota-consumer")

ALL = (
    Topic(
        QUESTIONS_PENDING,
        3,
        "Questions to be asked: new ones, regenerations, error retries, and those that waited for their provider.",
        producers=("storage-service", "storage-writer", "flink-job", *_RETRIES),
        consumers=("llm-consumer",),
    ),
    Topic(
        RESPONSES_SUCCESS,
        3,
        "Answers of the model that wait for their score.",
        producers=("llm-consumer",),
        consumers=("flink-job",),
    ),
    Topic(
        ERROR_OVERLOAD,
        2,
        "Calls that met an overloaded provider, or a rate limit; asked again after 2, 4, 8 s or as it says.",
        producers=("llm-consumer",),
        consumers=("retry-overload-consumer",),
    ),
    Topic(
        ERROR_QUOTA,
        2,
        "Calls that met an exhausted quota, or credit; asked again after 60 s or as it says.",
        producers=("llm-consumer",),
        consumers=("retry-quota-consumer",),
    ),
    Topic(
        VALIDATED,
        3,
        "Answers to keep.",
        producers=("flink-job", "llm-consumer", *_RETRIES),
        consumers=("storage-writer",),
    ),
    Topic(
        LOW_QUALITY,
        1,
        "A record of every attempt below the threshold.",
        producers=("flink-job",),
        consumers=("storage-writer",),
    ),
    Topic(
        PERMANENT,
        1,
        "Questions that cannot be answered and messages that cannot be read.",
        producers=("llm-consumer", "flink-job", "storage-writer", *_RETRIES),
        consumers=("storage-writer",),
        config={"max.message.bytes": str(MAX_PERMANENT_BYTES)},
    ),
)
