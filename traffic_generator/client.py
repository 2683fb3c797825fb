"""Typed client of storage-service's API. All errors are one exception with a readable reason."""

from typing import Any, Literal, TypeVar

import requests
from pydantic import BaseModel, ValidationError

from pipeline import http
from traffic_generator.dataset import Question

CONNECT_TIMEOUT_SECONDS = 5.0
REPLY_TIMEOUT_SECONDS = 30.0
READY_TIMEOUT_SECONDS = 2.0
# Added to the wait that is requested from the server.
POLL_MARGIN_SECONDS = 10.0

REASON_LENGTH = 200
# Longest topic that the service accepts.
TOPIC_LENGTH = 100
# Status codes below 500 after which a retry may succeed.
RETRYABLE_CLIENT_ERRORS = (408, 425, 429)

State = Literal["pending", "completed", "failed"]


class RequestFailed(Exception):
    """A call got no usable reply.

    Attributes:
        reason: One line, without details of single questions if possible.
        permanent: Whether a retry would fail, too.
        retry_after_seconds: The server's `Retry-After`; None without it.
    """

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_seconds: float | None = None) -> None:
        reason = " ".join(reason.split())[:REASON_LENGTH]
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds


class Reply(BaseModel):
    """Reply of `POST /query`."""

    status: State
    question_id: str
    source: str | None = None


class Progress(BaseModel):
    """Reply of `GET /status/ID`."""

    question_id: str
    status: State
    error: dict[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why the question failed, in one line."""
        error = self.error or {}
        parts = [str(error[key]) for key in ("reason", "last_error") if error.get(key)]
        return ": ".join(["failed", *parts])[:REASON_LENGTH]


Body = TypeVar("Body", bound=BaseModel)


def question_body(question: Question) -> dict[str, str]:
    """Returns the JSON body for a question, without empty fields."""
    fields = {
        "question_text": question.text,
        "question_context": question.context,
        "original_answer": question.original_answer,
        "topic": question.topic[:TOPIC_LENGTH],
    }
    return {name: value for name, value in fields.items() if value}


class StorageClient:
    """Client of storage-service; thread-safe."""

    def __init__(self, url: str) -> None:
        """Prepares calls to `url` (scheme, host, port); nothing is sent yet."""
        self._http = http.Client(url, REPLY_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS)
        self.url = self._http.url

    def ask(self, question: Question) -> Reply:
        """Asks a question: `POST /query`.

        Raises:
            RequestFailed: No connection, no reply within 30 s, an error status or an unreadable reply.
        """
        return self._call("POST", "/query", Reply, REPLY_TIMEOUT_SECONDS, json=question_body(question))

    def poll(self, question_id: str, wait_seconds: int) -> Progress:
        """Polls the state of a question: `GET /status/ID`, which the server delays by up to `wait_seconds` (0 to 30).

        Raises:
            RequestFailed: As for `ask`.
        """
        timeout = wait_seconds + POLL_MARGIN_SECONDS
        return self._call("GET", f"/status/{question_id}", Progress, timeout, params={"wait": wait_seconds})

    def check_ready(self) -> None:
        """Returns if `GET /ready` replies 200.

        Raises:
            RequestFailed: It does not reply 200 within 2 s.
        """
        self._send("GET", "/ready", READY_TIMEOUT_SECONDS)

    def _call(self, method: str, path: str, kind: type[Body], timeout: float, **arguments: Any) -> Body:
        response = self._send(method, path, timeout, **arguments)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise RequestFailed(f"{response.status_code} with an unreadable body: {place} {problem['msg']}") from error

    def _send(self, method: str, path: str, timeout: float, **arguments: Any) -> requests.Response:
        try:
            response = self._http.call(method, path, reply_seconds=timeout, **arguments)
        except http.NoReply as error:
            raise RequestFailed(str(error), permanent=error.kind == "unexpected") from error
        if not response.ok:
            status = response.status_code
            raise RequestFailed(
                http.problem(response),
                permanent=400 <= status < 500 and status not in RETRYABLE_CLIENT_ERRORS,
                retry_after_seconds=http.retry_after(response.headers),
            )
        return response
