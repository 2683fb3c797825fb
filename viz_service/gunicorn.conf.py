"""How gunicorn runs the service: `gunicorn -c viz_service/gunicorn.conf.py`."""

from typing import Any

from pipeline import logs
from pipeline.gunicorn_log import EventLogger
from pipeline.settings import load
from viz_service.settings import VizSettings

_settings = load(VizSettings)

wsgi_app = "viz_service.app:create_app()"
bind = f"0.0.0.0:{_settings.viz_port}"
# One process: Prometheus counters and the database pool are per process. No preload: clients are built after the fork.
workers = 1
worker_class = "gthread"
threads = _settings.viz_threads
timeout = 30
graceful_timeout = 10
keepalive = 15  # longer than the page's refresh, so that its connections are used again
worker_tmp_dir = "/dev/shm"  # a disk under load must not make the worker look dead
logger_class = EventLogger
control_socket_disable = True  # nobody steers it, and its place would have to be writable


def on_starting(_server: Any) -> None:
    """Sets up logs; the worker inherits it."""
    logs.configure("viz-service", _settings)


def post_worker_init(worker: Any) -> None:
    """Starts to look at the pipeline, after the fork: librdkafka does not survive it."""
    worker.wsgi.extensions["sampler"].start()


def worker_exit(_server: Any, worker: Any) -> None:
    """Ends looking."""
    app = getattr(worker, "wsgi", None)  # missing when the worker failed to start
    if app:
        app.extensions["sampler"].close()
