"""The API of the baselines: known answers come from the cache."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request

from pipeline.question import question_id

from .store import Store


def application(store: Store, answer: Callable[[dict[str, Any]], Any]) -> Flask:
    """Creates the API.

    Args:
        store: Has the known answers.
        answer: Returns the reply to a question that is not in the cache.
    """
    app = Flask(__name__)

    @app.post("/query")
    def query() -> Any:
        body = request.get_json()
        text = body.get("question_text") if isinstance(body, dict) else None
        if not isinstance(text, str) or not text.strip():
            return {"title": "question_text: a text that is not empty"}, 422
        context = body.get("question_context")
        asked = question_id(text, context)
        if known := store.find(asked):
            return {"status": "completed", "source": "cache", "question_id": asked, "result": known}
        question = {
            "question_id": asked,
            "question_text": text,
            "question_context": context,
            "original_answer": body.get("original_answer"),
            "asked_at": datetime.now(UTC).isoformat(),
        }
        return answer(question)

    @app.get("/health")
    def health() -> Any:
        return {"status": "ok"}

    return app
