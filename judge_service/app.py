"""The routes."""

from math import ceil
from typing import Any

import structlog
from flask import Response
from flask_openapi3 import OpenAPI, Tag

from judge_service.case import Case
from judge_service.judge import LONG_RETRY_SECONDS, Judge
from judge_service.notes import Notes
from judge_service.schemas import MAX_BODY_BYTES, Submission
from pipeline import web
from pipeline.errors import Unavailable
from pipeline.messages import Judgement
from pipeline.web import BACKGROUND, Check, json_response, problem, problems

DESCRIPTION = """\
Asks a model whether an answer is right, given correct answers of people.

`probability` says how likely the answer is right, `problem` what is probably wrong with it: `wrong` (something that
matters is false), `incomplete` (the main point is missing) or `off_topic`. If the judge will never judge this answer
(a content filter, or too long a text), `probability` is null and `problem` is `refused`.

503 with `Retry-After` says neither that the answer is right nor that it is wrong: the caller waits and asks again.
"""

OFF = "there is no judge: JUDGE_MODEL is not set"
MAX_RETRY_AFTER_SECONDS = 60
"""Longest wait until the caller asks again, so that changed settings have an effect soon. It is cheap, because no call
is made while the limiter or the budget admits none."""

_JUDGEMENTS = Tag(name="judgements", description="Judgements of answers")

log = structlog.get_logger()


def create_app(judge: Judge | None, notes: Notes, redis: Check) -> OpenAPI:
    """Creates the application.

    Args:
        judge: The judge; None: there is none. Its client runs in threads, so it must be made after a fork.
        notes: Notes in `/health`.
        redis: Raises while Redis is unavailable; the service works without it.
    """
    if judge is None:
        notes.set("model", OFF)
    app = web.create_api(
        "Judge", DESCRIPTION, {}, max_body_bytes=MAX_BODY_BYTES, optional={"redis": redis}, notes=notes.all
    )
    app.register_error_handler(Unavailable, _unavailable)
    if judge:
        app.extensions[BACKGROUND] = judge

    @app.post(
        "/judge",
        tags=[_JUDGEMENTS],
        summary="Judge an answer",
        description="422 names the invalid field. 503 with `Retry-After`: there is no judgement now.",
        responses={200: Judgement, **problems(400, 413, 415, 422, 503)},
    )
    def judge_answer(body: Submission) -> Any:
        if judge is None:
            raise Unavailable(OFF, LONG_RETRY_SECONDS, already_logged=True)
        case = Case(body.question_text, body.question_context, tuple(body.references), body.answer)
        return json_response(judge.judge(case, body.question_id))

    return app


def _unavailable(error: Unavailable) -> Response:
    if not error.already_logged:
        log.warning("could not judge an answer", error=str(error))
    wait = min(MAX_RETRY_AFTER_SECONDS, max(1, ceil(error.wait_seconds or 0)))
    return problem(503, str(error), Retry_After=str(wait))
