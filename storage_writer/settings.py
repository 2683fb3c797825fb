"""Settings of storage-writer."""

from pydantic import Field

from pipeline.settings import CacheSettings, KafkaSettings, PostgresSettings


class WriterSettings(KafkaSettings, PostgresSettings, CacheSettings):
    """What storage-writer reads from the environment."""

    writer_concurrency: int = Field(16, ge=1, le=64, description="Messages written at the same time.")
    republish_after_seconds: float = Field(
        15,
        ge=11,
        le=3600,
        description="Age at which a question whose publication nobody acknowledged is published again. More than the "
        "10 s for which storage-service still tries.",
    )
    republish_interval_seconds: float = Field(5, gt=0, le=600, description="Time between looks for such questions.")
    republish_batch: int = Field(200, ge=1, le=10_000, description="Questions that are published again at once.")
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which a question that has ended is deleted with all that hangs on it, and a dead "
        "letter likewise; 0: never.",
    )
    lost_after_seconds: float = Field(
        900,
        ge=30,
        le=604_800,
        description="Time since its publication after which a pending question that no topic holds any longer is "
        "published again. It is looked for three times in that time, at least every 300 s.",
    )
