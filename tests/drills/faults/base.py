"""What a fault is, and where it strikes."""

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
"""Of the llm-consumers of a drill."""
RESTART_SECONDS = 3.0
"""What an orchestrator takes to start again what died."""

MIN_STRUCK = 10
"""Messages at least, where a drill strikes some."""


class BrokenPromise(AssertionError):
    """Something that a fault shows beside the books, for example a service that does not end in time."""


@dataclass(frozen=True)
class Stage:
    """Where a drill is played.

    Attributes:
        fleet: The fleet.
        workers: The llm-consumers, which ask the scripted provider.
    """

    fleet: Fleet
    workers: Workers

    @property
    def image(self) -> str:
        """Name of this container's image, for helpers."""
        return str(self.fleet.docker.containers.get(socket.gethostname()).attrs["Config"]["Image"])

    def containers(self, service: str) -> Sequence[Container]:
        """Returns the containers of a service, running or not; of llm-consumer those of the drill."""
        if service == LLM_CONSUMER:
            return tuple(self.workers.containers)
        found = self.fleet.containers(service, everything=True)
        assert found, f"no container of {service}"
        return found


@dataclass(frozen=True)
class Fault(ABC):
    """Something that goes wrong.

    Attributes:
        name: What it is called on the command line and in the ledger.
        seconds: How long it lasts.
        times: How often it strikes in a drill, each time at another moment.
        mix: Shares of the scripts by which the provider answers meanwhile.
        repeats: Whether the calls in flight may be made again.
        loses: Whether messages are lost, so that calls made before may be made again.
        soaks: Whether it may strike in a soak, whose topics grow long.
    """

    name: str
    seconds: float = field(default=0, kw_only=True)
    times: int = field(default=1, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    repeats: bool = field(default=True, kw_only=True)
    loses: bool = field(default=False, kw_only=True)
    soaks: bool = field(default=True, kw_only=True)

    @abstractmethod
    def apply(self, stage: Stage) -> None:
        """Breaks something. Raises `BrokenPromise` for what it finds broken already."""

    @abstractmethod
    def undo(self, stage: Stage) -> None:
        """Puts it right; it may be called without `apply` before."""


def await_members(group: str, count: int) -> None:
    """Waits until a consumer group has so many members; one that was killed counts until its session times out."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def settled() -> bool:
        return len(admin.describe_consumer_groups([group], request_timeout=10)[group].result(15).members) == count

    eventually(settled, f"{group} has {count} members", 90, interval=1)


def execute(container: Container, command: str) -> str:
    """Runs a shell command in a container and returns what it wrote; raises `AssertionError` when it fails."""
    result = container.exec_run(["sh", "-c", command])
    assert isinstance(result.output, bytes)  # neither a stream nor a socket was asked for
    output = result.output.decode(errors="replace")
    assert not result.exit_code, f"{command!r} in {container.name} ended with {result.exit_code}: {output}"
    return output
