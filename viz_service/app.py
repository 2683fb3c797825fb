"""Routes of the API, and the one place where the service is put together. The pages are in `pages.py`."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Response, request
from flask_openapi3 import OpenAPI, Tag
from pydantic import BaseModel

from pipeline import postgres, web
from pipeline.errors import Unavailable
from pipeline.settings import load
from pipeline.web import BACKGROUND
from viz_service import export, figures, flow, pages, security
from viz_service.queries import PostgresQueries, Queries, TooMany
from viz_service.sampler import Sampler, State, pipeline_of, sampler
from viz_service.schemas import (
    Alert,
    Ask,
    DeadLetters,
    DeadLettersQuery,
    Figure,
    FigureName,
    FigurePath,
    FigureQuery,
    Filter,
    Histogram,
    Improvement,
    LetterPath,
    NoQuery,
    Nothing,
    Overview,
    PipelineReport,
    QuestionDetail,
    QuestionPath,
    Questions,
    QuestionsQuery,
    SpanQuery,
    Statistics,
    Timeseries,
    TimeseriesQuery,
    TopQuery,
    TopQuestions,
    WhatIf,
    WhatIfQuery,
)
from viz_service.settings import VizSettings
from viz_service.storage import EventStream, HttpStorage, Reply, Storage
from viz_service.texts import catalogue

SERVICE = "viz-service"

_DATA = Tag(name="data", description="What the pages show, as JSON")
_FIGURES = Tag(name="figures", description="The charts themselves, for Plotly")
_ACTIONS = Tag(name="actions", description="Handed on to storage-service")
_TOP = 10
_EXPORTS = 2
"""At the same time: each keeps the ids of its questions in memory, and a thread for as long as it is read."""
_CSV: web.Responses = {
    "200": {"description": "RFC 4180, UTF-8, streamed.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}
_STREAM: web.Responses = {
    "200": {"description": "See storage-service.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
_HANDED_ON: web.Responses = {"200": {"description": "See storage-service."}, "202": {"description": "On its way."}}


def create_app(
    settings: VizSettings | None = None,
    queries: Queries | None = None,
    storage: Storage | None = None,
    state: State | None = None,
) -> OpenAPI:
    """Makes the application; nothing connects yet.

    Args:
        settings: From the environment when None.
        queries: Of PostgreSQL when None; tests bring their own rows.
        storage: Of storage-service when None.
        state: Of a sampler when None, which `pipeline.server` starts in its worker.
    """
    settings = settings or load(VizSettings)
    rows = queries or PostgresQueries(
        postgres.engine(settings, SERVICE), settings.quality_threshold, settings.max_attempts
    )
    asked = storage or HttpStorage(settings.storage_url)
    seen = state or sampler(settings, asked)
    app = web.create_api(
        SERVICE,
        "Statistics of the fleet: questions, answers and their scores, and the state of the pipeline. Times are RFC "
        "3339 in UTC; a value that does not exist yet is null.",
        checks={"postgres": rows.check},
    )
    if isinstance(seen, Sampler):
        app.extensions[BACKGROUND] = seen
    app.before_request(lambda: security.require_mark(request))
    web.refuse_strangers(app, settings)
    app.after_request(lambda response: security.set_headers(request, response))

    def report() -> PipelineReport:
        return _report(settings, rows, seen)

    def overview() -> Overview:
        return _overview(report(), rows)

    app.register_blueprint(pages.blueprint(settings, rows, asked, seen, overview))
    _add_data(app, rows, report, overview)
    _add_figures(app, settings, rows)
    _add_actions(app, asked, settings.max_streams)
    return app


def _report(settings: VizSettings, rows: Queries, seen: State) -> PipelineReport:
    """Joins what the sampler saw with the database; either may be away."""
    away: list[Alert] = []
    scored, below = 0, 0
    try:
        scored, below = rows.recent()
    except Unavailable as error:
        away = [Alert(kind="postgres-away", values={"why": "said", "detail": str(error)})]
    samples, age = seen.samples(), seen.age_seconds()
    limit, stale_after = settings.viz_max_retries_limit, 3 * settings.viz_sample_seconds + 10
    found = flow.alerts(samples, age, below, scored, limit, stale_after, settings.llm_patience)
    return PipelineReport(
        **dict(pipeline_of(seen)), waiting=flow.waiting(samples, datetime.now(UTC)), alerts=away + found
    )


def _overview(report: PipelineReport, rows: Queries) -> Overview:
    """Adds the database's numbers, unless it is away: then it is not asked once more in vain."""
    numbers, top = None, None
    if not any(each.kind == "postgres-away" for each in report.alerts):
        numbers, top = rows.statistics(), rows.top(_TOP)
    return Overview(statistics=numbers, pipeline=report, top=top)


