"""Routes of the dashboard service."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, render_template, request, send_file, url_for
from flask_openapi3 import OpenAPI, Tag
from pydantic import BaseModel

from pipeline import postgres, web
from pipeline.settings import load
from viz_service import assets, figures
from viz_service.queries import PostgresQueries, Queries
from viz_service.schemas import (
    Figure,
    FigureName,
    FigurePath,
    FigureQuery,
    Histogram,
    Improvement,
    NoQuery,
    Statistics,
    Timeseries,
    TimeseriesQuery,
    TopQuery,
    TopQuestions,
)
from viz_service.settings import VizSettings

# Styles: Plotly would insert <style> elements, but leaves it be where the page has elements with their ids: see
# templates/index.html; static/plotly.css has the rules. All else that our charts do to styles goes through the CSSOM,
# which CSP allows, so that 'unsafe-inline' is not needed for styles either.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI's page has an inline script and inline styles and cannot do without them; it shows no data of ours.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

CHARTS: tuple[tuple[FigureName, str], ...] = (
    ("score-ranges", "Score distribution by ranges"),
    ("attempts", "Processing attempts"),
    ("score-histogram", "Histogram of scores"),
    ("improvement", "Improvement by attempts"),
    ("score-timeseries", "Score over the last 24 hours"),
)
"""Charts of the page with their headings, in order."""

_DATA = Tag(name="data", description="What the charts show, as JSON")
_FIGURES = Tag(name="figures", description="The charts themselves, for Plotly")


def create_app(settings: VizSettings | None = None, queries: Queries | None = None) -> OpenAPI:
    """Makes the application; nothing connects yet.

    Args:
        settings: From the environment when None.
        queries: Of PostgreSQL when None; tests bring their own rows.
    """
    settings = settings or load(VizSettings)
    rows = queries or PostgresQueries(postgres.engine(settings, "viz-service"), settings.quality_threshold)
    threshold = settings.quality_threshold
    app = web.create_api(
        "viz-service",
        "Statistics of the fleet: questions, answers and their scores. Times are RFC 3339 in UTC; a value that does "
        "not exist yet is null.",
        checks={"postgres": rows.check},
    )
    app.register_blueprint(_page(settings))
    app.after_request(_set_headers)

    @app.get("/api/statistics", tags=[_DATA], summary="Headline numbers", responses=_replies(Statistics))
    def statistics(query: NoQuery) -> Any:
        return web.json_response(rows.statistics())

    @app.get("/api/scores/timeseries", tags=[_DATA], summary="Mean score over time", responses=_replies(Timeseries))
    def timeseries(query: TimeseriesQuery) -> Any:
        return web.json_response(rows.timeseries(query.hours))

    @app.get("/api/scores/histogram", tags=[_DATA], summary="Answers by score", responses=_replies(Histogram))
    def histogram(query: NoQuery) -> Any:
        return web.json_response(rows.histogram())

    @app.get(
        "/api/quality/improvement",
        tags=[_DATA],
        summary="Scores by attempts; first against kept answer of the same questions",
        responses=_replies(Improvement),
    )
    def improvement(query: NoQuery) -> Any:
        return web.json_response(rows.improvement())

    @app.get("/api/questions/top", tags=[_DATA], summary="Most asked, best and worst", responses=_replies(TopQuestions))
    def top(query: TopQuery) -> Any:
        return web.json_response(rows.top(query.limit))

    builders: dict[FigureName, Callable[[FigureQuery], Figure]] = {
        "score-ranges": lambda query: figures.score_ranges(rows.histogram(), query.theme),
        "attempts": lambda query: figures.attempts(rows.statistics(), query.theme),
        "score-histogram": lambda query: figures.score_histogram(rows.histogram(), query.theme),
        "improvement": lambda query: figures.improvement(rows.improvement(), threshold, query.theme),
        "score-timeseries": lambda query: figures.score_timeseries(
            rows.timeseries(query.hours), threshold, query.theme
        ),
    }

    @app.get("/api/figures/<string:name>", tags=[_FIGURES], summary="A Plotly figure", responses=_replies(Figure))
    def figure(path: FigurePath, query: FigureQuery) -> Any:
        return web.json_response(builders[path.name](query))

    return app


def _page(settings: VizSettings) -> Blueprint:
    page = Blueprint("page", __name__, template_folder="templates", static_folder="static", static_url_path="/assets")

    @page.get("/")
    def index() -> str:
        return render_template("index.html", settings=settings, charts=CHARTS, asset=_asset_url)

    @page.get("/assets/plotly.min.js")
    def plotly() -> Response:
        return send_file(assets.plotly(), mimetype="text/javascript")

    return page


def _asset_url(name: str) -> str:
    if name == "plotly.min.js":
        return url_for("page.plotly", v=assets.version(name))
    return url_for("page.static", filename=name, v=assets.version(name))


def _set_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = DOCS_POLICY if request.path.startswith("/docs") else PAGE_POLICY
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "no-referrer"
    if request.path.startswith("/assets/") and response.status_code in (200, 304):
        # Without its version an address may show something else after an update.
        versioned = "v" in request.args
        response.headers["Cache-Control"] = (
            f"public, max-age={assets.MAX_AGE_SECONDS}, immutable" if versioned else "no-cache"
        )
    elif not request.path.startswith("/docs"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _replies(model: type[BaseModel]) -> Any:
    return {"200": model, **web.problems(422, 503)}
