"""The API: `gunicorn --worker-class gthread --threads 64 studies.baselines.celery.web:app`."""

from typing import Any

from kombu.exceptions import OperationalError as BrokerUnavailable

from .api import application
from .tasks import start, store


def answer(question: dict[str, Any]) -> Any:
    """Returns the stored answer of a question; sends a new question to the broker."""
    asked = question["question_id"]
    new, status = store.ask(question)
    if status == "completed":
        return {"status": "completed", "source": "database", "question_id": asked, "result": store.read(asked)}
    if new:
        try:
            start(question)
        except BrokerUnavailable:
            store.forget(asked)
            return {"title": "the broker is unavailable"}, 503
    return {"status": "pending", "question_id": asked}, 202


app = application(store, answer)
