"""A Redis client for data that may disappear at any time. An unavailable Redis behaves like an empty one."""

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
"""Time after a failure without calls to Redis: each call to an unavailable Redis may take a second."""


# Sets a value, unless the key holds a number greater than or equal to ARGV[3]. An entry that is no number is a value.
_PUT_NEWER = """
local mark = tonumber(redis.call('GET', KEYS[1]) or '')
if not (mark and mark >= tonumber(ARGV[3])) then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
"""


class _Entry(NamedTuple):
    key: str
    value: str | bytes
    ttl_seconds: int
    number: int | None
    """Version of the value, see `put_newer`; None: the value is always set."""


class BestEffortRedis:
    """A client whose calls do nothing while Redis is unavailable. Safe to use from several threads."""

    def __init__(self, settings: RedisSettings, client_name: str) -> None:
        self._client = redis.Redis.from_url(
            settings.redis_url,
            client_name=client_name,
            socket_timeout=1,
            socket_connect_timeout=1,
        )
        self._unavailable_until = 0.0
        self._reads = Batcher(self._get)
        self._writes = Batcher(self._set)

    def get(self, key: str) -> bytes | None:
        """Returns a value; None when the key is missing or Redis is unavailable. Threads share the round trip."""
        return self._reads.do(key)

    def put(self, key: str, value: str | bytes, ttl_seconds: int) -> None:
        """Stores a value with a time to live. Threads share the round trip."""
        self._writes.do(_Entry(key, value, ttl_seconds, None))

    def put_newer(self, key: str, value: str | bytes, ttl_seconds: int, number: int) -> None:
        """Stores a value, unless `mark` has replaced it by a number greater than or equal to `number`."""
        self._writes.do(_Entry(key, value, ttl_seconds, number))

    def mark(self, keys: Sequence[str], number: int, ttl_seconds: int) -> bool:
        """Replaces the values of keys by a number; returns False while Redis is unavailable."""

        def mark_all(client: redis.Redis) -> bool:
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.set(key, number, ex=ttl_seconds)
            pipeline.execute()
            return True

        return bool(self.attempt(mark_all))

    def delete_matching(self, patterns: Sequence[str]) -> bool:
        """Deletes the keys that match any of the glob patterns; returns False while Redis is unavailable.

        It scans all keys in steps, and Redis serves other clients between the steps.
        """

        def delete(client: redis.Redis) -> bool:
            for pattern in patterns:
                found = list(client.scan_iter(match=pattern, count=1000))
                if found:
                    client.unlink(*found)
            return True

        return bool(self.attempt(delete))

    def attempt(self, call: Callable[[redis.Redis], T]) -> T | None:
        """Returns what `call` returns, or None when Redis is unavailable."""
        if time.monotonic() < self._unavailable_until:
            return None
        try:
            return call(self._client)
        except redis.RedisError as error:
            self._unavailable_until = time.monotonic() + PAUSE_SECONDS
            log.warning("continued without Redis", error=str(error), pause_seconds=PAUSE_SECONDS)
            return None

    def ping(self) -> None:
        """Raises when Redis is unavailable."""
        self._client.ping()

    def _get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        found = self.attempt(lambda client: client.mget(keys)) or [None] * len(keys)
        return [each if isinstance(each, bytes) else None for each in found]

    def _set(self, entries: Sequence[_Entry]) -> Sequence[None]:
        def set_all(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            for key, value, ttl_seconds, number in entries:
                if number is None:
                    pipeline.set(key, value, ex=ttl_seconds)
                else:
                    pipeline.eval(_PUT_NEWER, 1, key, value, ttl_seconds, number)
            pipeline.execute()

        self.attempt(set_all)
        return [None] * len(entries)