def _add_data(
    app: OpenAPI, rows: Queries, report: Callable[[], PipelineReport], overview: Callable[[], Overview]
) -> None:
    exports = threading.Semaphore(_EXPORTS)

    @app.get("/api/statistics", tags=[_DATA], summary="Headline numbers", responses=_replies(Statistics))
    def statistics(query: SpanQuery) -> Any:
        return web.json_response(rows.statistics(query.hours))

    @app.get("/api/scores/timeseries", tags=[_DATA], summary="Mean score over time", responses=_replies(Timeseries))
    def timeseries(query: TimeseriesQuery) -> Any:
        return web.json_response(rows.timeseries(query.hours))

    @app.get("/api/scores/histogram", tags=[_DATA], summary="Answers by score", responses=_replies(Histogram))
    def histogram(query: SpanQuery) -> Any:
        return web.json_response(rows.histogram(query.hours))

    @app.get(
        "/api/quality/improvement",
        tags=[_DATA],
        summary="Scores by attempts; first against kept answer of the same questions",
        responses=_replies(Improvement),
    )
    def improvement(query: SpanQuery) -> Any:
        return web.json_response(rows.improvement(query.hours))

    @app.get("/api/questions/top", tags=[_DATA], summary="Most asked, best and worst", responses=_replies(TopQuestions))
    def top(query: TopQuery) -> Any:
        return web.json_response(rows.top(query.limit))

    @app.get("/api/what-if", tags=[_DATA], summary="Another threshold on stored attempts", responses=_replies(WhatIf))
    def what_if(query: WhatIfQuery) -> Any:
        return web.json_response(rows.what_if(query.threshold))

    @app.get("/api/questions", tags=[_DATA], summary="Filter, sort, page", responses=_replies(Questions))
    def questions(query: QuestionsQuery) -> Any:
        return web.json_response(rows.questions(query))

    @app.get(
        "/api/questions/<string:question_id>",
        tags=[_DATA],
        summary="All about a question",
        responses={"200": QuestionDetail, **web.problems(404, 422, 503)},
    )
    def question(path: QuestionPath) -> Any:
        found = rows.question(path.question_id)
        return web.json_response(found) if found else _unknown(path)

    @app.get("/api/dead-letters", tags=[_DATA], summary="Rejected messages", responses=_replies(DeadLetters))
    def dead_letters(query: DeadLettersQuery) -> Any:
        return web.json_response(rows.dead_letters(query))

    @app.get("/questions.csv", tags=[_DATA], summary="Export", responses={**_CSV, **web.problems(422, 503)})
    def questions_csv(query: Filter) -> Any:
        if not exports.acquire(blocking=False):
            raise Unavailable("Too many exports are under way.")
        try:
            lines = export.lines(rows.export(query))
            first = next(lines)  # an absent database is an error now, not a broken file later
        except TooMany as error:
            exports.release()
            return web.problem(422, str(error))
        except BaseException:
            exports.release()
            raise
        response = Response(_chain(first, lines), mimetype="text/csv")
        response.headers["Content-Disposition"] = 'attachment; filename="questions.csv"'
        response.call_on_close(exports.release)
        return response

    @app.get("/api/pipeline", tags=[_DATA], summary="Topics, groups, services", responses=_replies(PipelineReport))
    def pipeline(query: NoQuery) -> Any:
        return web.json_response(report())

    @app.get("/api/overview", tags=[_DATA], summary="All of the overview in one", responses=_replies(Overview))
    def overview_as_json(query: NoQuery) -> Any:
        return web.json_response(overview())


