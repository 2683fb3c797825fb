"""Faults of proxies that take the name of a service on the fleet's network."""

import socket
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from docker.models.containers import Container

from tests.drills import scorer_proxy
from tests.drills.faults.base import BrokenPromise, Fault, Stage
from tests.fleet import PROJECT, eventually


@dataclass(frozen=True)
class Interpose(Fault):
    """Puts a proxy in front of a service, whose connections break because its address changes."""

    service: str = field(kw_only=True)
    container: str = field(kw_only=True)
    """Name of the service's container, which is an alias on the network, too."""
    port: int = field(kw_only=True)
    seconds: float = field(default=30, kw_only=True)

    @property
    @abstractmethod
    def command(self) -> Sequence[str]:
        """Returns the module of the proxy and its arguments."""

    @property
    def alias(self) -> str:
        """Returns the name of the service while the proxy has its usual name."""
        return f"{self.service}-behind-proxy"

    @property
    def _proxy(self) -> str:
        return f"{PROJECT}-drill-{self.name}"

    def apply(self, stage: Stage) -> None:
        self._call_service(stage, [self.alias])
        stage.fleet.run(
            stage.image, self._proxy, self.service, command=["python", "-m", *self.command], mem_limit="192m"
        )

        def listening() -> bool:
            try:
                with socket.create_connection((self.service, self.port), timeout=2):
                    return True
            except OSError:
                return False

        # Only the proxy has this name now.
        eventually(listening, f"the proxy before {self.service} listens", 30)

    def undo(self, stage: Stage) -> None:
        for each in self.proxies(stage):
            each.remove(force=True)
        self._call_service(stage, [self.service, self.container])

    def proxies(self, stage: Stage) -> list[Container]:
        """Returns the container of the proxy, if there is one."""
        found: list[Container] = stage.fleet.docker.containers.list(all=True, filters={"name": self._proxy})
        return found

    def _call_service(self, stage: Stage, aliases: list[str]) -> None:
        [service] = stage.containers(self.service)
        stage.fleet.reconnect(service, aliases)


@dataclass(frozen=True)
class SpoilScorer(Interpose):
    """Puts a proxy in front of the scorer that delays or invalidates its replies; see `tests.drills.scorer_proxy`."""

    mode: str = field(kw_only=True)
    service: str = field(default="score-validator", kw_only=True)
    container: str = field(default="score_validator", kw_only=True)
    port: int = field(default=scorer_proxy.PORT, kw_only=True)

    @property
    def command(self) -> Sequence[str]:
        return ("tests.drills.scorer_proxy", self.mode, f"http://{self.alias}:{self.port}")


@dataclass(frozen=True)
class SlowLink(Interpose):
    """Puts a proxy in front of a store that delays, stalls and breaks its connections; see `tests.drills.slow_link`."""

    seconds: float = field(default=60, kw_only=True)

    @property
    def command(self) -> Sequence[str]:
        return ("tests.drills.slow_link", self.alias, str(self.port))

    def undo(self, stage: Stage) -> None:
        unused = [each for each in self.proxies(stage) if not each.logs()]
        super().undo(stage)
        if unused:
            raise BrokenPromise(f"no client used the slow link to {self.service}")
