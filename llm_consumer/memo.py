"""What the model has answered already, so that a message that is read twice costs no second call.

A question comes again when a consumer dies before it has committed, and when the Flink job goes back to its last
checkpoint and sends the regenerations since then once more. The answer is sent again, too, and Flink drops the copy.
It lies in Redis and may vanish: then the call is made again.
"""

from pydantic import ValidationError

from pipeline.messages import Question, Response
from pipeline.settings import RedisSettings
from pipeline.volatile import Volatile

TTL_SECONDS = 3600
"""As long as Flink knows a copy of an answer to be one."""


class Memo:
    """Answers by question, time of asking and attempt."""

    def __init__(self, settings: RedisSettings, client_name: str) -> None:
        self._redis = Volatile(settings, client_name)

    def recall(self, question: Question) -> Response | None:
        """Returns the answer to this attempt, None when there is none yet or Redis is away."""
        body = self._redis.attempt(lambda client: client.get(_key(question)))
        if not isinstance(body, bytes):
            return None
        try:
            return Response.model_validate_json(body)
        except ValidationError:  # written by another version
            return None

    def keep(self, response: Response) -> None:
        """Keeps an answer for an hour."""
        self._redis.attempt(lambda client: client.set(_key(response), response.to_bytes(), ex=TTL_SECONDS))


def _key(question: Question) -> str:
    # A failed question that is asked anew starts with attempt 1 again, at another time.
    asked_ms = round(question.asked_at.timestamp() * 1000)
    return f"response:{question.question_id}:{asked_ms}:{question.processing_attempts}"
