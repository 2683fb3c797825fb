"""Settings of the retry consumers."""

from pipeline.settings import KafkaSettings, PatienceSettings


class RetrySettings(KafkaSettings, PatienceSettings):
    """What the retry consumers read from the environment."""
