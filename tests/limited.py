"""Questions before a provider with a limit, or an outage: what became of them, and in what time."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.fleet import Fleet, eventually
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

ASKED_AT_ONCE = 16
ENVIRONMENT: Mapping[str, str] = {"LLM_TIMEOUT": "10", "LLM_CONCURRENCY": "8"}
"""Of the llm-consumers."""


@dataclass(frozen=True)
class Outcome:
    """What became of questions.

    Attributes:
        seconds: From the first call until the last question was final.
        completed: Questions that have an answer.
        failed: Questions that have none.
        answered: Calls that the provider answered.
        refused: Calls that it did not admit.
    """

    seconds: float
    completed: int
    failed: int
    answered: int
    refused: int


def allowed_seconds(questions: int, per_minute: int) -> float:
    """Returns the time that a limit itself asks for: all of a minute at once, then the next."""
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
    """Asks questions without a reference, each of which takes one call, all at once, and waits until they are final.

    Args:
        fleet: Whose llm-consumers are replaced.
        provider: Whom they ask.
        texts: Of the questions.
        workers: Replicas of llm-consumer.
        seconds: To wait at most.
        meanwhile: Called about each second, with the seconds since the first question.
        environment: Of the llm-consumers.
    """
    with Workers(fleet, provider.base_url, environment, workers):
        fleet.lags()  # the broker answers
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
