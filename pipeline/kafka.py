"""What every Kafka client of the fleet is told."""

import logging
from typing import Any

import confluent_kafka
import structlog

from pipeline.settings import KafkaSettings

log = structlog.get_logger()


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Returns the configuration that producers, consumers and admin clients share."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        "error_cb": _log_error,
        "logger": logging.getLogger("librdkafka"),
        # A broker that comes back is met within seconds, not after librdkafka's default of up to 10 s.
        "reconnect.backoff.max.ms": 2000,
    }


def _log_error(error: confluent_kafka.KafkaError) -> None:
    log.warning("met a Kafka error", error=error.str())
