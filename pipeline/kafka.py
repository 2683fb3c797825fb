"""Configuration that all Kafka clients of the fleet share."""

import logging
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import structlog

from pipeline.settings import KafkaSettings

log = structlog.get_logger()

QUIET_SECONDS = 30
"""An error is logged once in this time: a client without a broker gets the same error many times a second."""


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Returns the configuration that producers, consumers and admin clients share."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        "error_cb": throttled_error_logger(),
        "logger": logging.getLogger("librdkafka"),
        # The callback logs errors; librdkafka's own log lines would repeat them.
        "log_level": 2,
        # The client reconnects to a broker within seconds, not after librdkafka's default of up to 10 s.
        "reconnect.backoff.max.ms": 2000,
    }


def throttled_error_logger(
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[confluent_kafka.KafkaError], None]:
    """Makes a callback that logs errors, each error code at most once in `QUIET_SECONDS`."""
    logged_at: dict[int, float] = {}

    def log_error(error: confluent_kafka.KafkaError) -> None:
        now = clock()
        if now - logged_at.get(error.code(), -QUIET_SECONDS) >= QUIET_SECONDS:
            logged_at[error.code()] = now
            log.warning("met a Kafka error", error=error.str())

    return log_error
