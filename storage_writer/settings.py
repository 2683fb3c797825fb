"""Settings of storage-writer."""

from pydantic import Field

from pipeline.settings import CacheSettings, KafkaSettings, PostgresSettings


class WriterSettings(KafkaSettings, PostgresSettings, CacheSettings):
    """Settings that storage-writer reads from the environment."""

    writer_concurrency: int = Field(16, ge=1, le=64, description="Messages written at the same time.")
    republish_after_seconds: float = Field(
        15,
        ge=11,
        le=3600,
        description="Age at which a question without a recorded acknowledgement is published again. It must be more "
        "than the 10 s for which storage-service tries.",
    )
    republish_interval_seconds: float = Field(
        5, gt=0, le=600, description="Interval of checks for questions to publish again."
    )
    republish_batch: int = Field(
        200, ge=1, le=10_000, description="Maximum number of questions that are published again at once."
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Age in days at which final questions with their data and dead letters are deleted; 0: never.",
    )
    lost_after_seconds: float = Field(
        900,
        ge=30,
        le=604_800,
        description="Time since its publication after which a pending question without a message in the topics is "
        "published again. The search runs three times in this period, and at least every 300 s.",
    )
