"""Measures hit rate and latency of the answer cache by size, eviction policy and distribution, on a separate Redis.

storage-service looks up each question in the cache, and caches answers that it read from the database. The study does
the same with the same code (`pipeline.cache.Cache`), one lookup after the other, for questions that all have an answer:
real answers of the fleet under many ids, drawn by the distributions of the traffic generator.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import redis
import requests
from pydantic import BaseModel, ValidationError

from pipeline.cache import Answer, Cache
from pipeline.question import question_id
from pipeline.settings import CacheSettings
from studies.cache.eviction import characteristic_draws, lru_hit_rate, most_popular_hit_rate, random_hit_rate
from studies.reporting.statistics import percentile
from traffic_generator import plan
from traffic_generator.dataset import Question
from traffic_generator.plan import Distribution, Traffic

Policy = Literal["allkeys-lru", "allkeys-lfu", "allkeys-random"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
PREDICTIONS: dict[Policy, Callable[[Sequence[float], float], float]] = {
    "allkeys-lru": lru_hit_rate,
    "allkeys-lfu": most_popular_hit_rate,
    "allkeys-random": random_hit_rate,
}

MEBIBYTES = (4, 8, 16, 24)
EXPONENTS = (0.0, 0.8, 1.0)
"""Exponents of the studied distributions; 0 is the uniform one."""

CLIENT = "cache-study"
FEWEST_ANSWERS = 10
REQUEST_TIMEOUT_SECONDS = 15
# How often the number of keys is read; it changes little once the cache is full.
SIZE_SAMPLES = 20


class StudyError(Exception):
    """The study cannot run; the message gives the reason and a remedy."""


@dataclass(frozen=True, slots=True)
class LookupPlan:
    """The lookups of each cache.

    Attributes:
        questions: Number of different questions.
        warm_up: Lookups before the measurement, from an empty cache.
        lookups: Measured lookups.
        seed: Seed of the draws; the same for each size and policy.
    """

    questions: int
    warm_up: int
    lookups: int
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """One cache under one distribution.

    Attributes:
        exponent: Exponent of the Zipf distribution; 0: uniform.
        mebibytes: Size of Redis (`maxmemory`).
        policy: Eviction policy (`maxmemory-policy`).
        held: Mean number of cached answers.
        hit_rate: Share of the lookups that found their answer.
        predicted: Prediction of the hit rate for `held` answers of equal size; None for a cache that never filled: its
            misses are first requests, with any eviction policy.
        get_microseconds: Time of each lookup, hit or miss, until the answer is read and validated.
        evicted: Answers evicted during the measurement.
        lookups_per_second: Speed of the study.
        characteristic_seconds: How long LRU keeps an answer that is not requested, by Che's approximation at this
            speed.
    """

    exponent: float
    mebibytes: int
    policy: Policy
    held: float
    hit_rate: float
    predicted: float | None
    get_microseconds: tuple[float, ...]
    evicted: int
    lookups_per_second: float
    characteristic_seconds: float

    @property
    def distribution(self) -> str:
        """Its name."""
        return name_of(self.exponent)

    def microseconds(self, percent: float) -> float:
        """Returns a percentile of the lookups' times."""
        return percentile(self.get_microseconds, percent / 100)


def name_of(exponent: float) -> str:
    """Returns the name of a distribution."""
    return f"zipf {exponent:g}" if exponent else "uniform"


