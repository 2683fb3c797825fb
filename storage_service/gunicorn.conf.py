"""How gunicorn serves storage-service: one process with many threads, for most requests wait for something."""

import signal
from types import FrameType
from typing import Any

from pipeline import logs
from pipeline.gunicorn_log import EventLogger
from pipeline.settings import load
from storage_service.settings import StorageSettings

_settings = load(StorageSettings)

wsgi_app = "storage_service.app:create_app()"
bind = f"0.0.0.0:{_settings.http_port}"
# librdkafka does not survive a fork (confluent-kafka-python#1122): the worker builds its clients itself.
preload_app = False
workers = 1
worker_class = "gthread"
threads = _settings.http_threads
worker_tmp_dir = "/dev/shm"
keepalive = 30
# With what `worker_exit` takes after it, within Compose's `stop_grace_period`.
graceful_timeout = 5
control_socket_disable = True
logger_class = EventLogger


def on_starting(_server: Any) -> None:
    """Sets up logs; the worker inherits it."""
    logs.configure("storage-service", _settings)


def post_worker_init(worker: Any) -> None:
    """Answers those who wait as soon as the worker is asked to stop: they would hold it up for `graceful_timeout`."""
    stop = signal.getsignal(signal.SIGTERM)

    def release(number: int, frame: FrameType | None) -> None:
        if callable(stop):
            stop(number, frame)
        worker.wsgi.extensions["background"].release()

    signal.signal(signal.SIGTERM, release)


def worker_exit(_server: Any, worker: Any) -> None:
    """Writes what is left to write."""
    app = getattr(worker, "wsgi", None)  # missing when the worker failed to start
    if app:
        app.extensions["background"].close()
