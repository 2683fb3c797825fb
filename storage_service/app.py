"""The routes, and the one place where the service is put together."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, get_args

from flask import Response, request
from flask_openapi3 import OpenAPI, Tag

from pipeline import budget, postgres, provider
from pipeline.budget import Budget
from pipeline.cache import Cache
from pipeline.errors import Unavailable
from pipeline.origins import OriginSettings
from pipeline.producer import Producer
from pipeline.provider import ProviderStatus
from pipeline.settings import load
from pipeline.volatile import Volatile
from pipeline.web import BACKGROUND, Check, create_api, json_response, problem, problems, refuse_strangers
from storage_service import events
from storage_service.correction import CannotScore, Conflict, Corrections, ScorerClient
from storage_service.dead_letters import DeadLetters, Refused
from storage_service.events import Bells, Listener, Watch
from storage_service.ledger import Ledger
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
from storage_service.settings import StorageSettings
from storage_service.store import Store

SERVICE = "storage-service"
GIVE_UP_SECONDS = 10
"""After this time librdkafka drops a question that no broker took; storage-writer publishes it later."""

_TAG = Tag(name="questions", description="Ask, and look how a question stands")
_DESCRIPTION = """Asks a language model and keeps good answers.

Known answers come at once, from the cache or the database. A new question is recorded and published; its answer comes
later: poll `/status/ID`, wait with `?wait=`, or listen to `/events/ID`. Questions are the same when their text and
context are, but for case, width and white space. One that failed starts anew when it is asked again, or by
`/failed/ID/retry`. A wrong answer is asked for anew by `/questions/ID/regenerate`, a wrong reference replaced by
`/questions/ID/reference`, and a question is deleted with all that hangs on it by `DELETE /questions/ID`.

