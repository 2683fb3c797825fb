"""The JSON routes: data, charts, and requests that are forwarded to storage-service."""

from collections.abc import Callable
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel

from pipeline import web
from pipeline.errors import Unavailable
from viz_service import export, figures
from viz_service.queries import TooManyQuestions
from viz_service.schemas import (
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
from viz_service.services import current
from viz_service.storage import EventStream, Reply
from viz_service.texts import catalogue

_DATA = Tag(name="data", description="The data of the pages, as JSON")
_FIGURES = Tag(name="figures", description="The charts, for Plotly")
_ACTIONS = Tag(name="actions", description="Forwarded to storage-service")
_CSV: web.Responses = {
    "200": {"description": "RFC 4180, UTF-8, streamed.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}
_STREAM: web.Responses = {
    "200": {"description": "See storage-service.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
_FORWARDED: web.Responses = {"200": {"description": "See storage-service."}, "202": {"description": "On its way."}}

routes = APIBlueprint("api", __name__)


def _replies(model: type[BaseModel]) -> Any:
    return {"200": model, **web.problems(422, 503)}


@routes.get("/api/statistics", tags=[_DATA], responses=_replies(Statistics))
def statistics(query: SpanQuery) -> Any:
    """Key figures"""
    return web.json_response(current().queries.statistics(query.hours))


@routes.get("/api/scores/timeseries", tags=[_DATA], responses=_replies(Timeseries))
def timeseries(query: TimeseriesQuery) -> Any:
    """Mean score over time"""
    return web.json_response(current().queries.timeseries(query.hours))


@routes.get("/api/scores/histogram", tags=[_DATA], responses=_replies(Histogram))
def histogram(query: SpanQuery) -> Any:
    """Answers by score"""
    return web.json_response(current().queries.histogram(query.hours))


@routes.get(
    "/api/quality/improvement",
    tags=[_DATA],
    responses=_replies(Improvement),
)
def improvement(query: SpanQuery) -> Any:
    """Scores by attempts; first and kept answers of the same questions"""
    return web.json_response(current().queries.improvement(query.hours))


@routes.get("/api/questions/top", tags=[_DATA], responses=_replies(TopQuestions))
def top(query: TopQuery) -> Any:
    """Most asked, best and worst"""
    return web.json_response(current().queries.top(query.limit))


@routes.get("/api/what-if", tags=[_DATA], responses=_replies(WhatIf))
def what_if(query: WhatIfQuery) -> Any:
    """Effect of another threshold on the stored attempts"""
    return web.json_response(current().queries.what_if(query.threshold))


@routes.get("/api/questions", tags=[_DATA], responses=_replies(Questions))
def questions(query: QuestionsQuery) -> Any:
    """List of questions: filter, sort, page"""
    return web.json_response(current().queries.questions(query))


@routes.get(
    "/api/questions/<string:question_id>",
    tags=[_DATA],
    responses={"200": QuestionDetail, **web.problems(404, 422, 503)},
)
def question(path: QuestionPath) -> Any:
    """Details of a question"""
    found = current().queries.question(path.question_id)
    return web.json_response(found) if found else _unknown(path)


@routes.get("/api/dead-letters", tags=[_DATA], responses=_replies(DeadLetters))
def dead_letters(query: DeadLettersQuery) -> Any:
    """Rejected messages"""
    return web.json_response(current().queries.dead_letters(query))


@routes.get("/questions.csv", tags=[_DATA], responses={**_CSV, **web.problems(422, 503)})
def questions_csv(query: Filter) -> Any:
    """Export as CSV"""
    if not current().exports.acquire(blocking=False):
        raise Unavailable("Too many exports are under way.")
    try:
        lines = export.lines(current().queries.export(query))
        first = next(lines)  # an unavailable database is an error now, not a broken file later
    except TooManyQuestions as error:
        current().exports.release()
        return web.problem(422, str(error))
    except BaseException:
        current().exports.release()
        raise
    response = Response(_chain(first, lines), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="questions.csv"'
    response.call_on_close(current().exports.release)
    return response


@routes.get("/api/pipeline", tags=[_DATA], responses=_replies(PipelineReport))
def pipeline(query: NoQuery) -> Any:
    """Topics, groups, services"""
    return web.json_response(current().report())


@routes.get("/api/overview", tags=[_DATA], responses=_replies(Overview))
def overview_as_json(query: NoQuery) -> Any:
    """The whole overview in one document"""
    return web.json_response(current().overview())


def _score_ranges(query: FigureQuery) -> Figure:
    rows = current().queries.histogram(query.hours)
    return figures.score_ranges(rows, query.theme, catalogue(query.language))


def _attempts(query: FigureQuery) -> Figure:
    rows = current().queries.statistics(query.hours)
    return figures.attempts(rows, query.theme, catalogue(query.language))


def _score_histogram(query: FigureQuery) -> Figure:
    rows = current().queries.histogram(query.hours)
    return figures.score_histogram(rows, query.theme, catalogue(query.language))


def _improvement(query: FigureQuery) -> Figure:
    rows, threshold = current().queries.improvement(query.hours), current().settings.quality_threshold
    return figures.improvement(rows, threshold, query.theme, catalogue(query.language))


def _score_timeseries(query: FigureQuery) -> Figure:
    rows, threshold = current().queries.timeseries(query.hours), current().settings.quality_threshold
    return figures.score_timeseries(rows, threshold, query.theme, catalogue(query.language))


_FIGURES_BY_NAME: dict[FigureName, Callable[[FigureQuery], Figure]] = {
    "score-ranges": _score_ranges,
    "attempts": _attempts,
    "score-histogram": _score_histogram,
    "improvement": _improvement,
    "score-timeseries": _score_timeseries,
}


@routes.get("/api/figures/<string:name>", tags=[_FIGURES], responses=_replies(Figure))
def figure(path: FigurePath, query: FigureQuery) -> Any:
    """A Plotly figure"""
    return web.json_response(_FIGURES_BY_NAME[path.name](query))


@routes.post(
    "/api/ask",
    tags=[_ACTIONS],
    responses={**_FORWARDED, **web.problems(400, 403, 413, 415, 422, 503)},
)
def ask(body: Ask) -> Any:
    """Ask the fleet"""
    return _forwarded(current().storage.ask(body.model_dump(exclude_none=True)))


@routes.post(
    "/api/failed/<string:question_id>/retry",
    tags=[_ACTIONS],
    responses={**_FORWARDED, **web.problems(400, 403, 404, 415, 422, 503)},
)
def retry(path: QuestionPath, body: Nothing) -> Any:
    """Ask a failed question again"""
    return _forwarded(current().storage.retry(path.question_id))


@routes.post(
    "/api/dead-letters/<string:letter_id>/replay",
    tags=[_ACTIONS],
    responses={**_FORWARDED, **web.problems(400, 403, 404, 409, 415, 422, 503)},
)
def replay(path: LetterPath, body: Nothing) -> Any:
    """Write a rejected message to its topic again"""
    return _forwarded(current().storage.replay(path.letter_id))


@routes.get(
    "/api/questions/<string:question_id>/events",
    tags=[_ACTIONS],
    responses={
        **_STREAM,
        "204": {"description": "The question is final: there are no further events."},
        **web.problems(404, 422, 503),
    },
)
def events(path: QuestionPath) -> Any:
    """Follow the state of a question"""
    if not current().streams.acquire(blocking=False):
        raise Unavailable("Too many event streams are open.")
    try:
        stream = current().storage.events(path.question_id, request.headers.get("Last-Event-ID"))
    except BaseException:  # the permit must be returned after any error
        current().streams.release()
        raise
    if not isinstance(stream, EventStream):
        current().streams.release()
        return _forwarded(stream)
    response = Response(iter(stream), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(stream.close)
    response.call_on_close(current().streams.release)
    return response


def _forwarded(reply: Reply) -> Response:
    return Response(reply.body, reply.status, content_type=reply.content_type)


def _chain(first: str, rest: Any) -> Any:
    yield first
    yield from rest


def _unknown(path: QuestionPath) -> Response:
    return web.problem(404, f"No question has the id {path.question_id}.")
