"""Faults of the drills: each one breaks something through Docker's API and undoes it.

In production an orchestrator restarts dead containers. Docker's restart policy does not act after a kill through the
API, so `undo` starts the container instead. Nothing else is repaired: the fleet has to recover by itself.
"""

from collections.abc import Mapping

from tests.drills.faults.base import LLM_CONSUMER, LLM_TIMEOUT_SECONDS, BrokenPromise, Fault, Stage
from tests.drills.faults.clock import JumpClock
from tests.drills.faults.containers import DownAndUp, Freeze, Kill, Scale, Stop, Terminate, UpInAnyOrder
from tests.drills.faults.job import ChangeJob, FailCheckpoints, FloodJob
from tests.drills.faults.messages import DeleteRecords, Misbehave, Replay
from tests.drills.faults.network import SlowLink, SpoilScorer
from tests.drills.faults.publishing import KillBeforeNoted, KillBeforePublished
from tests.drills.faults.stores import KAFKA_DATA, CutPower, FillCache, FillDisk, FlushCache, LoseKafka
from tests.drills.scripts import WITH_QUOTA

__all__ = ["ALL", "LLM_CONSUMER", "LLM_TIMEOUT_SECONDS", "SOAK_SECONDS", "BrokenPromise", "Fault", "Stage"]

_KILLED = (
    "storage-writer",
    "storage-service",
    "score-validator",
    "flink-taskmanager",
    "flink-jobmanager",
)

_FROZEN = (LLM_CONSUMER, "storage-writer", "flink-taskmanager", "kafka", "postgres", "redis")

_CLOCKS = (LLM_CONSUMER, "retry-overload-consumer", "storage-writer", "storage-service")

_FAULTS: tuple[Fault, ...] = (
    # First, while the topics are short. The Flink job keeps its offsets and reads the messages that the others repeat.
    Replay("replay-all", [LLM_CONSUMER, "retry-overload-consumer", "retry-quota-consumer", "storage-writer"]),
    *(Kill(f"kill-{LLM_CONSUMER}-{number + 1}", LLM_CONSUMER, number) for number in range(2)),
    Kill("kill-retry-overload-consumer", "retry-overload-consumer"),
    Kill("kill-retry-quota-consumer", "retry-quota-consumer", mix=WITH_QUOTA),
    *(Kill(f"kill-{service}", service) for service in _KILLED),
    KillBeforePublished(),
    KillBeforeNoted(),
    Stop("kafka-away", "kafka"),
    Kill("kill-kafka", "kafka", times=1),
    Stop("postgres-away", "postgres"),
    Stop("redis-away", "redis"),
    FlushCache(),
    FillCache(),
    Stop("scorer-away", "score-validator"),
    SpoilScorer("scorer-slow", mode="slow", seconds=120),  # two time-outs of 15 and 30 s, then replies after 30 s
    SpoilScorer("scorer-errors", mode="errors"),
    SpoilScorer("scorer-nan", mode="nan"),
    SpoilScorer("scorer-out-of-range", mode="range"),
    *(Freeze(f"freeze-{service}", service) for service in _FROZEN),
    SlowLink("slow-link-kafka", service="kafka", container="kafka_broker", port=9092),
    SlowLink("slow-link-postgres", service="postgres", container="postgres_db", port=5432),
    SlowLink("slow-link-redis", service="redis", container="redis_cache", port=6379),
    *(JumpClock(f"clock-{service}", service=service) for service in _CLOCKS),
    FillDisk("disk-full-kafka", service="kafka", folder=KAFKA_DATA),
    FillDisk("disk-full-postgres", service="postgres", folder="/var/lib/postgresql/data"),
    FailCheckpoints(),
    ChangeJob(),
    FloodJob(),
    Scale(),
    *(
        Terminate(f"sigterm-{service}", [service])
        for service in (
            LLM_CONSUMER,
            "retry-overload-consumer",
            "retry-quota-consumer",
            *_KILLED,
            "flink-job",
        )
    ),
    Terminate("sigterm-stores", ["kafka", "postgres", "redis"], repeats=True, moments=3),
    Terminate("sigterm-bystanders", ["viz-service", "traffic-generator", "llm-server", "reverse-proxy"]),
    DownAndUp("down-and-up"),
    *(UpInAnyOrder(f"up-in-any-order-{seed}", seed) for seed in (1, 2)),
    Replay("replay", ["storage-writer"]),
    DeleteRecords(),
    LoseKafka(),
    CutPower(),
    Misbehave(),
)

ALL: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}
"""Every fault by its name, in the order in which they are played."""

SOAK_SECONDS = 20.0
"""Longest outage in a soak: a fault strikes each minute, and the fleet has to recover in between."""
