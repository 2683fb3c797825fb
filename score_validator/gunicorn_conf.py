"""gunicorn's settings: one worker with threads, which loads the encoder after the fork."""

from typing import Any

import structlog

from pipeline import logs
from pipeline.gunicorn_log import EventLogger
from pipeline.settings import load
from score_validator.settings import ScorerSettings

SPARE_THREADS = 8
"""For `/health`, `/ready` and `/metrics` while every admitted request holds a thread."""


def post_worker_init(_worker: Any) -> None:
    """Tells that the encoder is loaded and requests are accepted."""
    structlog.get_logger().info("began to serve", port=_settings.scorer_port, queue=_settings.scorer_queue)


_settings = load(ScorerSettings)
logs.configure("score-validator", _settings)

wsgi_app = "score_validator.wsgi:application()"
bind = f"0.0.0.0:{_settings.scorer_port}"
workers = 1  # each would load an encoder of its own
worker_class = "gthread"
threads = _settings.scorer_queue + SPARE_THREADS
preload_app = False  # torch's threads do not survive a fork
keepalive = (
    30  # seconds; longer than clients keep a connection (aiohttp: 15), so that they never send into a closed one
)
control_socket_disable = True
timeout = 300  # seconds to load the encoder; a slow request does not count
graceful_timeout = 8  # less than the 10 s after which Docker kills
logger_class = EventLogger
loglevel = "warning"  # start-up messages are ours (`began to serve`)
