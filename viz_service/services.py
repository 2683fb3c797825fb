"""What the pages and the JSON routes call."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flask import Flask, current_app

from pipeline.errors import Unavailable
from viz_service import flow
from viz_service.queries import Queries
from viz_service.sampler import State, pipeline_of
from viz_service.schemas import Alert, Overview, PipelineReport
from viz_service.settings import VizSettings
from viz_service.storage import Storage

TOP = 10
"""Questions in each list of the overview."""

MAX_EXPORTS = 2
"""Exports at the same time. Each keeps the ids of its questions in memory, and a thread until it is read."""

_KEY = "services"


@dataclass(frozen=True)
class Services:
    """Everything that a request needs.

    Attributes:
        settings: Of the service.
        queries: Reads PostgreSQL.
        storage: Calls storage-service.
        state: Samples of the pipeline.
        streams: One permit for each event stream that may be open.
        exports: One permit for each export that may be under way.
    """

    settings: VizSettings
    queries: Queries
    storage: Storage
    state: State
    streams: threading.Semaphore
    exports: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_EXPORTS))

    def report(self) -> PipelineReport:
        """Returns the state of the pipeline and the alerts. The sampler's view is shown even without the database."""
        settings = self.settings
        unavailable: list[Alert] = []
        scored, below = 0, 0
        try:
            scored, below = self.queries.recent()
        except Unavailable as error:
            unavailable = [Alert(kind="postgres-away", values={"why": "said", "detail": str(error)})]
        samples, age = self.state.samples(), self.state.age_seconds()
        limit, stale_after = settings.viz_max_retries_limit, 3 * settings.viz_sample_seconds + 10
        found = flow.alerts(samples, age, below, scored, limit, stale_after, settings.llm_patience)
        return PipelineReport(
            **dict(pipeline_of(self.state)),
            waiting=flow.waiting(samples, datetime.now(UTC)),
            alerts=unavailable + found,
        )

    def overview(self) -> Overview:
        """Returns the state of the pipeline with the database's numbers, if the database is available."""
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
