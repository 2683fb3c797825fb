"""The dependencies of a request, and the views that combine them."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flask import Flask, current_app

from pipeline.errors import Unavailable
from viz_service import pipeline_state
from viz_service.queries import Queries
from viz_service.sampler import SAMPLE_SECONDS, State, pipeline_of
from viz_service.schemas import Alert, Overview, PipelineReport
from viz_service.settings import VizSettings
from viz_service.storage import Storage

TOP = 10
"""Questions in each list of the overview."""

MAX_EXPORTS = 2
"""Limit of concurrent exports. Each keeps the ids of its questions in memory and occupies a thread."""

_KEY = "services"


@dataclass(frozen=True)
class Services:
    """The dependencies of a request.

    Attributes:
        settings: Settings of the service.
        queries: Reads PostgreSQL.
        storage: Calls storage-service.
        state: Samples of the pipeline.
        streams: One permit for each open event stream.
        exports: One permit for each running export.
    """

    settings: VizSettings
    queries: Queries
    storage: Storage
    state: State
    streams: threading.Semaphore
    exports: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_EXPORTS))

    def report(self) -> PipelineReport:
        """Returns the state of the pipeline and the alerts; works without the database."""
        settings = self.settings
        unavailable: list[Alert] = []
        scored, below = 0, 0
        try:
            scored, below = self.queries.recent()
        except Unavailable as error:
            unavailable = [Alert(kind="postgres-away", values={"why": "said", "detail": str(error)})]
        samples, age = self.state.samples(), self.state.age_seconds()
        limit, stale_after = settings.viz_max_retries_limit, 3 * SAMPLE_SECONDS + 10
        found = pipeline_state.alerts(samples, age, below, scored, limit, stale_after, settings.llm_patience)
        return PipelineReport(
            **dict(pipeline_of(self.state)),
            waiting=pipeline_state.waiting(samples, datetime.now(UTC)),
            alerts=unavailable + found,
        )

    def overview(self) -> Overview:
        """Returns the state of the pipeline and, if the database is available, its numbers."""
        report = self.report()
        numbers, top = None, None
        if not any(each.kind == "postgres-away" for each in report.alerts):
            numbers, top = self.queries.statistics(), self.queries.top(TOP)
        return Overview(statistics=numbers, pipeline=report, top=top)


def register(app: Flask, services: Services) -> None:
    """Makes services available to the routes of an application."""
    app.extensions[_KEY] = services


def current() -> Services:
    """Returns the services of the application that handles this request."""
    services: Services = current_app.extensions[_KEY]
    return services
