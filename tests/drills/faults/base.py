"""Base class of the faults, and the fleet that they break."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import confluent_kafka.admin
from docker.models.containers import Container

from tests.drills.scripts import USUAL
from tests.fleet import CLIENT, Fleet, eventually
from tests.workers import SERVICE, Workers

LLM_CONSUMER = SERVICE
OUTAGE_SECONDS = 60.0
LLM_TIMEOUT_SECONDS = 20
"""`LLM_TIMEOUT` of the llm-consumers of a drill."""
RESTART_SECONDS = 3.0
"""Time that an orchestrator takes to restart a dead container."""

MIN_STRUCK = 10
"""Minimum number of messages affected by a fault that affects messages."""


class BrokenPromise(AssertionError):
    """A violation found by a fault itself, for example a service that does not end in time."""


@dataclass(frozen=True)
class Stage:
    """The fleet in which a drill is played.

    Attributes:
        fleet: The fleet.
        workers: The llm-consumers, which call the scripted provider.
    """

    fleet: Fleet
    workers: Workers

    @property
    def image(self) -> str:
        """Name of this container's image, which helper containers use."""
        return str(self.fleet.docker.containers.get(socket.gethostname()).attrs["Config"]["Image"])

    def containers(self, service: str) -> Sequence[Container]:
        """Returns the containers of a service, running or not; those of llm-consumer are the drill's."""
        if service == LLM_CONSUMER:
            return tuple(self.workers.containers)
        found = self.fleet.containers(service, everything=True)
        assert found, f"no container of {service}"
        return found


@dataclass(frozen=True)
class Fault(ABC):
    """Base class of the faults.

    Attributes:
        name: Name on the command line and in the ledger.
        seconds: Duration of the fault.
        times: How often it strikes in a drill.
        mix: Shares of the provider's scripts in the drill.
        repeats: Whether calls in flight may be repeated.
        moments: Number of moments at which that may happen; more than 1 for services that end one after the other.
        loses: Whether messages are lost, so that earlier calls of unfinished questions may be repeated.
        rewinds: Whether committed offsets are lost too, so that any earlier call may be repeated.
        soaks: Whether it may strike in a soak, whose topics become long.
    """

    name: str
    seconds: float = field(default=0, kw_only=True)
    times: int = field(default=1, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    repeats: bool = field(default=True, kw_only=True)
    moments: int = field(default=1, kw_only=True)
    loses: bool = field(default=False, kw_only=True)
    rewinds: bool = field(default=False, kw_only=True)
    soaks: bool = field(default=True, kw_only=True)

    @abstractmethod
    def apply(self, stage: Stage) -> None:
        """Applies the fault; raises `BrokenPromise` for a violation that it finds."""

    @abstractmethod
    def undo(self, stage: Stage) -> None:
        """Undoes the fault; it may be called without a preceding `apply`."""


def await_members(group: str, count: int) -> None:
    """Waits until a consumer group has `count` members; a killed one counts until its session times out."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def settled() -> bool:
        return len(admin.describe_consumer_groups([group], request_timeout=10)[group].result(15).members) == count

    eventually(settled, f"{group} has {count} members", 90, interval=1)


def execute(container: Container, command: str) -> str:
    """Runs a shell command in a container and returns its output; raises `AssertionError` when it fails."""
    result = container.exec_run(["sh", "-c", command])
    assert isinstance(result.output, bytes)  # bytes, because neither a stream nor a socket was requested
    output = result.output.decode(errors="replace")
    assert not result.exit_code, f"{command!r} in {container.name} ended with {result.exit_code}: {output}"
    return output
