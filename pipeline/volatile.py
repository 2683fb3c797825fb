"""Redis as it is used here: for what may vanish at any time without loss. An absent Redis is like an empty one."""

import time
from collections.abc import Callable
from typing import TypeVar

import redis
import structlog

from pipeline.settings import RedisSettings

log = structlog.get_logger()

T = TypeVar("T")

PAUSE_SECONDS = 2
"""After a failure Redis is left alone for so long: each call to an absent one may take a second."""


class Volatile:
    """A client whose calls do nothing while Redis is away. Safe to use from several threads."""

    def __init__(self, settings: RedisSettings, client_name: str) -> None:
        self._client = redis.Redis.from_url(
            settings.redis_url,
            client_name=client_name,
            socket_timeout=1,
            socket_connect_timeout=1,
        )
        self._away_until = 0.0

    def attempt(self, call: Callable[[redis.Redis], T]) -> T | None:
        """Returns what `call` returns, or None when Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return call(self._client)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + PAUSE_SECONDS
            log.warning("went on without Redis", error=str(error), pause_seconds=PAUSE_SECONDS)
            return None

    def ping(self) -> None:
        """Raises when Redis is away."""
        self._client.ping()
