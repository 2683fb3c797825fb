"""Settings of the baseline, from the environment. Defaults are those of the fleet."""

import os
from dataclasses import dataclass, field


def text(name: str, default: str) -> str:
    """Returns a field that is read from the environment."""
    return field(default_factory=lambda: os.environ.get(name, default))


def number(name: str, default: float) -> float:
    """Returns a field that is read from the environment."""
    return field(default_factory=lambda: float(os.environ.get(name, default)))


@dataclass(frozen=True)
class Settings:
    """Settings of web server and workers.

    Attributes:
        broker_url: Redis for the tasks.
        cache_url: Redis for known answers; it may evict them.
        postgres_url: Address of a database with the fleet's tables.
        postgres_pool_size: Connections of each process.
        llm_base_url: Address of an OpenAI-compatible API.
        llm_model: Name of the model.
        llm_timeout: Timeout of a call, in seconds.
        scorer_url: Address of the scorer.
        threshold: Score at which an answer is accepted.
        max_attempts: Generations after which the best answer so far is kept.
        prefetch: Tasks that a worker reserves for each of its threads.
    """

    broker_url: str = text("BROKER_URL", "redis://celery-redis:6379/0")
    cache_url: str = text("CACHE_URL", "redis://redis:6379/1")
    postgres_url: str = text("POSTGRES_URL", "postgresql+psycopg2://user:password@postgres/celery_baseline")
    postgres_pool_size: float = number("POSTGRES_POOL_SIZE", 8)
    llm_base_url: str = text("LLM_BASE_URL", "http://llm-server:8000/v1")
    llm_model: str = text("LLM_MODEL", "scripted")
    llm_timeout: float = number("LLM_TIMEOUT", 60)
    scorer_url: str = text("SCORER_URL", "http://score-validator:8000")
    threshold: float = number("QUALITY_THRESHOLD", 0.32)
    max_attempts: float = number("MAX_ATTEMPTS", 3)
    prefetch: float = number("PREFETCH", 4)
