"""Settings of the dashboard service: the only reader of its environment."""

from pydantic import Field, SecretStr

from pipeline.origins import OriginSettings
from pipeline.settings import (
    FlinkUrlSettings,
    GateSettings,
    JudgeUrlSettings,
    KafkaSettings,
    PatienceSettings,
    PostgresSettings,
    ScorerUrlSettings,
    StorageUrlSettings,
)


class VizSettings(
    KafkaSettings,
    PostgresSettings,
    StorageUrlSettings,
    JudgeUrlSettings,
    ScorerUrlSettings,
    FlinkUrlSettings,
    PatienceSettings,
    OriginSettings,
    GateSettings,
):
    """Environment of the container."""

    # Not the owner of the tables: the role of the dashboard can only read (sql/roles.sql).
    postgres_user: str = Field("reader", min_length=1, description="Role of the connection; it can only read.")
    postgres_password: SecretStr = Field(SecretStr("reader"), description="Password of `POSTGRES_USER`.")

    viz_refresh_seconds: int = Field(5, ge=1, le=3600, description="Seconds between two updates of an open page.")
    viz_max_retries_limit: float = Field(
        0.75, ge=0, le=1, description="Share of answers that may end at `max_retries_reached` without an alert."
    )
    viz_threads: int = Field(
        32,
        ge=4,
        le=128,
        description="Requests served at the same time; half of them may be event streams.",
    )

    @property
    def max_streams(self) -> int:
        """Limit of open event streams, so that they never occupy all threads."""
        return self.viz_threads // 2
