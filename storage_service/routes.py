"""The routes of the API. They call the use cases in `Services`, which `app.py` composes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, get_args

from flask import Response, current_app, request
from flask_openapi3 import APIBlueprint, Tag

from pipeline.budget import Budget
from pipeline.errors import Unavailable
from pipeline.provider_status import ProviderStatus
from pipeline.web import json_response, problem, problems
from storage_service import events
from storage_service.correction import CannotScore, Conflict, Corrections
from storage_service.dead_letters import DeadLetters, Refused
from storage_service.questions import Questions
from storage_service.schemas import (
    Ask,
    DayBudget,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterPage,
    FailedFilter,
    FailedPage,
    Final,
    LetterPath,
    Pending,
    Providers,
    QuestionPath,
    Reference,
    Regenerate,
    State,
    Statistics,
    Status,
    Wait,
)

SERVICES = "services"
"""Key of the `Services` in the extensions of the application."""

_STREAM = {
    "description": "Server-sent events `pending`, `completed`, `failed`, each with the body of `/status/ID`; the "
    "stream ends after a final event.",
    "content": {
        "text/event-stream": {
            # The schema of one event: OpenAPI 3.1 cannot describe a stream, and tools expect it in this form.
            "schema": {
                "type": "object",
                "properties": {
                    "event": {"type": "string", "enum": list(get_args(Status))},
                    "data": {"type": "string", "contentMediaType": "application/json"},
                    "id": {"type": "string"},
                    "retry": {"type": "integer"},
                },
                "required": ["event", "data", "id"],
            },
            "example": 'id: 3f1a…-pending\nevent: pending\ndata: {"status": "pending", …}\n\n',
        }
    },
}


@dataclass(frozen=True)
class Services:
    """The use cases that the routes call.

    Attributes:
        questions: Use cases of questions.
        dead_letters: Use cases of rejected messages.
        corrections: Use cases of wrong references.
        budget: Returns a day's budget; raises `Unavailable` when it is unknown.
        providers: Returns the state of the model's providers; raises `Unavailable` when it is unknown.
    """

    questions: Questions
    dead_letters: DeadLetters
    corrections: Corrections
    budget: Callable[[date], Budget]
    providers: Callable[[], list[ProviderStatus]]


routes = APIBlueprint(
    "questions", __name__, abp_tags=[Tag(name="questions", description="Ask questions and get their state")]
)


@routes.post(
    "/query",
    responses={"200": Final, "202": Pending, **problems(400, 403, 413, 415, 421, 422, 503)},
)
def query(body: Ask, query: Wait) -> Any:
    """Ask a question"""
    reply = _services().questions.ask(body, query.wait)
    if isinstance(reply, Pending):
        return _accepted(reply)
    return json_response(reply)


@routes.get(
    "/status/<question_id>",
    responses={"200": State, **problems(404, 422, 503)},
)
def status(path: QuestionPath, query: Wait) -> Any:
    """Get the state of a question"""
    state = _services().questions.status(path.question_id, query.wait)
    return json_response(state) if state else _unknown(path)


@routes.get(
    "/events/<question_id>",
    description="Ends at once with 204 when `Last-Event-ID` is the id of the final event, so that browsers do not "
    "reconnect.",
    responses={"200": _STREAM, "204": {"description": "There are no further events."}, **problems(404, 422, 503)},
)
def stream(path: QuestionPath) -> Any:
    """Listen to the state of a question"""
    state = _services().questions.status(path.question_id)
    if state is None:
        return _unknown(path)
    if state.final and request.headers.get("Last-Event-ID") == events.event_id(state):
        return Response(status=204)
    # without this header nginx would buffer the events
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(_services().questions.events(state), mimetype="text/event-stream", headers=headers)


@routes.get(
    "/failed",
    responses={"200": FailedPage, **problems(422, 503)},
)
def failed(query: FailedFilter) -> Any:
    """Which questions failed?"""
    return json_response(_services().questions.failed(query))


@routes.post(
    "/failed/<question_id>/retry",
    description="It needs no body. A pending or completed question is not changed, so the request is idempotent.",
    responses={"200": State, "202": Pending, **problems(403, 404, 421, 422, 503)},
)
def retry(path: QuestionPath) -> Any:
    """Restart a failed question"""
    reply = _services().questions.retry(path.question_id)
    if isinstance(reply, Pending):
        return _accepted(reply)
    return json_response(reply) if reply else _unknown(path)


@routes.delete(
    "/questions/<question_id>",
    description="Deletes a question in any state, with its answer, attempts, failed calls, failure, dead letters and "
    "its data in Redis. Its messages in the topics no longer have an effect. When it is asked again, it is a new "
    "question. A second deletion gets 404. 503 also when Redis is unavailable, because it may still hold the answer.",
    responses={"204": {"description": "The question is deleted."}, **problems(403, 404, 421, 422, 503)},
)
def delete(path: QuestionPath) -> Any:
    """Delete a question"""
    return Response(status=204) if _services().questions.delete(path.question_id) else _unknown(path)


@routes.post(
    "/questions/<question_id>/regenerate",
    description="A completed or failed question becomes pending again, as if it had just been asked, with other "
    "references if the body has any. Its attempts are deleted. Its answer is no longer shown, and is replaced by the "
    "new one. 409 while the question is pending.",
    responses={"202": Pending, **problems(400, 403, 404, 409, 413, 415, 421, 422, 503)},
)
def regenerate(path: QuestionPath, body: Regenerate) -> Any:
    """Ask a question again"""
    reply = _services().questions.regenerate(path.question_id, body.all_references)
    if isinstance(reply, Pending):
        return _accepted(reply)
    return problem(409, f"Question {path.question_id} is pending already.") if reply else _unknown(path)


@routes.put(
    "/questions/<question_id>/reference",
    description="All attempts of a completed question are scored again against these references, which replace all "
    "earlier ones, and the best attempt is kept. The model is not called. 409 for a question that is not completed; "
    "422 also when the scorer refuses.",
    responses={"200": State, **problems(400, 403, 404, 409, 413, 415, 421, 422, 503)},
)
def replace_reference(path: QuestionPath, body: Reference) -> Any:
    """Replace the reference of an answer"""
    try:
        state = _services().corrections.replace_references(path.question_id, body.all_references)
    except Conflict as error:
        return problem(409, str(error))
    except CannotScore as error:
        return problem(422, str(error))
    return json_response(state) if state else _unknown(path)


@routes.get(
    "/dead-letters",
    description="Messages that could not be read or handled, with the start of their bytes.",
    responses={"200": DeadLetterPage, **problems(422, 503)},
)
def rejected(query: DeadLetterFilter) -> Any:
    """Which messages were rejected?"""
    return json_response(_services().dead_letters.page(query))


@routes.post(
    "/dead-letters/<letter_id>/replay",
    description="It needs no body. 202 when the message was written, 200 when it had been written before, so the "
    "request is idempotent. 409 when a replay is not possible: the message was cut, its source is unknown, or its "
    "question has ended.",
    responses={"200": DeadLetter, "202": DeadLetter, **problems(403, 404, 409, 421, 422, 503)},
)
def replay(path: LetterPath) -> Any:
    """Write a rejected message to its topic again"""
    try:
        found = _services().dead_letters.replay(path.letter_id)
    except Refused as error:
        return problem(409, str(error))
    if found is None:
        return problem(404, f"No dead letter has the id {path.letter_id}.")
    letter, written = found
    return json_response(letter, 202 if written else 200)


@routes.get("/stats", responses={"200": Statistics, **problems(422, 503)})
def stats() -> Any:
    """Statistics of the service"""
    try:
        known = _services().providers()
    except Unavailable:
        known = []
    return json_response(_services().questions.statistics(known))


@routes.get(
    "/budget",
    description="Budget of the day in UTC, as the llm-consumers count it. When it is used up, calls pause; nothing is "
    "lost.",
    responses={"200": DayBudget, **problems(422, 503)},
)
def day_budget() -> Any:
    """Today's budget and spending"""
    return json_response(_services().budget(datetime.now(UTC).date()))


@routes.get(
    "/providers",
    description="State of the providers, as the llm-consumers know it. While a provider is not `open`, its calls wait; "
    "nothing is lost.",
    responses={"200": Providers, **problems(422, 503)},
)
def providers() -> Any:
    """State of the model's providers"""
    return json_response(Providers(providers=_services().providers()))


def _services() -> Services:
    services: Services = current_app.extensions[SERVICES]
    return services


def _accepted(pending: Pending) -> Response:
    return json_response(pending, 202, Location=f"/status/{pending.question_id}")


def _unknown(path: QuestionPath) -> Response:
    return problem(404, f"No question has the id {path.question_id}.")
