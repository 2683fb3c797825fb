"""Settings of the retry consumers."""

from pydantic import Field

from pipeline.settings import KafkaSettings


class RetrySettings(KafkaSettings):
    """What the retry consumers read from the environment."""

    retry_after_max: float = Field(
        600, ge=0, le=86_400, description="Longest wait in seconds that a provider's Retry-After may ask for."
    )
