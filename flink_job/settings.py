"""Settings of the job and of its submitter.

The process that submits the job reads them and passes the values to the operators, so that TaskManagers need no
environment of their own.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from flink_job.judging import NEAR, When
from pipeline.routing import Gate
from pipeline.settings import (
    FlinkUrlSettings,
    GateSettings,
    JudgeModelSettings,
    JudgeUrlSettings,
    KafkaSettings,
    ScorerUrlSettings,
)


class FlinkJobSettings(
    KafkaSettings, GateSettings, ScorerUrlSettings, JudgeUrlSettings, JudgeModelSettings, FlinkUrlSettings
):
    """Settings of the job."""

    score_capacity: int = Field(
        32,
        ge=1,
        le=1000,
        description="Maximum of scorer calls in flight per subtask; reduced automatically while the scorer is slow.",
    )
    self_check_threshold: float = Field(
        0.28,
        ge=0,
        le=1,
        description="Mean agreement with further answers from which an answer without reference is accepted "
        "(SELF_CHECK_SAMPLES of llm-consumer).",
    )
    judge_threshold: float = Field(
        0.5, ge=0, le=1, description="Probability that an answer is right from which the judge accepts it."
    )
    judge_when: When = Field(
        "accepted",
        description="Scored answers that the judge is asked about: `accepted` (above the threshold), `near` (of those, "
        f"the ones at most {NEAR} above it) or `always`. An answer is accepted only if its score is above the "
        "threshold and the judge, where it is asked, agrees.",
    )
    judge_capacity: int = Field(
        8, ge=1, le=1000, description="Maximum of judge calls in flight per subtask; reduced while the judge is slow."
    )
    checkpoint_interval_seconds: float = Field(30, ge=1, le=3600, description="Seconds between checkpoints.")
    delivery_guarantee: Literal["at-least-once", "exactly-once"] = Field(
        "at-least-once",
        description="Guarantee for what the job writes. `exactly-once` uses transactions: readers see a record only "
        "after the next checkpoint. The readers are idempotent and do not need it; it exists for measurements.",
    )
    checkpoint_dir: Path = Field(
        Path("/opt/flink-checkpoints"), description="Folder shared by JobManager, TaskManagers and submitter."
    )
    dedup_ttl_seconds: float = Field(3600, ge=1, description="How long copies of an answer are recognised.")
    flink_parallelism: int = Field(1, ge=1, le=128, description="Subtasks of each stage; needs as many slots.")

    @property
    def checkpointing_mode(self) -> str:
        """Flink's name of the guarantee; the job's own state needs the same one as its sink."""
        return self.delivery_guarantee.replace("-", "_").upper()

    @property
    def delivery_options(self) -> dict[str, str]:
        """Options of the Kafka sink for the guarantee."""
        if self.delivery_guarantee == "at-least-once":
            # Exactly once would delay each record until the next checkpoint. Readers are idempotent instead.
            return {"sink.delivery-guarantee": "at-least-once"}
        return {
            "sink.delivery-guarantee": "exactly-once",
            "sink.transactional-id-prefix": "score-validator",
            # The broker's default maximum; it rejects the producer's default of one hour.
            "properties.transaction.timeout.ms": "900000",
        }

    @property
    def gate(self) -> Gate:
        """The acceptance policy of answers."""
        return Gate(
            threshold=self.quality_threshold,
            max_attempts=self.max_attempts,
            self_check_threshold=self.self_check_threshold,
            judge_threshold=self.judge_threshold,
        )
