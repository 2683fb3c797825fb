"""Fakes of model and scorer with negligible cost."""

from collections.abc import Iterator
from contextlib import contextmanager

from studies.fleet.environment import scripted_scorer
from studies.fleet.environment.containers import own_image, running_container
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


@contextmanager
def fake_scorer(fleet: Fleet, delay_ms: float = 0) -> Iterator[None]:
    """Replaces the real scorer on the fleet's network by a fake."""
    [real] = fleet.containers(_SCORER)
    command = ["python", "-m", scripted_scorer.__name__, "--delay-ms", str(delay_ms)]
    try:
        fleet.reconnect(real, ["scorer-beside-benchmark"])
        with running_container(fleet, own_image(fleet), "scorer", _SCORER, command=command, mem_limit="192m"):
            wait_for_port(_SCORER, scripted_scorer.PORT)
            yield
    finally:
        fleet.reconnect(real, _SCORER_ALIASES)
