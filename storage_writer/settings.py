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
