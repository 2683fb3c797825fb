"""Clients of the model and the scorer, and the classification of their errors."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import requests

from .settings import Settings

MAX_RETRIES = 3
OVERLOAD_SECONDS = (2, 4, 8)
QUOTA_SECONDS = 60
SCORER_SECONDS = 15
SYSTEM = "You answer questions. Answer in one to three short, complete sentences. Give facts, no introduction."
AGAIN = "That answer was not good enough. Answer the question again, better: more precise and more complete.\n\n"

_OVERLOAD = {429, 502, 503, 504, 529}


class EmptyAnswer(Exception):
    """The answer of the model is empty."""


class _Http:
    """Posts JSON with a session for each thread, because sessions are not thread-safe."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout = timeout_seconds
        self._local = threading.local()

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        answer = session.post(self._url, json=body, timeout=self._timeout)
        answer.raise_for_status()
        return dict(answer.json())


class Model:
    """Client of the model. It does not use OpenAI's SDK, which takes ten times the processor time."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.llm_model
        self._http = _Http(f"{settings.llm_base_url.rstrip('/')}/chat/completions", settings.llm_timeout)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Returns the question's next generation, without a score.

        Raises:
            requests.RequestException: There was no answer.
            EmptyAnswer: The answer is empty.
        """
        asked = "\n\n".join(filter(None, (question["question_text"], question["question_context"])))
        messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
        if question["best"]:
            messages += [
                {"role": "assistant", "content": question["best"]["llm_response"]},
                {"role": "user", "content": AGAIN + asked},
            ]
        attempt = len(question["attempts"]) + 1
        started = time.monotonic()
        sampling = {"temperature": 0.7 + 0.2 * (attempt - 1), "top_p": 0.9, "max_tokens": 128}
        completion = self._http.post({"model": self._name, "messages": messages, **sampling})
        answer = (completion["choices"][0]["message"]["content"] or "").strip()
        usage = completion.get("usage") or {}
        if not answer:
            raise EmptyAnswer("empty answer")
        return {
            "attempt": attempt,
            "llm_response": answer,
            "model": completion["model"],
            "llm_latency_ms": round((time.monotonic() - started) * 1000),
            "prompt_tokens": usage.get("prompt_tokens", 0),
            "completion_tokens": usage.get("completion_tokens", 0),
            "generated_at": datetime.now(UTC).isoformat(),
        }


def wait_seconds(error: Exception, retries: int) -> float | None:
    """Returns the seconds until the retry, or None if a retry would fail, too.

    Args:
        error: Error of the call.
        retries: How often this generation was already retried.
    """
    if isinstance(error, EmptyAnswer | requests.ConnectionError | requests.Timeout):
        return OVERLOAD_SECONDS[min(retries, MAX_RETRIES - 1)]
    if not isinstance(error, requests.HTTPError):
        return None
    status = error.response.status_code
    asked = retry_after_seconds(error)
    quota = "quota" in error.response.text.lower() or asked >= 30
    if status == 402 or (status == 429 and quota):
        return max(QUOTA_SECONDS, asked)
    if status in _OVERLOAD:
        return max(OVERLOAD_SECONDS[min(retries, MAX_RETRIES - 1)], asked)
    return None


def retry_after_seconds(error: Exception) -> float:
    """Returns the provider's `Retry-After` in seconds; 0 without it, or if it is a date."""
    if not isinstance(error, requests.HTTPError):
        return 0.0
    try:
        return float(error.response.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0


class Scorer:
    """Client of the scorer."""

    def __init__(self, settings: Settings) -> None:
        self._http = _Http(f"{settings.scorer_url}/score", SCORER_SECONDS)

    def score(self, candidate: str, reference: str) -> dict[str, Any]:
        """Returns the score of an answer.

        Raises:
            requests.RequestException: The scorer did not reply with a score.
        """
        return self._http.post({"candidate": candidate, "reference": reference})
