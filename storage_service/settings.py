"""Settings of storage-service."""

from pydantic import Field

from pipeline.origins import OriginSettings
from pipeline.settings import CacheSettings, KafkaSettings, PostgresSettings, ScorerUrlSettings, ThresholdSettings


class StorageSettings(
    KafkaSettings, PostgresSettings, CacheSettings, OriginSettings, ThresholdSettings, ScorerUrlSettings
):
    """Settings that storage-service reads from the environment."""

    http_threads: int = Field(
        64,
        ge=2,
        le=512,
        description="Requests served at the same time; up to three quarters of them may wait (`?wait=`, `/events`).",
    )
    outbox_limit: int = Field(
        10_000,
        ge=1,
        description="New questions that are recorded while the broker is unavailable; further ones are refused with "
        "503 until it is back. Concurrent requests may exceed the limit a little.",
    )

    @property
    def max_waiting(self) -> int:
        """Number of requests that may wait at the same time, so that some threads stay free for other requests."""
        return self.http_threads * 3 // 4
