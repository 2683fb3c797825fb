"""Settings of the retry consumers."""

from pipeline.settings import KafkaSettings, PatienceSettings


class RetrySettings(KafkaSettings, PatienceSettings):
    """Settings that the retry consumers read from the environment."""
