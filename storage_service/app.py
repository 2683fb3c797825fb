"""Composes the service: clients, use cases, routes, and background threads."""

import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from flask_openapi3 import OpenAPI

from pipeline import budget, postgres, provider_status
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.budget import Budget
from pipeline.cache import Cache
from pipeline.errors import Unavailable
from pipeline.origins import OriginSettings
from pipeline.producer import Producer
from pipeline.provider_status import ProviderStatus
from pipeline.settings import load
from pipeline.web import BACKGROUND, Check, create_api, refuse_foreign_requests
from storage_service.correction import Corrections, ScorerClient
from storage_service.dead_letters import DeadLetters
from storage_service.events import Listener, QuestionWaiter, Waiters
from storage_service.questions import Questions
from storage_service.routes import SERVICES, Services, routes
from storage_service.settings import StorageSettings
from storage_service.store import Store
from storage_service.write_behind import WriteBehind

SERVICE = "storage-service"
GIVE_UP_SECONDS = 10
"""Time after which librdkafka drops a question that no broker has acknowledged; storage-writer publishes it later."""

_DESCRIPTION = """Asks a language model and keeps good answers.

Known answers are returned at once, from the cache or the database. A new question is recorded and published. To get its
answer later, poll `/status/ID`, wait with `?wait=`, or listen to `/events/ID`. Questions are the same when their text
and context are equal, except for case, width and white space. A failed question is restarted when it is asked again, or
by `/failed/ID/retry`. `/questions/ID/regenerate` asks a question again, `/questions/ID/reference` replaces a wrong
reference, and `DELETE /questions/ID` deletes a question with all its data.

There is no login. So only tools and pages of this service may make changes; other pages get 403. Requests for a host
name that is not allowed (`ALLOWED_HOSTS`) get 421.
"""


def create_api_of(
    services: Services, checks: Mapping[str, Check], optional: Mapping[str, Check], allowed: OriginSettings
) -> OpenAPI:
    """Makes the application around the use cases.

    Args:
        services: What the routes call.
        checks: Dependencies without which the service is not ready, by name.
        optional: Dependencies without which it is only slower, by name.
        allowed: Names by which browsers may reach the service, and other origins that may make changes.
    """
    app = create_api(SERVICE, _DESCRIPTION, checks, optional=optional)
    refuse_foreign_requests(app, allowed)
    app.extensions[SERVICES] = services
    app.register_api(routes)
    return app


def _budget(redis: BestEffortRedis, day: date) -> Budget:
    def look_up(client: Any) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = client.hgetall(budget.key(day))
        return fields

    fields = redis.attempt(look_up)
    if fields is None:
        raise Unavailable("Redis is unavailable; the llm-consumers continue with their own counts")
    return budget.read(day, fields)


def _providers(redis: BestEffortRedis, now: datetime) -> list[ProviderStatus]:
    def look_up(client: Any) -> list[bytes | None]:
        ids = sorted(each.decode() for each in client.smembers(provider_status.INDEX))
        stored: list[bytes | None] = client.mget([provider_status.status_key(each) for each in ids]) if ids else []
        return stored

    stored = redis.attempt(look_up)
    if stored is None:
        raise Unavailable("Redis does not answer; the llm-consumers continue with their own copies")
    return provider_status.read_statuses(stored, now)


class Background:
    """The background threads, and the order in which the parts of the service are closed."""

    def __init__(self, waiters: Waiters, listener: Listener, write_behind: WriteBehind, producer: Producer) -> None:
        self._waiters = waiters
        self._write_behind = write_behind
        self._producer = producer
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, args=(self._stop,), name=name, daemon=True)
            for name, run in (("listener", listener.run), ("write-behind", write_behind.run))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        """Ends waiting requests, because the process is about to stop."""
        self._waiters.close()

    def close(self) -> None:
        """Ends the threads and writes the last updates; call it after the last request."""
        self.release()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._producer.close()  # waits for acknowledgements, which are written below
        self._write_behind.write()


def create_app(settings: StorageSettings | None = None) -> OpenAPI:
    """Composes the service; gunicorn calls this in its worker, after the fork.

    Args:
        settings: Settings of the service; None: read from the environment.

    Returns:
        The application; `extensions["background"]` contains its background threads (see `pipeline.server`).
    """
    settings = settings or load(StorageSettings)
    pool = postgres.engine(settings, SERVICE)
    cache = Cache(settings, SERVICE)
    redis = BestEffortRedis(settings, SERVICE)
    producer = Producer(settings, SERVICE, GIVE_UP_SECONDS)
    store = Store(pool)
    waiters = Waiters(settings.max_waiting)
    write_behind = WriteBehind(store)
    app = create_api_of(
        Services(
            Questions(store, cache, producer, write_behind, QuestionWaiter(store.find, waiters), settings.outbox_limit),
            DeadLetters(store, producer),
            Corrections(store, cache, ScorerClient(settings.scorer_url), settings.quality_threshold),
            budget=lambda day: _budget(redis, day),
            providers=lambda: _providers(redis, datetime.now(UTC)),
        ),
        checks={"postgres": store.ping, "kafka": producer.ping},
        optional={"redis": cache.ping},
        allowed=settings,
    )
    app.extensions[BACKGROUND] = Background(waiters, Listener(pool, waiters), write_behind, producer)
    return app
