"""Settings of the job and of its submitter.

The job reads them in the process that submits it and hands values to the operators, so that TaskManagers need no
environment of their own.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.routing import Gate
from pipeline.settings import GateSettings, KafkaSettings, ScorerSettings


class FlinkJobSettings(KafkaSettings, GateSettings, ScorerSettings):
    """Everything that can be set about the job."""

    score_capacity: int = Field(
        32,
        ge=1,
        le=1000,
        description="Calls of the scorer in flight at most, for each subtask; fewer, by itself, while it is slow.",
    )
    self_check_threshold: float = Field(
        0.28,
        ge=0,
        le=1,
        description="Mean agreement with further answers at which one without reference is accepted "
        "(SELF_CHECK_SAMPLES of llm-consumer).",
    )
    checkpoint_interval_seconds: float = Field(30, ge=1, le=3600, description="Seconds between checkpoints.")
    delivery_guarantee: Literal["at-least-once", "exactly-once"] = Field(
        "at-least-once",
        description="Of what the job writes. `exactly-once`: in transactions, so that readers see a record with the "
        "next checkpoint only. The readers need no such thing, they are idempotent; it is there to be measured.",
    )
    checkpoint_dir: Path = Field(
        Path("/opt/flink-checkpoints"), description="Folder that JobManager, TaskManagers and submitter share."
    )
    dedup_ttl_seconds: float = Field(3600, ge=1, description="How long a copy of an answer is known to be one.")
    flink_parallelism: int = Field(1, ge=1, le=128, description="Subtasks of each stage; it needs as many slots.")
    flink_jobmanager_url: str = Field(
        "http://flink-jobmanager:8081", pattern=r"^https?://[^/]+", description="REST API of the JobManager."
    )

    @property
    def checkpointing_mode(self) -> str:
        """Name of the guarantee for the job's own state: a copy that state counts twice would be written twice."""
        return self.delivery_guarantee.replace("-", "_").upper()

    @property
    def delivery_options(self) -> dict[str, str]:
        """Options of the Kafka sink for the guarantee."""
        if self.delivery_guarantee == "at-least-once":
            # Exactly once would make each record wait for its checkpoint; readers are idempotent instead.
            return {"sink.delivery-guarantee": "at-least-once"}
        return {
            "sink.delivery-guarantee": "exactly-once",
            "sink.transactional-id-prefix": "score-validator",
            # The longest that a broker allows by its own settings; the producer's default of an hour is refused.
            "properties.transaction.timeout.ms": "900000",
        }

    @property
    def gate(self) -> Gate:
        """When an answer is good enough."""
        return Gate(
            threshold=self.quality_threshold,
            max_attempts=self.max_attempts,
            self_check_threshold=self.self_check_threshold,
        )
