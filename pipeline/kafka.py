"""What every Kafka client of the fleet is told."""

import logging
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import structlog

from pipeline.settings import KafkaSettings

log = structlog.get_logger()

QUIET_SECONDS = 30
"""An error is told once in this time: a client without a broker meets the same one many times a second."""


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Returns the configuration that producers, consumers and admin clients share."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        "error_cb": throttled_error_logger(),
        "logger": logging.getLogger("librdkafka"),
        # The callback tells errors; librdkafka's own lines would tell them again.
        "log_level": 2,
        # A broker that comes back is met within seconds, not after librdkafka's default of up to 10 s.
        "reconnect.backoff.max.ms": 2000,
    }


def throttled_error_logger(
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[confluent_kafka.KafkaError], None]:
    """Makes a callback that logs errors, those of one kind at most once in `QUIET_SECONDS`."""
    told: dict[int, float] = {}

    def tell(error: confluent_kafka.KafkaError) -> None:
        now = clock()
        if now - told.get(error.code(), -QUIET_SECONDS) >= QUIET_SECONDS:
            told[error.code()] = now
            log.warning("met a Kafka error", error=error.str())

    return tell
