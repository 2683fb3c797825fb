"""Settings of storage-writer."""

from pydantic import Field

from pipeline.settings import CacheSettings, KafkaSettings, PostgresSettings


class WriterSettings(KafkaSettings, PostgresSettings, CacheSettings):
    """Settings that storage-writer reads from the environment."""

    writer_concurrency: int = Field(16, ge=1, le=64, description="Messages written at the same time.")
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
