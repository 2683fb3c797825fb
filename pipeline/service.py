"""Runs a service that consists of a consumer loop; all such services share it."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Sequence

import structlog

from pipeline import health, metrics
from pipeline.consumer import Consumer, Handler, Limits, connect
from pipeline.health import Heartbeat
from pipeline.poison import PoisonLimit, TooManyUnreadable
from pipeline.producer import Producer
from pipeline.settings import KafkaSettings
from pipeline.share import Share
from pipeline.shutdown import stop_on_signal

log = structlog.get_logger()

REMINDER_SECONDS = 30
"""Time between the log lines of a service that has stopped reading and waits for its operator."""


def consume(
    group: str,
    settings: KafkaSettings,
    subscribed: Sequence[str],
    handler: Handler,
    limits: Limits = Limits(),
    background_tasks: Sequence[Callable[[threading.Event], None]] = (),
    share: Share | None = None,
) -> None:
    """Runs a consumer until SIGTERM or SIGINT, then drains the messages in flight, commits and leaves the group.

    If the loop fails or hangs, the reason is logged and the process exits with status 1, so that the restart policy
    acts. If it hangs, the stacks of all threads are written to standard error first. If it rejected too many messages,
    the process stays, unhealthy, and reads nothing: each restart would reject as many again, until the topic is empty.

    Args:
        group: Consumer group, and client id in the broker's logs.
        settings: Where the brokers are, and how many messages may be rejected.
        subscribed: Topics to read.
        handler: Turns a message into outgoing messages.
        limits: Limits of the loop.
        background_tasks: Functions that run in their own threads until the event that they get is set; if one of them
            fails, the process exits with status 1.
        share: Updated with the part of the first topic that this member has.
    """
    metrics.serve(settings.metrics_port)
    heartbeat = Heartbeat()
    with stop_on_signal() as stop:
        ended, failed = threading.Event(), threading.Event()

        def run_in_background(each: Callable[[threading.Event], None]) -> None:
            try:
                each(stop)
            except Exception:
                log.exception("could not continue")
                failed.set()
                stop.set()

        threads = [threading.Thread(target=run_in_background, args=(each,), daemon=True) for each in background_tasks]
        for thread in threads:
            thread.start()
        threading.Thread(target=health.watch, args=(heartbeat, ended, _give_up), daemon=True).start()
        try:
            with Producer(settings, group) as producer:
                clients = connect(settings, group, limits.drain_seconds)
                poison = PoisonLimit(settings.poison_limit)
                Consumer(clients, subscribed, handler, producer, poison, limits, heartbeat, share).run(stop)
        except TooManyUnreadable as error:
            ended.set()
            while True:
                log.critical("stopped reading: fix the cause, then restart the service", error=str(error))
                if stop.wait(REMINDER_SECONDS):
                    break
            sys.exit(1)
        except Exception:
            log.exception("could not continue")
            sys.exit(1)
        for thread in threads:
            thread.join()
        ended.set()
        if failed.is_set():
            sys.exit(1)


def _give_up(age_seconds: float) -> None:
    log.critical("gave up: the loop makes no progress", last_heartbeat_seconds_ago=round(age_seconds))
    try:
        faulthandler.dump_traceback()  # shows where each thread hangs
    finally:
        os._exit(1)  # a normal exit would wait for the hanging threads
