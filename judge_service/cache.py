"""Judgements of the last hour, so that a repeated call costs nothing. They are in Redis, which may lose them."""

from pydantic import ValidationError

from pipeline.best_effort_redis import BestEffortRedis
from pipeline.messages import Judgement

TTL_SECONDS = 3600
"""As long as Flink recognises copies of an answer."""


class JudgementCache:
    """Judgements by the id of their call."""

    def __init__(self, redis: BestEffortRedis) -> None:
        self._redis = redis

    def get(self, call_id: str) -> Judgement | None:
        """Returns a judgement; None when it is not cached or Redis is unavailable."""
        stored = self._redis.get(_key(call_id))
        if stored is None:
            return None
        try:
            return Judgement.model_validate_json(stored)
        except ValidationError:  # written by another version
            return None

    def put(self, call_id: str, judgement: Judgement) -> None:
        """Stores a judgement for an hour."""
        self._redis.put(_key(call_id), judgement.model_dump_json(), TTL_SECONDS)


def _key(call_id: str) -> str:
    return f"judgement:{call_id}"