def _add_figures(app: OpenAPI, settings: VizSettings, rows: Queries) -> None:
    threshold = settings.quality_threshold
    builders: dict[FigureName, Callable[[FigureQuery], Figure]] = {
        "score-ranges": lambda query: figures.score_ranges(
            rows.histogram(query.hours), query.theme, catalogue(query.language)
        ),
        "attempts": lambda query: figures.attempts(
            rows.statistics(query.hours), query.theme, catalogue(query.language)
        ),
        "score-histogram": lambda query: figures.score_histogram(
            rows.histogram(query.hours), query.theme, catalogue(query.language)
        ),
        "improvement": lambda query: figures.improvement(
            rows.improvement(query.hours), threshold, query.theme, catalogue(query.language)
        ),
        "score-timeseries": lambda query: figures.score_timeseries(
            rows.timeseries(query.hours), threshold, query.theme, catalogue(query.language)
        ),
    }

    @app.get("/api/figures/<string:name>", tags=[_FIGURES], summary="A Plotly figure", responses=_replies(Figure))
    def figure(path: FigurePath, query: FigureQuery) -> Any:
        return web.json_response(builders[path.name](query))


def _add_actions(app: OpenAPI, storage: Storage, max_streams: int) -> None:
    seats = threading.Semaphore(max_streams)

    @app.post(
        "/api/ask",
        tags=[_ACTIONS],
        summary="Ask the fleet",
        responses={**_HANDED_ON, **web.problems(400, 403, 413, 415, 422, 503)},
    )
    def ask(body: Ask) -> Any:
        return _handed_on(storage.ask(body.model_dump(exclude_none=True)))

    @app.post(
        "/api/failed/<string:question_id>/retry",
        tags=[_ACTIONS],
        summary="Ask a failed question again",
        responses={**_HANDED_ON, **web.problems(400, 403, 404, 415, 422, 503)},
    )
    def retry(path: QuestionPath, body: Nothing) -> Any:
        return _handed_on(storage.retry(path.question_id))

    @app.post(
        "/api/dead-letters/<string:letter_id>/replay",
        tags=[_ACTIONS],
        summary="Write a rejected message to its topic again",
        responses={**_HANDED_ON, **web.problems(400, 403, 404, 409, 415, 422, 503)},
    )
    def replay(path: LetterPath, body: Nothing) -> Any:
        return _handed_on(storage.replay(path.letter_id))

    @app.get(
        "/api/questions/<string:question_id>/events",
        tags=[_ACTIONS],
        summary="Be told how a question stands",
        responses={**_STREAM, "204": {"description": "Nothing is left to tell."}, **web.problems(404, 422, 503)},
    )
    def events(path: QuestionPath) -> Any:
        if not seats.acquire(blocking=False):
            raise Unavailable("Too many event streams are open.")
        try:
            stream = storage.events(path.question_id, request.headers.get("Last-Event-ID"))
        except BaseException:  # whatever it is, the seat must not be lost
            seats.release()
            raise
        if not isinstance(stream, EventStream):
            seats.release()
            return _handed_on(stream)
        response = Response(iter(stream), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
        response.call_on_close(stream.close)
        response.call_on_close(seats.release)
        return response


def _handed_on(reply: Reply) -> Response:
    return Response(reply.body, reply.status, content_type=reply.content_type)


def _chain(first: str, rest: Any) -> Any:
    yield first
    yield from rest


def _unknown(path: QuestionPath) -> Response:
    return web.problem(404, f"No question has the id {path.question_id}.")


def _replies(model: type[BaseModel]) -> Any:
    return {"200": model, **web.problems(422, 503)}