def order(exponent: float, questions: int, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
    """Draws the questions to look up; returns them and the weights of the draws."""
    numbered = [Question("", f"{number}", "", "") for number in range(questions)]
    traffic = Traffic(
        interval_seconds=0,
        count=count,
        distribution=Distribution.ZIPF if exponent else Distribution.UNIFORM,
        zipf_exponent=exponent or 1.0,
    )
    planned = plan.make(numbered, traffic, seed)
    assert planned.weights is not None  # both distributions are drawn independently
    return planned.order, planned.weights


def multiplied(answers: Sequence[Answer], count: int) -> list[Answer]:
    """Returns `count` answers with different ids, made from fewer answers, so that sizes are distributed as in these.

    Raises:
        ValueError: There is no answer.
    """
    if not answers:
        raise ValueError("no answer to multiply")
    return [
        answers[number % len(answers)].model_copy(
            update={"question_id": hashlib.sha256(f"{CLIENT} {number}".encode()).hexdigest()[:32]}
        )
        for number in range(count)
    ]


class _Known(BaseModel):
    """The fields of `GET /status/ID` that the study uses."""

    result: Answer | None = None


def known_answers(url: str, questions: Iterable[Question]) -> list[Answer]:
    """Returns the fleet's answers to the questions of a set; asks no question.

    Raises:
        StudyError: storage-service does not answer, or has too few answers.
    """
    found = []
    with requests.Session() as session:
        session.trust_env = False
        for question in questions:
            identity = question_id(question.text, question.context or None)
            try:
                reply = session.get(f"{url.rstrip('/')}/status/{identity}", timeout=REQUEST_TIMEOUT_SECONDS)
                if reply.status_code == requests.codes.not_found:
                    continue
                reply.raise_for_status()
                answer = _Known.model_validate_json(reply.content).result
            except (requests.RequestException, ValidationError) as error:
                raise StudyError(f"cannot read answers from {url}: {error}") from error
            if answer:
                found.append(answer)
    if len(found) < FEWEST_ANSWERS:
        raise StudyError(
            f"the fleet has answered {len(found)} questions of the set, the study takes the sizes of {FEWEST_ANSWERS} "
            "or more: ask some first (generate_traffic.py --num-requests 50 --wait)"
        )
    return found


class StudyRedis:
    """The Redis of the study; it is emptied and configured for each cache."""

    def __init__(self, url: str) -> None:
        """Connects.

        Raises:
            StudyError: It does not answer, or it may be in use: it has a memory limit or keys.
        """
        self.url = url
        self._client = redis.Redis.from_url(url, socket_timeout=10)
        try:
            limit = int(str(self._client.config_get("maxmemory")["maxmemory"]))
            keys = self._client.dbsize()
        except redis.RedisError as error:
            raise StudyError(f"no Redis to study at {url}: {error}; `make study S=cache` starts one") from error
        if limit or keys:
            raise StudyError(
                f"the Redis at {url} holds {keys} keys and has a maxmemory of {limit}: the study empties the one that "
                "it is given, so it takes an empty one without a limit"
            )
        self.version = str(self._client.info("server")["redis_version"])

    def reset(self, mebibytes: int, policy: Policy) -> None:
        """Empties Redis and sets size and policy."""
        self._client.flushall()
        self._client.config_set("maxmemory-policy", policy)
        self._client.config_set("maxmemory", f"{mebibytes}mb")
        self._client.config_resetstat()

    def release(self) -> None:
        """Empties Redis and removes the limit, as before the study."""
        self._client.flushall()
        self._client.config_set("maxmemory", "0")

    def size(self) -> int:
        """Returns the number of cached answers."""
        return int(self._client.dbsize())

    def evicted(self) -> int:
        """Returns the number of answers evicted since the reset."""
        return int(self._client.info("stats")["evicted_keys"])


def look_up(cache: Cache, answer: Answer) -> tuple[bool, float]:
    """Looks up an answer as storage-service does; returns whether it was a hit, and the seconds of the lookup.

    Raises:
        StudyError: Another answer was found.
    """
    began = time.perf_counter()
    found = cache.get(answer.question_id)
    seconds = time.perf_counter() - began
    if found is None:
        cache.put(answer)
    elif found.question_id != answer.question_id:
        raise StudyError(f"looked for {answer.question_id}, found {found.question_id}")
    return found is not None, seconds


def measure(
    server: StudyRedis, answers: Sequence[Answer], exponent: float, mebibytes: int, policy: Policy, asked: LookupPlan
) -> Result:
    """Measures one cache."""
    drawn, weights = order(exponent, asked.questions, asked.warm_up + asked.lookups, asked.seed)
    server.reset(mebibytes, policy)
    cache = Cache(CacheSettings(redis_url=server.url), CLIENT)
    for number in drawn[: asked.warm_up]:
        look_up(cache, answers[number])
    evicted_before = server.evicted()
    seconds: list[float] = []
    sizes: list[int] = []
    hits = 0
    every = max(1, asked.lookups // SIZE_SAMPLES)
    began = time.perf_counter()
    for place, number in enumerate(drawn[asked.warm_up :]):
        if place % every == 0:
            sizes.append(server.size())
        hit, took = look_up(cache, answers[number])
        hits += hit
        seconds.append(took)
    speed = asked.lookups / (time.perf_counter() - began)
    cache.ping()  # raises if Redis is unavailable, which the cache treats like a miss
    held = sum(sizes) / len(sizes)
    evicted = server.evicted() - evicted_before
    return Result(
        exponent=exponent,
        mebibytes=mebibytes,
        policy=policy,
        held=held,
        hit_rate=hits / asked.lookups,
        predicted=PREDICTIONS[policy](weights, held) if evicted else None,
        get_microseconds=tuple(each * 1e6 for each in seconds),
        evicted=evicted,
        lookups_per_second=speed,
        characteristic_seconds=characteristic_draws(weights, held) / speed,
    )


def study(
    server: StudyRedis, answers: Sequence[Answer], asked: LookupPlan, sizes: Sequence[int] = MEBIBYTES
) -> Iterator[Result]:
    """Measures each cache with each distribution; policies alternate, so that drift of the machine affects all."""
    try:
        for exponent in EXPONENTS:
            for mebibytes in sizes:
                for policy in POLICIES:
                    yield measure(server, answers, exponent, mebibytes, policy, asked)
    finally:
        server.release()


def row(result: Result) -> dict[str, Any]:
    """Returns a result as a row of the CSV file; the prediction of a cache that never filled is empty."""
    return {
        "distribution": result.distribution,
        "Redis, MiB": result.mebibytes,
        "policy": result.policy,
        "answers held": f"{result.held:.0f}",
        "hit rate, %": f"{result.hit_rate * 100:.1f}",
        "predicted, %": "" if result.predicted is None else f"{result.predicted * 100:.1f}",
        "GET p50, µs": f"{result.microseconds(50):.0f}",
        "GET p99, µs": f"{result.microseconds(99):.0f}",
        "evicted": result.evicted,
        "lookups/s": f"{result.lookups_per_second:.0f}",
        "T, s": f"{result.characteristic_seconds:.1f}",
    }
