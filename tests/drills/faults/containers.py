"""Faults that kill, stop, freeze, scale and restart containers."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import requests

from tests.drills.faults.base import (
    LLM_CONSUMER,
    LLM_TIMEOUT_SECONDS,
    OUTAGE_SECONDS,
    RESTART_SECONDS,
    BrokenPromise,
    Fault,
    Stage,
    await_members,
)
from tests.drills.scripts import WITH_QUOTA
from tests.fleet import UNAVAILABLE_ERRORS

LEAVE_SECONDS = 15.0
"""Time within which a service has to end after SIGTERM; llm-consumer has `LLM_TIMEOUT_SECONDS` more for its calls."""

START_ORDER = (
    "postgres",
    "redis",
    "kafka",
    "postgres-init",
    "kafka-init",
    "llm-server",
    "score-validator",
    "judge-service",
    "flink-jobmanager",
    "flink-taskmanager",
    "flink-job",
    "retry-overload-consumer",
    "retry-quota-consumer",
    "storage-writer",
    "storage-service",
    "viz-service",
    "kafka-ui",
    "reverse-proxy",
    "traffic-generator",
)
"""Start order of all services except llm-consumer: each one follows its dependencies."""

_AWAITED = {"postgres": 120.0, "redis": 60.0, "kafka": 180.0, "flink-jobmanager": 180.0}
_ONE_SHOTS = ("postgres-init", "kafka-init")


@dataclass(frozen=True)
class Kill(Fault):
    """Kills a container with SIGKILL."""

    service: str
    number: int = 0
    seconds: float = field(default=RESTART_SECONDS, kw_only=True)
    times: int = field(default=2, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.containers(self.service)[self.number].kill()

    def undo(self, stage: Stage) -> None:
        stage.containers(self.service)[self.number].start()


@dataclass(frozen=True)
class Stop(Fault):
    """Stops a service as `docker stop` does, and starts it again after the outage."""

    service: str
    seconds: float = field(default=OUTAGE_SECONDS, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for each in stage.containers(self.service):
            each.stop(timeout=30)

    def undo(self, stage: Stage) -> None:
        for each in stage.containers(self.service):
            each.start()


@dataclass(frozen=True)
class Terminate(Fault):
    """Sends SIGTERM, or the stop signal of the image, to services; each has to end in time.

    No call may be repeated, unless the stores end, which remember the calls.
    """

    services: Sequence[str]
    seconds: float = field(default=RESTART_SECONDS, kw_only=True)
    repeats: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        slow = []
        for service in self.services:
            seconds = LEAVE_SECONDS + (LLM_TIMEOUT_SECONDS if service == LLM_CONSUMER else 0)
            for each in stage.containers(service):
                started = time.monotonic()
                each.kill(each.attrs["Config"].get("StopSignal") or "SIGTERM")
                try:
                    each.wait(timeout=seconds)
                except requests.RequestException:
                    slow.append(f"{each.name} still runs {time.monotonic() - started:.0f} s after SIGTERM")
                    each.kill()
        if slow:
            raise BrokenPromise("; ".join(slow))

    def undo(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.start()


@dataclass(frozen=True)
class Freeze(Fault):
    """Freezes a container, which simulates a machine that hangs: connections stay open without replies."""

    service: str
    seconds: float = field(default=OUTAGE_SECONDS, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.containers(self.service)[0].pause()

    def undo(self, stage: Stage) -> None:
        container = stage.containers(self.service)[0]
        container.reload()
        if container.status == "paused":
            container.unpause()


@dataclass(frozen=True)
class Scale(Fault):
    """Scales llm-consumer from 2 to 4, to 1 and back to 2; it waits for the group after the first two steps."""

    name: str = "scale-llm-consumer"
    seconds: float = field(default=5, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for count in (4, 1):
            stage.workers.scale(count)
            await_members(LLM_CONSUMER, count)

    def undo(self, stage: Stage) -> None:
        stage.workers.scale(2)


@dataclass(frozen=True)
class DownAndUp(Fault):
    """Stops every container and starts all again, in the order of their dependencies."""

    seconds: float = field(default=5, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: WITH_QUOTA, kw_only=True)

    def apply(self, stage: Stage) -> None:
        containers = [each for service in (*START_ORDER, LLM_CONSUMER) for each in stage.containers(service)]
        # One after the other, as Compose stops dependent services, so that flink-job can still reach its job.
        for each in reversed(containers):
            each.stop(timeout=30)

    def undo(self, stage: Stage) -> None:
        problems = []
        for service in (*START_ORDER, LLM_CONSUMER):
            # A problem of one service must not keep the others from being started.
            try:
                for each in stage.containers(service):
                    each.start()
                    if service in _ONE_SHOTS and (code := each.wait(timeout=120)["StatusCode"]):
                        problems.append(f"{service} ended with {code}")
                if service in _AWAITED:
                    stage.fleet.wait_healthy(service, _AWAITED[service])
            except (AssertionError, *UNAVAILABLE_ERRORS) as error:
                problems.append(f"{service}: {error}")
        if problems:
            raise BrokenPromise("; ".join(problems))


@dataclass(frozen=True)
class UpInAnyOrder(DownAndUp):
    """Stops every container and starts all at once, in a random order."""

    seed: int = 1

    def undo(self, stage: Stage) -> None:
        order = [*START_ORDER, LLM_CONSUMER]
        random.Random(self.seed).shuffle(order)
        for service in order:
            for each in stage.containers(service):
                each.start()
