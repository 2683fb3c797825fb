"""Settings of the synchronous service, from the environment."""

from dataclasses import dataclass

from studies.baselines.celery.settings import Settings, number


@dataclass(frozen=True)
class SyncSettings(Settings):
    """Settings in addition to those of the Celery baseline.

    Attributes:
        llm_concurrency: Calls of the model in flight.
        budget: Seconds after which a request gets an error, just before its client gives up, so that the client gets
            the reason.
    """

    llm_concurrency: float = number("LLM_CONCURRENCY", 16)
    budget: float = number("BUDGET_SECONDS", 55)
