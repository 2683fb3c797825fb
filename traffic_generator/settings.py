"""Settings of the traffic generator: the only reader of its environment."""

from pydantic import Field

from pipeline.settings import StorageUrlSettings


class TrafficSettings(StorageUrlSettings):
    """Environment of the container; options of `generate_traffic.py` take precedence."""

    traffic_initial_requests: int = Field(
        20,
        ge=0,
        le=100_000,
        description="Questions asked when the container starts, the others after the first is answered; 0: none.",
    )
    traffic_interval_ms: int = Field(
        500, ge=0, le=3_600_000, description="Milliseconds between two of the initial questions."
    )
    traffic_ready_timeout_seconds: float = Field(
        600,
        gt=0,
        le=86_400,
        description="How long a start waits for storage-service, and then for the first answer.",
    )
