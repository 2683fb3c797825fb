"""Typed client of storage-service's API. The traffic generator, the dashboard, the commands and the tests use it."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline import http

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 30.0
READY_SECONDS = 2.0
POLL_MARGIN_SECONDS = 10.0
"""Added to the wait that is requested from the server."""

REASON_LENGTH = 200
RETRYABLE_CLIENT_ERRORS = (408, 425, 429)
"""Status codes below 500 after which a retry may succeed."""


class RequestFailed(Exception):
    """A call without a usable reply.

    Attributes:
        reason: One line of at most 200 characters.
        status: HTTP status; None without a reply.
        no_reply: Why there is no reply; None with a reply.
        retry_after_seconds: The server's `Retry-After`; None without it.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        no_reply: http.NoReplyKind | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.reason = " ".join(reason.split())[:REASON_LENGTH]
        super().__init__(self.reason)
        self.status = status
        self.no_reply = no_reply
        self.retry_after_seconds = retry_after_seconds

    @property
    def permanent(self) -> bool:
        """Whether a retry would fail, too."""
        refused = self.status is not None and 400 <= self.status < 500 and self.status not in RETRYABLE_CLIENT_ERRORS
        return refused or self.no_reply == "unexpected"

    @property
    def unavailable(self) -> bool:
        """Whether the service or one of its dependencies is temporarily unavailable."""
        return self.status == 503 or self.no_reply in ("no-connection", "no-answer")


class QuestionState(BaseModel):
    """The state of a question.

    Attributes:
        status: `pending`, `completed` or `failed`.
        source: Where a completed answer came from: `cache` or `database`; None in the replies of `GET /status/ID`.
        result: The answer of a completed question.
        error: Why a failed question has no answer.
    """

    question_id: str
    status: Literal["pending", "completed", "failed"]
    source: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why the question failed, in one line."""
        error = self.error or {}
        parts = [str(error[key]) for key in ("reason", "last_error") if error.get(key)]
        return ": ".join(["failed", *parts])[:REASON_LENGTH]


T = TypeVar("T")


class ApiClient:
    """Client of storage-service; safe to use from several threads.

    Each method but `send` raises `RequestFailed` for an error status, an unreadable reply and no reply.
    """

    def __init__(self, url: str, reply_seconds: float = REPLY_SECONDS) -> None:
        """Prepares calls to `url` (scheme, host, port); nothing is sent yet."""
        self._http = http.Client(url, reply_seconds, CONNECT_SECONDS)
        self.url = self._http.url

    def ask(self, question: Mapping[str, Any]) -> QuestionState:
        """Asks a question: `POST /query`.

        Args:
            question: `question_text`, and optionally `question_context`, `original_answer` and `topic`.
        """
        return self._read(QuestionState, "POST", "/query", json=question)

    def status(self, question_id: str, wait_seconds: int = 0) -> QuestionState:
        """Returns the state of a question: `GET /status/ID`.

        Args:
            question_id: Id of the question.
            wait_seconds: How long the server waits for the end of a pending question before it replies: 0 to 30.
        """
        timeout = wait_seconds + POLL_MARGIN_SECONDS
        path, params = f"/status/{question_id}", {"wait": wait_seconds}
        return self._read(QuestionState, "GET", path, params=params, reply_seconds=timeout)

    def retry(self, question_id: str) -> QuestionState:
        """Restarts a failed question: `POST /failed/ID/retry`; the reply is pending if this restarted it."""
        return self._read(QuestionState, "POST", f"/failed/{question_id}/retry")

    def get(self, path: str, kind: type[T], params: Mapping[str, Any] | None = None) -> T:
        """Reads a document of type `kind`: a model of pydantic, or `dict[str, Any]`."""
        return self._read(kind, "GET", path, params=params)

    def check_ready(self) -> None:
        """Returns if `GET /ready` replies 200 within 2 s."""
        _raise_for_status(self.send("GET", "/ready", reply_seconds=READY_SECONDS))

    def send(self, method: str, path: str, **arguments: Any) -> "requests.Response":
        """Makes a call and returns its reply, whatever its status; the arguments are those of `http.Client.call`.

        Raises:
            RequestFailed: There is no reply.
        """
        try:
            return self._http.call(method, path, **arguments)
        except http.NoReply as error:
            raise RequestFailed(str(error), no_reply=error.kind) from error

    def _read(self, kind: type[T], method: str, path: str, **arguments: Any) -> T:
        reply = self.send(method, path, **arguments)
        _raise_for_status(reply)
        try:
            found: T = _reader(kind).validate_json(reply.content)  # type: ignore[arg-type]
            return found
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            reason = f"{reply.status_code} with an unreadable body: {place} {problem['msg']}"
            raise RequestFailed(reason, status=reply.status_code) from error


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _raise_for_status(reply: "requests.Response") -> None:
    if not reply.ok:
        raise RequestFailed(
            http.problem(reply), status=reply.status_code, retry_after_seconds=http.retry_after(reply.headers)
        )
