"""Measures how questions end, and when, with a provider that has a rate limit or an outage."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.fleet import Fleet, eventually
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

ASKED_AT_ONCE = 16
ENVIRONMENT: Mapping[str, str] = {"LLM_TIMEOUT": "10", "LLM_CONCURRENCY": "8"}
"""Settings of the llm-consumers."""


@dataclass(frozen=True)
class Outcome:
    """Final states of questions and calls of the provider.

    Attributes:
        seconds: Time from the first call until the last question was final.
        completed: Number of questions with an answer.
        failed: Number of failed questions.
        answered: Number of calls that the provider answered.
        refused: Number of calls that it refused.
    """

    seconds: float
    completed: int
    failed: int
    answered: int
    refused: int


def allowed_seconds(questions: int, per_minute: int) -> float:
    """Returns the time that a limit requires: all calls of a minute at once, then those of the next minute."""
    return (-(-questions // per_minute) - 1) * 60.0


def ask_all(
    fleet: Fleet,
    provider: ScriptedProvider,
    texts: Sequence[str],
    workers: int,
    seconds: float,
    meanwhile: Callable[[float], None] = lambda since: None,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Outcome:
    """Asks questions at once and waits until all are final. They have no reference, so that each takes one call.

    Args:
        fleet: Fleet whose llm-consumers are replaced.
        provider: Provider that the llm-consumers call.
        texts: Texts of the questions.
        workers: Number of replicas of llm-consumer.
        seconds: Time limit.
        meanwhile: Function called about once a second with the seconds since the first call.
        environment: Settings of the llm-consumers.
    """
    with Workers(fleet, provider.base_url, environment, workers):
        fleet.lags()  # raises if the broker does not answer
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            ids = list(pool.map(lambda text: str(fleet.ask(text).json()["question_id"]), texts))
        eventually(lambda: provider.counts(), "the provider is called", 60)
        since = time.monotonic()

        def final() -> bool:
            meanwhile(time.monotonic() - since)
            [row] = fleet.sql(
                "SELECT count(*) AS n FROM questions WHERE status = 'pending' AND question_id = ANY(%s)", ids
            )
            return bool(row["n"] == 0)

        eventually(final, "all questions are final", seconds, interval=1)
        took = time.monotonic() - since
    rows = fleet.sql("SELECT status, count(*) AS n FROM questions WHERE question_id = ANY(%s) GROUP BY status", ids)
    states = {row["status"]: row["n"] for row in rows}
    answered = sum(provider.counts().values())
    return Outcome(took, states.get("completed", 0), states.get("failed", 0), answered, provider.refused)
