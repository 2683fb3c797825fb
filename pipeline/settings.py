"""Settings from the environment: one frozen, typed class for each service, composed of the classes below.

Only settings classes read the environment. An invalid value stops the process with a message that names the variable.
The variables are the upper-case field names.
"""

import re
import sys
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.messages import MAX_ATTEMPTS_LIMIT

EXIT_USAGE = 2

URL_PATTERN = r"^https?://[^\s/]+\S*$"

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Settings of every service."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, protected_namespaces=())

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: colours on a terminal, JSON elsewhere."
    )
    metrics_port: Port = Field(9100, description="Port of `/metrics` in services without a web server.")


class KafkaSettings(Settings):
    """Settings of services that read or write topics."""

    kafka_bootstrap_servers: str = Field(
        "kafka:9092", min_length=1, description="Brokers, `host:port`, separated by commas."
    )
    poison_limit: int = Field(
        100,
        ge=1,
        description="Messages that a consumer may reject among the last `2 * POISON_LIMIT` of a partition. With more "
        "it stops reading instead of rejecting all messages.",
    )


class RetryAfterSettings(Settings):
    """Settings of services that obey the waits that a provider asks for."""

    retry_after_max: float = Field(
        86_400, ge=0, le=86_400, description="Longest wait in seconds that a provider's Retry-After may ask for."
    )


class PatienceSettings(RetryAfterSettings):
    """Settings of services that wait for a provider."""

    llm_patience: float = Field(
        86_400,
        ge=1,
        le=2_592_000,
        description="Seconds for which a question waits for a provider that does not admit its calls or is "
        "unavailable, counted from the first refusal. Then it ends, with its best answer if there is one.",
    )
    max_quota_retries: int | None = Field(
        None,
        ge=0,
        le=3,
        description="Retries after quota errors, each after 60 s, before a question is given up. Empty: the question "
        "waits until the provider admits calls again.",
    )


class PostgresSettings(Settings):
    """Settings of services that use the database."""

    postgres_host: str = Field("postgres", min_length=1, description="Host of the database.")
    postgres_port: Port = Field(5432, description="Port of the database.")
    postgres_db: str = Field("yahoo_db", min_length=1, description="Name of the database.")
    postgres_user: str = Field("user", min_length=1, description="Role with which the service logs in.")
    postgres_password: SecretStr = Field(SecretStr("password"), description="Password of `POSTGRES_USER`.")


class RedisSettings(Settings):
    """Settings of services that use Redis."""

    redis_url: str = Field("redis://redis:6379/0", pattern=r"^rediss?://", description="Address of Redis.")


class CacheSettings(RedisSettings):
    """Settings of services that use the answer cache."""

    cache_ttl_seconds: int = Field(86_400, ge=1, description="How long an answer stays in the cache.")


class ThresholdSettings(Settings):
    """Settings of services that know when an answer is accepted."""

    quality_threshold: float = Field(0.32, ge=0, le=1, description="Score at or above which an answer is accepted.")


class GateSettings(ThresholdSettings):
    """Settings of services that know when a question is asked again."""

    max_attempts: int = Field(
        3, ge=1, le=MAX_ATTEMPTS_LIMIT, description="Attempts after which the best answer so far is kept."
    )


class ScorerUrlSettings(Settings):
    """Settings of services that call the scorer."""

    scorer_url: str = Field("http://score-validator:8000", pattern=URL_PATTERN, description="Address of the scorer.")


class JudgeModelSettings(Settings):
    """Settings of services that know whether there is a judge."""

    judge_model: str = Field(
        "",
        description="Model that judges answers by their references, after their score. Empty: there is no judge, the "
        "score decides.",
    )
    judge_timeout: float = Field(60, gt=0, le=600, description="Timeout of a whole call to the judge in seconds.")


class JudgeUrlSettings(Settings):
    """Settings of services that call judge-service."""

    judge_url: str = Field("http://judge-service:8000", pattern=URL_PATTERN, description="Address of judge-service.")


class StorageUrlSettings(Settings):
    """Settings of services that call storage-service."""

    storage_url: str = Field(
        "http://storage-service:5001", pattern=URL_PATTERN, description="Address of storage-service."
    )


class FlinkUrlSettings(Settings):
    """Settings of services that call the JobManager."""

    flink_jobmanager_url: str = Field(
        "http://flink-jobmanager:8081", pattern=URL_PATTERN, description="REST API of the JobManager."
    )


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Reads the settings of a service from the environment.

    An invalid value ends the process with status 2 and one line for each invalid variable.
    """
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{name or 'settings'}: {problem['msg']}{_shown(kind, problem)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def _shown(kind: type[Settings], problem: ErrorDetails) -> str:
    """Returns the invalid value; an empty text when it is a secret, or all values together, which contain secrets."""
    field = kind.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    if field is None or "SecretStr" in str(field.annotation):
        return ""
    # A password in an address is a secret, too.
    return f" (got {re.sub('//[^/@]*@', '//…@', repr(problem['input']))})"
