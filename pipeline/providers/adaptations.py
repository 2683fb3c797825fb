"""Adaptations of targets, shared by all workers in Redis. When Redis loses them, they are learnt again."""

import hashlib
import json

from pipeline.best_effort_redis import BestEffortRedis
from pipeline.providers.adaptation import Adaptation
from pipeline.providers.targets import Target

TTL_SECONDS = 7 * 86_400


class SharedAdaptations:
    """Adaptations by target."""

    def __init__(self, redis: BestEffortRedis) -> None:
        self._redis = redis

    def recall(self, target: Target) -> Adaptation:
        """Returns the adaptation of a target."""
        try:
            return frozenset(str(each) for each in json.loads(self._redis.get(_key(target)) or b"[]"))
        except (ValueError, TypeError):  # written by another version
            return frozenset()

    def keep(self, target: Target, adaptation: Adaptation) -> None:
        """Stores the adaptation of a target for a week."""
        self._redis.put(_key(target), json.dumps(sorted(adaptation)), TTL_SECONDS)


def _key(target: Target) -> str:
    fields = json.dumps(target.extra_body, sort_keys=True)  # the rules depend on these fields
    name = hashlib.sha256(f"{target.base_url} {target.model} {fields}".encode()).hexdigest()[:16]
    return f"target-adaptation:{name}"
