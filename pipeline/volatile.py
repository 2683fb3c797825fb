"""Redis as it is used here: for what may vanish at any time without loss. An absent Redis is like an empty one."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import redis
import structlog

from pipeline.batcher import Batcher
from pipeline.settings import RedisSettings

log = structlog.get_logger()

T = TypeVar("T")

PAUSE_SECONDS = 2
"""After a failure Redis is left alone for so long: each call to an absent one may take a second."""


class _Entry(NamedTuple):
    key: str
    value: str | bytes
    ttl_seconds: int


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
        self._reads = Batcher(self._get)
        self._writes = Batcher(self._set)

    def get(self, key: str) -> bytes | None:
        """Returns a value, None when it is not there or Redis is away; threads share the round trip."""
        return self._reads.do(key)

    def put(self, key: str, value: str | bytes, ttl_seconds: int) -> None:
        """Keeps a value for so long; threads share the round trip."""
        self._writes.do(_Entry(key, value, ttl_seconds))

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

    def _get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        found = self.attempt(lambda client: client.mget(keys)) or [None] * len(keys)
        return [each if isinstance(each, bytes) else None for each in found]

    def _set(self, entries: Sequence[_Entry]) -> Sequence[None]:
        def set_all(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            for key, value, ttl_seconds in entries:
                pipeline.set(key, value, ex=ttl_seconds)
            pipeline.execute()

        self.attempt(set_all)
        return [None] * len(entries)
