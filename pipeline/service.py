"""How a service that lives on the consumer loop starts and runs: the same for all."""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from pipeline import logs, metrics
from pipeline.consumer import Consumer, Handler, Limits
from pipeline.producer import Producer
from pipeline.settings import KafkaSettings, Settings, load
from pipeline.shutdown import stop_on_signal

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
    group: str,
    settings: KafkaSettings,
    subscribed: Sequence[str],
    handler: Handler,
    limits: Limits = Limits(),
    beside: Sequence[Callable[[threading.Event], None]] = (),
) -> None:
    """Runs a consumer until SIGTERM or SIGINT, then finishes what is in flight, commits and leaves the group.

    A loop that cannot go on logs why and ends the process with status 1, so that the restart policy acts.

    Args:
        group: Consumer group and name in the broker's logs.
        settings: Where the brokers are.
        subscribed: Topics to read.
        handler: What becomes of a message.
        limits: How much the loop takes on.
        beside: What runs in threads of its own meanwhile, each until the event that it gets is set; one that fails ends
            the process, too.
    """
    metrics.serve(settings.metrics_port)
    with stop_on_signal() as stop:
        failed = threading.Event()

        def run_beside(each: Callable[[threading.Event], None]) -> None:
            try:
                each(stop)
            except Exception:
                log.exception("could not go on")
                failed.set()
                stop.set()

        threads = [threading.Thread(target=run_beside, args=(each,), daemon=True) for each in beside]
        for thread in threads:
            thread.start()
        try:
            with Producer(settings, group) as producer:
                Consumer(settings, group, subscribed, handler, producer, limits).run(stop)
        except Exception:
            log.exception("could not go on")
            sys.exit(1)
        for thread in threads:
            thread.join()
        if failed.is_set():
            sys.exit(1)
