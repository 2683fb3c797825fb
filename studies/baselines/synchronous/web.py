"""The API: `gunicorn --worker-class gthread --threads 64 studies.baselines.synchronous.web:app`."""

import math
from typing import Any

from studies.baselines.celery.api import application
from studies.baselines.celery.providers import Model, Scorer
from studies.baselines.celery.store import Store

from .answering import Answering, GaveUp
from .settings import SyncSettings

settings = SyncSettings()
# Clients connect at their first use, in the worker.
store = Store(settings)
answering = Answering(
    store,
    Model(settings),
    Scorer(settings),
    concurrency=int(settings.llm_concurrency),
    budget_seconds=settings.budget,
    threshold=settings.threshold,
    max_attempts=int(settings.max_attempts),
)


def answer(question: dict[str, Any]) -> Any:
    """Answers a question; the request waits for the answer."""
    try:
        result = answering.answer(question)
    except GaveUp as reason:
        headers = {} if reason.retry_after is None else {"Retry-After": str(math.ceil(reason.retry_after))}
        return {"title": str(reason)}, reason.status, headers
    return {"status": "completed", "source": "model", "question_id": question["question_id"], "result": result}


app = application(store, answer)
