"""llm-consumers that call a scripted provider in place of those of the fleet."""

from collections.abc import Mapping
from types import TracebackType

from docker.models.containers import Container

from tests.fleet import PROJECT, Fleet
from tests.scripted_provider import TEMPERATURE

SERVICE = "llm-consumer"
STOP_SECONDS = 30
"""Time limit of a stop; longer than the calls in flight."""
_NAME = f"{PROJECT}-scripted-llm-consumer"


class Workers:
    """Context that replaces the fleet's llm-consumers; at the end the fleet's own are always started again."""

    def __init__(self, fleet: Fleet, base_url: str, environment: Mapping[str, str], count: int = 1) -> None:
        """Prepares the containers, which start when the context is entered.

        Args:
            fleet: Fleet whose image and network they use.
            base_url: Address of the provider.
            environment: Additional settings of llm-consumer.
            count: Number of containers.
        """
        self._fleet = fleet
        self._environment = {
            "LLM_BASE_URL": base_url,
            "LLM_MODEL": "scripted",
            "LLM_TEMPERATURE": str(TEMPERATURE),
            **environment,
        }
        self._count = count
        self._own = fleet.containers(SERVICE, everything=True)
        self.containers: list[Container] = []
        """Running containers, oldest first."""

    def __enter__(self) -> "Workers":
        for left in self._fleet.docker.containers.list(all=True, filters={"name": _NAME}):
            left.remove(force=True)  # left by a run that was killed
        try:
            for each in self._own:
                each.stop(timeout=STOP_SECONDS)
            self.scale(self._count)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def scale(self, count: int) -> None:
        """Starts or stops workers until there are `count`; the newest are stopped first."""
        while len(self.containers) > count:
            newest = self.containers.pop()
            newest.stop(timeout=STOP_SECONDS)
            newest.remove(force=True)
        while len(self.containers) < count:
            self.containers.append(
                self._fleet.run(
                    self._own[0].attrs["Config"]["Image"],
                    f"{_NAME}-{len(self.containers) + 1}",
                    SERVICE,  # the dashboard looks for this name
                    command=["python", "-m", "llm_consumer"],
                    environment=self._environment,
                    mem_limit="192m",
                    restart_policy={"Name": "always"},
                )
            )

    def change(self, environment: Mapping[str, str]) -> None:
        """Restarts all workers with additional settings."""
        count = len(self.containers)
        self.scale(0)
        self._environment |= environment
        self.scale(count)

    def logs(self) -> str:
        """Returns the last lines of each worker's log."""
        return "\n".join(f"--- {each.name}\n{each.logs(tail=200).decode(errors='replace')}" for each in self.containers)

    def _end(self) -> None:
        try:
            self.scale(0)
        finally:
            for own in self._own:
                own.start()
            self._fleet.wait_healthy(SERVICE)
