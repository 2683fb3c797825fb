"""Settings of the retry consumers."""

from pipeline.settings import KafkaSettings, RetryAfterSettings


class RetrySettings(KafkaSettings, RetryAfterSettings):
    """What the retry consumers read from the environment."""
