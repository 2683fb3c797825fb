"""Faults of stores that lose data, and of full disks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from docker.models.containers import Container

from tests.drills.faults.base import LLM_CONSUMER, MIN_STRUCK, BrokenPromise, Fault, Stage, execute
from tests.drills.faults.containers import START_ORDER, DownAndUp
from tests.drills.faults.replacement import STOP_SECONDS, Replaced
from tests.drills.faults.volumes import helper, volume_of
from tests.drills.scripts import USUAL
from tests.fleet import PROJECT, eventually

SNAPSHOT = f"{PROJECT}_drill-snapshot"
"""Name of a volume for a copy of Kafka's data."""
KAFKA_DATA = "/var/lib/kafka/data"
ROOM_MB = 100
"""Free space on a small disk."""


@dataclass(frozen=True)
class FlushCache(Fault):
    """Empties Redis."""

    name: str = "redis-flushall"
    times: int = field(default=2, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.fleet.cache.flushall()

    def undo(self, stage: Stage) -> None:
        """Does nothing: data in Redis may be lost."""


@dataclass(frozen=True)
class FillCache(Fault):
    """Fills Redis until it reaches its limit and evicts keys."""

    name: str = "redis-maxmemory"
    seconds: float = field(default=10, kw_only=True)

    def apply(self, stage: Stage) -> None:
        cache = stage.fleet.cache
        before = int(cache.info("stats")["evicted_keys"])
        limit = int(cache.info("memory")["maxmemory"])
        assert limit, "Redis has no limit"
        for number in range(2 * limit // 1_000_000):
            cache.set(f"drill:{number}", b"x" * 1_000_000, ex=600)
            if int(cache.info("stats")["evicted_keys"]) > before:
                return
        raise BrokenPromise(f"Redis took twice its limit of {limit} bytes and evicted nothing")

    def undo(self, stage: Stage) -> None:
        cache = stage.fleet.cache
        for key in cache.scan_iter("drill:*"):
            cache.delete(key)


@dataclass(frozen=True)
class LoseKafka(DownAndUp):
    """Stops every container, empties the volume of Kafka, and starts all in the order of their dependencies."""

    name: str = "kafka-volume-lost"
    loses: bool = field(default=True, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        super().apply(stage)
        [kafka] = stage.containers("kafka")
        helper(stage, kafka, KAFKA_DATA, "find /data -mindepth 1 -delete")


@dataclass(frozen=True)
class CutPower(DownAndUp):
    """Kills every container and deletes the last seconds of messages from Kafka.

    Kafka does not force messages to the disk, so a power cut loses those in the page cache. PostgreSQL waits for the
    disk and loses nothing.
    """

    name: str = "power-cut"
    loses: bool = field(default=True, kw_only=True)
    rewinds: bool = field(default=True, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        _beside_kafka(stage, "rm -rf /snapshot/data && cp -a /data /snapshot/data")
        written = stage.fleet.written()
        eventually(lambda: (stage.fleet.written() or 0) >= (written or 0) + MIN_STRUCK, "messages are written", 60)
        for service in (*START_ORDER, LLM_CONSUMER):
            for each in stage.containers(service):
                if each.status == "running":
                    each.kill()
        _beside_kafka(stage, "find /data -mindepth 1 -delete && cp -a /snapshot/data/. /data")

    def undo(self, stage: Stage) -> None:
        super().undo(stage)
        for each in stage.fleet.docker.volumes.list(filters={"name": SNAPSHOT}):
            each.remove()


def _beside_kafka(stage: Stage, command: str) -> None:
    [kafka] = stage.containers("kafka")
    helper(stage, kafka, KAFKA_DATA, command, SNAPSHOT)


@dataclass(frozen=True)
class FillDisk(Replaced):
    """Moves a store to a small disk and fills it completely; the store has to continue when there is space again.

    The disk is a file system in memory. A container keeps it mounted, because unmounting would delete its contents.
    """

    folder: str = field(kw_only=True)
    seconds: float = field(default=30, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    @property
    def _disk(self) -> str:
        return f"{PROJECT}_drill-{self.name}"

    def apply(self, stage: Stage) -> None:
        docker, original = stage.fleet.docker, self.original(stage)
        original.stop(timeout=STOP_SECONDS)
        used = int(helper(stage, original, self.folder, "du -sm /data | cut -f1"))
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={used + ROOM_MB}m"}
        docker.volumes.create(self._disk, driver="local", driver_opts=options)
        keeper = docker.containers.run(
            stage.image,
            command=["sleep", "infinity"],
            volumes={volume_of(original, self.folder): {"bind": "/data"}, self._disk: {"bind": "/disk"}},
            name=f"{self._disk}-keeper",
            user="root",
            init=True,
            detach=True,
        )
        execute(keeper, "cp -a --sparse=always /data/. /disk/")
        replacement = self.replace(stage, volumes={self.folder: self._disk})
        self._await(stage)
        execute(keeper, "dd if=/dev/zero of=/disk/filler bs=64k || test -s /disk/filler")
        eventually(lambda: b"No space left" in replacement.logs(), f"{self.service} finds its disk full", 60)

    def undo(self, stage: Stage) -> None:
        try:
            for keeper in self._keepers(stage):
                execute(keeper, "rm -f /disk/filler")
                self._await(stage)
        finally:
            super().undo(stage)
            for keeper in self._keepers(stage):
                keeper.remove(force=True)
            for each in stage.fleet.docker.volumes.list(filters={"name": self._disk}):
                each.remove()

    def before_original(self, stage: Stage) -> None:
        for keeper in self._keepers(stage):
            execute(keeper, "find /data -mindepth 1 -delete && cp -a --sparse=always /disk/. /data/")

    def _await(self, stage: Stage) -> None:
        def back() -> bool:
            stage.fleet.sql("SELECT 1 AS n")
            return stage.fleet.written() is not None

        eventually(back, f"{self.service} works", 120, interval=1)

    def _keepers(self, stage: Stage) -> list[Container]:
        found: list[Container] = stage.fleet.docker.containers.list(filters={"name": f"{self._disk}-keeper"})
        return found
