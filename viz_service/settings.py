"""Settings of the dashboard service: the only reader of its environment."""

from pydantic import Field

from pipeline.settings import Port, PostgresSettings


class VizSettings(PostgresSettings):
    """Environment of the container."""

    quality_threshold: float = Field(0.32, ge=0, le=1, description="Score at or above which an answer is accepted.")
    viz_refresh_seconds: int = Field(5, ge=1, le=3600, description="Seconds between two updates of an open page.")
    viz_port: Port = Field(5002, description="Port of the web server.")
    viz_threads: int = Field(
        8,
        ge=1,
        le=64,
        description="Requests served at the same time; more than POSTGRES_POOL_SIZE wait for each other.",
    )
