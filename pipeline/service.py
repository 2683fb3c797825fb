"""How a service that lives on the consumer loop starts and runs: the same for all."""

import sys
from collections.abc import Sequence
from typing import TypeVar

import structlog

from pipeline import logs, metrics
from pipeline.consumer import Consumer, Handler, Limits
from pipeline.producer import Producer
from pipeline.settings import KafkaSettings, Settings, load
from pipeline.shutdown import stop_event

log = structlog.get_logger()

S = TypeVar("S", bound=Settings)


def start(name: str, kind: type[S]) -> S:
    """Reads the settings and sets up logs; with `--check` on the command line the process ends here, successfully."""
    settings = load(kind)
    logs.configure(name, settings)
    if "--check" in sys.argv[1:]:
        log.info("checked imports and settings")
        sys.exit(0)
    return settings


def consume(
    group: str, settings: KafkaSettings, subscribed: Sequence[str], handler: Handler, limits: Limits = Limits()
) -> None:
    """Runs a consumer until SIGTERM or SIGINT, then finishes what is in flight, commits and leaves the group.

    A loop that cannot go on logs why and ends the process with status 1, so that the restart policy acts.
    """
    stop = stop_event()
    metrics.serve(settings.metrics_port)
    try:
        with Producer(settings, group) as producer:
            Consumer(settings, group, subscribed, handler, producer, limits).run(stop)
    except Exception:
        log.exception("could not go on")
        sys.exit(1)
