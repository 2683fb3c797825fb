"""Runs a web service: gunicorn in this process, with one worker process of many threads."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from pipeline.web import BACKGROUND, Background

log = structlog.get_logger()

OPTIONS = {
    # One worker, because Prometheus counters, pools and waiters belong to a process. No preload, because librdkafka and
    # torch do not survive a fork (confluent-kafka-python#1122): the worker creates the application.
    "workers": 1,
    "preload_app": False,
    "worker_class": "gthread",
    "worker_tmp_dir": "/dev/shm",  # on a busy disk, gunicorn would take the worker for dead
    "keepalive": 30,  # seconds; longer than clients keep a connection, so that they never use a closed one
    "graceful_timeout": 5,  # together with `close`, less than Compose's `stop_grace_period`
    "control_socket_disable": True,  # unused, and its folder would have to be writable
    "loglevel": "warning",
}


def serve(create_app: Callable[[], Flask], port: int, threads: int, **options: object) -> None:
    """Serves an application until SIGTERM.

    Args:
        create_app: Makes the application; called in the worker, which starts and closes the application's `Background`.
        port: TCP port on all interfaces.
        threads: Requests served at the same time.
        options: Further settings of gunicorn.
    """
    _Server(create_app, {**OPTIONS, "bind": f"0.0.0.0:{port}", "threads": threads, **options}).run()


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, create_app: Callable[[], Flask], options: dict[str, object]) -> None:
        self._create_app = create_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        hooks = {"logger_class": _EventLogger, "post_worker_init": _start, "worker_exit": _close}
        for name, value in {**self._options, **hooks}.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._create_app()


class _EventLogger(Logger):  # type: ignore[misc]
    """Sends gunicorn's log to the handler of `pipeline.logs`. There is no access log; `/metrics` counts requests."""

    def setup(self, cfg: Any) -> None:
        """Sets the level; adds no handler."""
        self.error_log.propagate = True
        self.error_log.setLevel(self.LOG_LEVELS[cfg.loglevel.lower()])
        self.access_log.disabled = True


def _start(worker: Any) -> None:
    log.info("started to serve", port=worker.cfg.address[0][1], threads=worker.cfg.threads)
    background = _background_of(worker)
    if background is None:
        return
    background.start()
    stop = signal.getsignal(signal.SIGTERM)

    def release(number: int, frame: FrameType | None) -> None:
        # Waiting requests would delay the end of the worker by the whole `graceful_timeout`.
        if callable(stop):
            stop(number, frame)
        background.release()

    signal.signal(signal.SIGTERM, release)


def _close(_server: Any, worker: Any) -> None:
    background = _background_of(worker)
    if background is not None:
        background.close()


def _background_of(worker: Any) -> Background | None:
    app = getattr(worker, "wsgi", None)  # missing when the worker failed to start
    return app.extensions.get(BACKGROUND) if app else None
