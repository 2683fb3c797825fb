"""The API: `gunicorn --worker-class gthread --threads 64 studies.baselines.synchronous.web:app`."""

import math
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request

from pipeline.question import question_id
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
app = Flask(__name__)


@app.post("/query")
def query() -> Any:
    """Answers a question; the request waits for the answer."""
    body = request.get_json()
    text = body.get("question_text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"title": "question_text: a text that is not empty"}, 422
    context, reference = body.get("question_context"), body.get("original_answer")
    asked = question_id(text, context)
    if known := store.find(asked):
        return {"status": "completed", "source": "cache", "question_id": asked, "result": known}
    question = {
        "question_id": asked,
        "question_text": text,
        "question_context": context,
        "original_answer": reference,
        "asked_at": datetime.now(UTC).isoformat(),
    }
    try:
        result = answering.answer(question)
    except GaveUp as reason:
        headers = {} if reason.retry_after is None else {"Retry-After": str(math.ceil(reason.retry_after))}
        return {"title": str(reason)}, reason.status, headers
    return {"status": "completed", "source": "model", "question_id": asked, "result": result}


@app.get("/health")
def health() -> Any:
    """Returns that the server runs."""
    return {"status": "ok"}