There is no login. So only tools and pages of this service may change something, other pages get 403; and under a name
that somebody else may have (`ALLOWED_HOSTS`) every request is 421.
"""
_STREAM = {
    "description": "Server-sent events `pending`, `completed`, `failed`, each with the body of `/status/ID`; the "
    "stream ends after a final event.",
    "content": {
        "text/event-stream": {
            # Of one event: OpenAPI 3.1 has no way to say so, its tools take it like that.
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


def create_api_of(
    questions: Questions,
    checks: Mapping[str, Check],
    optional: Mapping[str, Check],
    budget_of: Callable[[date], Budget],
    providers_of: Callable[[], list[ProviderStatus]],
    dead_letters: DeadLetters,
    corrections: Corrections,
    allowed: OriginSettings,
) -> OpenAPI:
    """Makes the application around the use cases.

    Args:
        questions: The use cases.
        checks: Dependencies without which the service is not ready, by name.
        optional: Dependencies without which it is only slower, by name.
        budget_of: Looks up a day's budget; raises `Unavailable` when nobody can tell.
        providers_of: Looks up how the providers of the model stand; raises it likewise.
        dead_letters: The use cases of rejected messages.
        corrections: The use case of references that were wrong.
        allowed: Under which names browsers may reach the service, and which other pages may change something.
    """
    app = create_api(SERVICE, _DESCRIPTION, checks, optional=optional)
    refuse_strangers(app, allowed)

    @app.post(
        "/query",
        tags=[_TAG],
        summary="Ask a question",
        responses={"200": Final, "202": Pending, **problems(400, 403, 413, 415, 421, 422, 503)},
    )
    def query(body: Ask, query: Wait) -> Any:
        reply = questions.ask(body, query.wait)
        if isinstance(reply, Pending):
            return _accepted(reply)
        return json_response(reply)

    @app.get(
        "/status/<question_id>",
        tags=[_TAG],
        summary="How does a question stand?",
        responses={"200": State, **problems(404, 422, 503)},
    )
    def status(path: QuestionPath, query: Wait) -> Any:
        state = questions.status(path.question_id, query.wait)
        return json_response(state) if state else _unknown(path)

    @app.get(
        "/events/<question_id>",
        tags=[_TAG],
        summary="Be told how a question stands",
        description="Ends at once with 204 when `Last-Event-ID` names the final event: that keeps browsers from "
        "coming back.",
        responses={"200": _STREAM, "204": {"description": "Nothing is left to tell."}, **problems(404, 422, 503)},
    )
    def stream(path: QuestionPath) -> Any:
        state = questions.status(path.question_id)
        if state is None:
            return _unknown(path)
        if state.final and request.headers.get("Last-Event-ID") == events.event_id(state):
            return Response(status=204)
        # nginx would hold events back otherwise
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return Response(questions.events(state), mimetype="text/event-stream", headers=headers)

    @app.get(
        "/failed",
        tags=[_TAG],
        summary="Which questions failed?",
        responses={"200": FailedPage, **problems(422, 503)},
    )
    def failed(query: FailedFilter) -> Any:
        return json_response(questions.failed(query))

    @app.post(
        "/failed/<question_id>/retry",
        tags=[_TAG],
        summary="Start a failed question anew",
        description="It takes no body. One that is pending or completed is left as it is: to retry twice is to retry "
        "once.",
        responses={"200": State, "202": Pending, **problems(403, 404, 421, 422, 503)},
    )
    def retry(path: QuestionPath) -> Any:
        reply = questions.retry(path.question_id)
        if isinstance(reply, Pending):
            return _accepted(reply)
        return json_response(reply) if reply else _unknown(path)

    @app.delete(
        "/questions/<question_id>",
        tags=[_TAG],
        summary="Delete a question",
        description="With its answer, attempts, failed calls, failure and dead letters, whatever its state, and what "
        "Redis knows of it. Messages of it that are on their way change nothing any more. Asked again, it is a new "
        "question. Deleted again, it is 404. 503 when Redis is away, too: it may still know the answer.",
        responses={"204": {"description": "The question is gone."}, **problems(403, 404, 421, 422, 503)},
    )
    def delete(path: QuestionPath) -> Any:
        return Response(status=204) if questions.delete(path.question_id) else _unknown(path)

    @app.post(
        "/questions/<question_id>/regenerate",
        tags=[_TAG],
        summary="Ask a question anew",
        description="One that is completed or failed is pending again, as if it had just been asked, with another "
        "reference if the body brings one. Its attempts are deleted; its answer is shown no longer, and replaced by "
        "the new one. 409 while it is pending.",
        responses={"202": Pending, **problems(400, 403, 404, 409, 413, 415, 421, 422, 503)},
    )
    def regenerate(path: QuestionPath, body: Regenerate) -> Any:
        reply = questions.regenerate(path.question_id, body.original_answer)
        if isinstance(reply, Pending):
            return _accepted(reply)
        return problem(409, f"Question {path.question_id} is pending already.") if reply else _unknown(path)

    @app.put(
        "/questions/<question_id>/reference",
        tags=[_TAG],
        summary="Replace the reference of an answer",
        description="All attempts of a completed question are scored again, against this reference, and the best one "
        "is kept. The model is not called. 409 for a question that is not completed; 422 also when the scorer refuses.",
        responses={"200": State, **problems(400, 403, 404, 409, 413, 415, 421, 422, 503)},
    )
    def replace_reference(path: QuestionPath, body: Reference) -> Any:
        try:
            state = corrections.replace_reference(path.question_id, body.original_answer)
        except Conflict as error:
            return problem(409, str(error))
        except CannotScore as error:
            return problem(422, str(error))
        return json_response(state) if state else _unknown(path)

    @app.get(
        "/dead-letters",
        tags=[_TAG],
        summary="Which messages were rejected?",
        description="Those that could not be read or handled, with the start of their bytes.",
        responses={"200": DeadLetterPage, **problems(422, 503)},
    )
    def rejected(query: DeadLetterFilter) -> Any:
        return json_response(dead_letters.page(query))

    @app.post(
        "/dead-letters/<letter_id>/replay",
        tags=[_TAG],
        summary="Write a rejected message to its topic again",
        description="It takes no body. 202 when the message was written, 200 when that was done before: to replay "
        "twice is to replay once. 409 where it cannot be done: the message was cut, its source is not known, or its "
        "question has ended.",
        responses={"200": DeadLetter, "202": DeadLetter, **problems(403, 404, 409, 421, 422, 503)},
    )
    def replay(path: LetterPath) -> Any:
        try:
            found = dead_letters.replay(path.letter_id)
        except Refused as error:
            return problem(409, str(error))
        if found is None:
            return problem(404, f"No dead letter has the id {path.letter_id}.")
        letter, written = found
        return json_response(letter, 202 if written else 200)

    @app.get(
        "/stats", tags=[_TAG], summary="The service in figures", responses={"200": Statistics, **problems(422, 503)}
    )
    def stats() -> Any:
        try:
            known = providers_of()
        except Unavailable:
            known = []
        return json_response(questions.statistics(known))

    @app.get(
        "/budget",
        tags=[_TAG],
        summary="What do calls of the model take today?",
        description="Of the day in UTC, as the llm-consumers count it. Used up, calls pause; nothing is lost.",
        responses={"200": DayBudget, **problems(422, 503)},
    )
    def day_budget() -> Any:
        return json_response(budget_of(datetime.now(UTC).date()))

    @app.get(
        "/providers",
        tags=[_TAG],
        summary="How do the providers of the model stand?",
        description="As the llm-consumers know it. While one is not `open`, its calls wait; nothing is lost.",
        responses={"200": Providers, **problems(422, 503)},
    )
    def providers() -> Any:
        return json_response(Providers(providers=providers_of()))

    return app


def _accepted(pending: Pending) -> Response:
    return json_response(pending, 202, Location=f"/status/{pending.question_id}")


def _unknown(path: QuestionPath) -> Response:
    return problem(404, f"No question has the id {path.question_id}.")


def _budget(redis: Volatile, day: date) -> Budget:
    def look_up(client: Any) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = client.hgetall(budget.key(day))
        return fields

    fields = redis.attempt(look_up)
    if fields is None:
        raise Unavailable("Redis is away; the llm-consumers go on counting by themselves")
    return budget.read(day, fields)


def _providers(redis: Volatile, now: datetime) -> list[ProviderStatus]:
    def look_up(client: Any) -> list[bytes | None]:
        ids = sorted(each.decode() for each in client.smembers(provider.INDEX))
        stored: list[bytes | None] = client.mget([provider.status_key(each) for each in ids]) if ids else []
        return stored

    stored = redis.attempt(look_up)
    if stored is None:
        raise Unavailable("Redis does not answer; the llm-consumers go on by what each of them knows")
    return provider.read_statuses(stored, now)


class Background:
    """The threads beside the requests, and the order in which everything ends."""

    def __init__(self, bells: Bells, listener: Listener, ledger: Ledger, producer: Producer) -> None:
        self._bells = bells
        self._ledger = ledger
        self._producer = producer
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, args=(self._stop,), name=name, daemon=True)
            for name, run in (("listener", listener.run), ("ledger", ledger.run))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        """Answers those who wait, for the process is about to stop."""
        self._bells.close()

    def close(self) -> None:
        """Ends the threads and writes what is left to write; call it when no request is served any longer."""
        self.release()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._producer.close()  # brings the last acknowledgements to the ledger
        self._ledger.write()


def create_app(settings: StorageSettings | None = None) -> OpenAPI:
    """Puts the service together; gunicorn calls this in its worker, after the fork.

    Args:
        settings: From the environment when None.

    Returns:
        The application, with what runs beside its requests in `extensions["background"]`; see `pipeline.server`.
    """
    settings = settings or load(StorageSettings)
    pool = postgres.engine(settings, SERVICE)
    cache = Cache(settings, SERVICE)
    redis = Volatile(settings, SERVICE)
    producer = Producer(settings, SERVICE, GIVE_UP_SECONDS)
    store = Store(pool)
    bells = Bells(settings.max_waiting)
    ledger = Ledger(store)
    app = create_api_of(
        Questions(store, cache, producer, ledger, Watch(store.find, bells), settings.outbox_limit),
        checks={"postgres": store.ping, "kafka": producer.ping},
        optional={"redis": cache.ping},
        budget_of=lambda day: _budget(redis, day),
        providers_of=lambda: _providers(redis, datetime.now(UTC)),
        dead_letters=DeadLetters(store, producer),
        corrections=Corrections(store, cache, ScorerClient(settings.scorer_url), settings.quality_threshold),
        allowed=settings,
    )
    app.extensions[BACKGROUND] = Background(bells, Listener(pool, bells), ledger, producer)
    return app
