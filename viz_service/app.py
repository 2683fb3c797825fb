"""Puts the service together: clients, routes, pages, and the sampler thread."""

import threading

from flask import request
from flask_openapi3 import OpenAPI

from pipeline import postgres, web
from pipeline.settings import load
from pipeline.web import BACKGROUND
from viz_service import security, services
from viz_service.pages import pages
from viz_service.queries import PostgresQueries, Queries
from viz_service.routes import routes
from viz_service.sampler import Sampler, State, sampler
from viz_service.services import Services
from viz_service.settings import VizSettings
from viz_service.storage import HttpStorage, Storage

SERVICE = "viz-service"


def create_app(
    settings: VizSettings | None = None,
    queries: Queries | None = None,
    storage: Storage | None = None,
    state: State | None = None,
) -> OpenAPI:
    """Creates the application; nothing connects yet.

    Args:
        settings: None: read from the environment.
        queries: None: PostgreSQL; tests pass their own.
        storage: None: a client of storage-service.
        state: None: a sampler, which `pipeline.server` starts in its worker.
    """
    settings = settings or load(VizSettings)
    queries = queries or PostgresQueries(
        postgres.engine(settings, SERVICE), settings.quality_threshold, settings.max_attempts
    )
    storage = storage or HttpStorage(settings.storage_url)
    state = state or sampler(settings, storage)
    app = web.create_api(
        SERVICE,
        "Statistics of the fleet: questions, answers and their scores, and the state of the pipeline. Times are RFC "
        "3339 in UTC; a value that does not exist yet is null.",
        checks={"postgres": queries.check},
    )
    if isinstance(state, Sampler):
        app.extensions[BACKGROUND] = state
    app.before_request(lambda: security.require_csrf_header(request))
    web.refuse_foreign_requests(app, settings)
    app.after_request(lambda response: security.set_headers(request, response))
    services.register(app, Services(settings, queries, storage, state, threading.Semaphore(settings.max_streams)))
    app.register_blueprint(pages)
    app.register_api(routes)
    return app
