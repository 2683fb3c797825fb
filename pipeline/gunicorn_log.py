"""Gunicorn's messages among ours: a service's gunicorn configuration names it as `logger_class`."""

from typing import Any

from gunicorn.glogging import Logger


class EventLogger(Logger):  # type: ignore[misc]
    """Leaves gunicorn's log to the handler of `pipeline.logs`; there is no access log: `/metrics` counts requests."""

    def setup(self, cfg: Any) -> None:
        """Sets the level, and no handler."""
        self.error_log.propagate = True
        self.error_log.setLevel(self.LOG_LEVELS[cfg.loglevel.lower()])
        self.access_log.disabled = True
