"""The calls of the model and the scorer, and what their errors mean."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import openai
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
    """The model answered with nothing."""


class Model:
    """Asks the model. One client for each process: it is safe to use from several threads and keeps connections."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.llm_model
        self._client = openai.OpenAI(
            base_url=settings.llm_base_url, api_key="not-needed", timeout=settings.llm_timeout, max_retries=0
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Returns the question's next generation, without a score.

        Raises:
            openai.OpenAIError: There was no answer.
            EmptyAnswer: It said nothing.
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
        completion = self._client.chat.completions.create(
            model=self._name, messages=messages, temperature=0.7 + 0.2 * (attempt - 1), top_p=0.9, max_tokens=128
        )
        answer = (completion.choices[0].message.content or "").strip()
        if not answer:
            raise EmptyAnswer("empty answer")
        return {
            "attempt": attempt,
            "llm_response": answer,
            "model": completion.model,
            "llm_latency_ms": round((time.monotonic() - started) * 1000),
            "prompt_tokens": completion.usage.prompt_tokens if completion.usage else 0,
            "completion_tokens": completion.usage.completion_tokens if completion.usage else 0,
            "generated_at": datetime.now(UTC).isoformat(),
        }


def wait_seconds(error: Exception, retries: int) -> float | None:
    """Returns after how many seconds to ask again, or None for an error that will not get better.

    Args:
        error: Of the call.
        retries: How often this generation was retried already.
    """
    if isinstance(error, EmptyAnswer | openai.APIConnectionError):  # includes time-outs
        return OVERLOAD_SECONDS[min(retries, MAX_RETRIES - 1)]
    if not isinstance(error, openai.APIStatusError):
        return None
    asked = retry_after_seconds(error)
    quota = "quota" in error.response.text.lower() or asked >= 30
    if error.status_code == 402 or (error.status_code == 429 and quota):
        return max(QUOTA_SECONDS, asked)
    if error.status_code in _OVERLOAD:
        return max(OVERLOAD_SECONDS[min(retries, MAX_RETRIES - 1)], asked)
    return None


def retry_after_seconds(error: Exception) -> float:
    """Returns how long the provider asked to be left alone; 0 if it did not say, or gave a date."""
    if not isinstance(error, openai.APIStatusError):
        return 0.0
    try:
        return float(error.response.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0


class Scorer:
    """Asks the scorer, with one connection for each thread: a session is not safe to share."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.scorer_url}/score"
        self._local = threading.local()

    def score(self, candidate: str, reference: str) -> dict[str, Any]:
        """Returns the score of an answer.

        Raises:
            requests.RequestException: There is none now.
        """
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        answer = session.post(self._url, json={"candidate": candidate, "reference": reference}, timeout=SCORER_SECONDS)
        answer.raise_for_status()
        return dict(answer.json())
