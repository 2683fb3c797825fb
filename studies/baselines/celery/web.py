"""The API: `gunicorn --worker-class gthread --threads 64 studies.baselines.celery.web:app`."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask, request
from kombu.exceptions import OperationalError as BrokerUnavailable

from pipeline.question import question_id

from .tasks import start, store

app = Flask(__name__)


@app.post("/query")
def query() -> Any:
    """Returns the answer of a question if it is known; otherwise sends the question to the broker."""
    body = request.get_json()
    text = body.get("question_text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"title": "question_text: a text that is not empty"}, 422
    context, reference = body.get("question_context"), body.get("original_answer")
    asked = question_id(text, context)
    if known := store.find(asked):
        return {"status": "completed", "source": "cache", "question_id": asked, "result": known}
    now = datetime.now(UTC)
    question = {
        "question_id": asked,
        "question_text": text,
        "question_context": context,
        "original_answer": reference,
        "asked_at": now.isoformat(),
    }
    new, status = store.ask(question)
    if status == "completed":
        result = store.read(asked)
        return {"status": "completed", "source": "database", "question_id": asked, "result": result}
    if new:
        try:
            start(question)
        except BrokerUnavailable:
            store.forget(asked)
            return {"title": "the broker is unavailable"}, 503
    return {"status": "pending", "question_id": asked}, 202


@app.get("/health")
def health() -> Any:
    """Returns that the server runs."""
    return {"status": "ok"}
