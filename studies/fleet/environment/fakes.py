"""Fakes of model and scorer with negligible cost."""

from contextlib import AbstractContextManager
from types import TracebackType

from docker.models.containers import Container

from studies.fleet.environment import scripted_scorer
from studies.fleet.environment.containers import own_image, run_container
from studies.fleet.environment.waiting import wait_for_port
from tests.fleet import Fleet
from tests.scripted_provider import ScriptedProvider, answer

ANSWER = "Water boils at one hundred degrees Celsius at sea level."
REFERENCE = "At sea level water boils at 100 degrees Celsius."

_SCORER = "score-validator"
_SCORER_ALIASES = [_SCORER, "score_validator"]


def instant_provider(latency_seconds: float = 0) -> ScriptedProvider:
    """Returns a fake model that gives each question the same answer after the same time."""
    script = [[answer(ANSWER, latency_seconds)]]
    return ScriptedProvider(lambda _text: script)


class ScriptedScorer(AbstractContextManager["ScriptedScorer"]):
    """Replaces the real scorer on the fleet's network by a fake."""

    def __init__(self, fleet: Fleet, delay_ms: float = 0) -> None:
        self._fleet = fleet
        self._delay_ms = delay_ms
        self._container: Container | None = None

    def __enter__(self) -> "ScriptedScorer":
        try:
            self._alias_real(["scorer-beside-benchmark"])
            self._container = run_container(
                self._fleet,
                own_image(self._fleet),
                "scorer",
                _SCORER,
                command=["python", "-m", scripted_scorer.__name__, "--delay-ms", str(self._delay_ms)],
                mem_limit="192m",
            )
            wait_for_port(_SCORER, scripted_scorer.PORT)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._container:
            self._container.remove(force=True)
        self._alias_real(_SCORER_ALIASES)

    def _alias_real(self, aliases: list[str]) -> None:
        network = self._fleet.docker.networks.get(self._fleet.network)
        [scorer] = self._fleet.containers(_SCORER)
        if self._fleet.network in scorer.attrs["NetworkSettings"]["Networks"]:
            network.disconnect(scorer)
        network.connect(scorer, aliases=aliases)
