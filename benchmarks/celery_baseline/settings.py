"""Settings of the baseline, from the environment. Defaults are those of the fleet."""

import os
from dataclasses import dataclass, field


def _text(name: str, default: str) -> str:
    return field(default_factory=lambda: os.environ.get(name, default))


def _number(name: str, default: float) -> float:
    return field(default_factory=lambda: float(os.environ.get(name, default)))


@dataclass(frozen=True)
class Settings:
    """What web server and workers read.

    Attributes:
        broker_url: Redis that keeps the tasks.
        cache_url: Redis that keeps known answers; it may forget them.
        postgres_url: Address of a database with the fleet's tables.
        postgres_pool_size: Connections of each process.
        llm_base_url: Address of an OpenAI-compatible API.
        llm_model: Model that is asked.
        llm_timeout: Seconds after which a call is given up.
        scorer_url: Address of the scorer.
        threshold: Score at which an answer is accepted.
        max_attempts: Generations after which the best answer so far is kept.
        prefetch: Tasks that a worker reserves for each of its threads.
    """

    broker_url: str = _text("BROKER_URL", "redis://celery-redis:6379/0")
    cache_url: str = _text("CACHE_URL", "redis://redis:6379/1")
    postgres_url: str = _text("POSTGRES_URL", "postgresql+psycopg2://user:password@postgres/celery_baseline")
    postgres_pool_size: float = _number("POSTGRES_POOL_SIZE", 8)
    llm_base_url: str = _text("LLM_BASE_URL", "http://llm-server:8000/v1")
    llm_model: str = _text("LLM_MODEL", "scripted")
    llm_timeout: float = _number("LLM_TIMEOUT", 60)
    scorer_url: str = _text("SCORER_URL", "http://score-validator:8000")
    threshold: float = _number("QUALITY_THRESHOLD", 0.32)
    max_attempts: float = _number("MAX_ATTEMPTS", 3)
    prefetch: float = _number("PREFETCH", 4)
