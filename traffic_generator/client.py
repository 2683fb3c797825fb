"""The calls to the storage service's API, typed; whatever goes wrong is one exception with one readable reason."""

from typing import Any, Literal, TypeVar

import requests
from pydantic import BaseModel, ValidationError

from traffic_generator.dataset import Question

CONNECT_TIMEOUT_SECONDS = 5.0
REPLY_TIMEOUT_SECONDS = 30.0
READY_TIMEOUT_SECONDS = 2.0
# On top of the seconds that the server was asked to hold the answer back for.
LOOK_MARGIN_SECONDS = 10.0

REASON_LENGTH = 200
# Longest topic that the service takes.
TOPIC_LENGTH = 100
# The 4xx that say 'later' and not 'no'.
RETRYABLE_CLIENT_ERRORS = (408, 425, 429)

State = Literal["pending", "completed", "failed"]


class RequestFailed(Exception):
    """A call brought no usable reply.

    Attributes:
        reason: One line, without what differs from question to question where that can be told apart.
        permanent: Asking again will not help.
        retry_after_seconds: What the server asked for, None if it said nothing.
    """

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_seconds: float | None = None) -> None:
        reason = " ".join(reason.split())[:REASON_LENGTH]
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds


class Reply(BaseModel):
    """What `POST /query` says."""

    status: State
    question_id: str
    source: str | None = None


class Progress(BaseModel):
    """What `GET /status/ID` says."""

    question_id: str
    status: State
    error: dict[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why the question failed, in one line."""
        error = self.error or {}
        said = [str(error[key]) for key in ("reason", "last_error") if error.get(key)]
        return ": ".join(["failed", *said])[:REASON_LENGTH]


Body = TypeVar("Body", bound=BaseModel)


def question_body(question: Question) -> dict[str, str]:
    """Returns the JSON body that asks a question: empty fields are left out."""
    fields = {
        "question_text": question.text,
        "question_context": question.context,
        "original_answer": question.original_answer,
        "topic": question.topic[:TOPIC_LENGTH],
    }
    return {name: value for name, value in fields.items() if value}


class StorageClient:
    """Client of one storage service; many threads may share it."""

    def __init__(self, url: str) -> None:
        """Prepares calls to `url` (scheme, host, port); nothing is sent yet."""
        self.url = url.rstrip("/")
        self._session = requests.Session()
        # The fleet is never behind the proxy that a Docker client may set in every container.
        self._session.trust_env = False
        # A new connection each, as of a new visitor: a kept one that the server closes just then would be an error
        # that no visitor saw.
        self._session.headers["Connection"] = "close"

    def ask(self, question: Question) -> Reply:
        """Puts a question: `POST /query`.

        Raises:
            RequestFailed: No connection, no reply within 30 s, an error status or a reply that cannot be read.
        """
        return self._call("POST", "/query", Reply, REPLY_TIMEOUT_SECONDS, json=question_body(question))

    def look(self, question_id: str, wait_seconds: int) -> Progress:
        """Asks how a question stands: `GET /status/ID`, held back by the server for up to `wait_seconds` (0 to 30).

        Raises:
            RequestFailed: As for `ask`.
        """
        timeout = wait_seconds + LOOK_MARGIN_SECONDS
        return self._call("GET", f"/status/{question_id}", Progress, timeout, params={"wait": wait_seconds})

    def check_ready(self) -> None:
        """Returns when `GET /ready` answers 200.

        Raises:
            RequestFailed: It does not, within 2 s.
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
        timeouts = (min(CONNECT_TIMEOUT_SECONDS, timeout), timeout)
        try:
            response = self._session.request(method, self.url + path, timeout=timeouts, **arguments)
        except requests.ConnectTimeout as error:
            raise RequestFailed(f"cannot connect to {self.url} within {timeouts[0]:g} s") from error
        except requests.Timeout as error:
            raise RequestFailed(f"no reply from {self.url} within {timeout:g} s") from error
        except requests.ConnectionError as error:
            raise RequestFailed(f"cannot reach {self.url}: {_cause(error)}") from error
        except requests.RequestException as error:
            raise RequestFailed(f"request to {self.url} failed: {error}", permanent=True) from error
        if not response.ok:
            status = response.status_code
            raise RequestFailed(
                _problem(response),
                permanent=400 <= status < 500 and status not in RETRYABLE_CLIENT_ERRORS,
                retry_after_seconds=_seconds(response.headers.get("Retry-After")),
            )
        return response


def _cause(error: BaseException) -> str:
    """Returns what the operating system said; the layers above it repeat it with object addresses in between."""
    said = ""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            said = link.strerror
        inner = getattr(link, "reason", None)
        link = inner if isinstance(inner, BaseException) else link.__cause__ or link.__context__
    return said or "the connection was closed"


def _problem(response: requests.Response) -> str:
    """Returns status, title and detail of a problem+json reply, or status and reason of any other."""
    title, detail = response.reason, ""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        title = str(body.get("title") or title)
        detail = str(body.get("detail") or "")
    return f"{response.status_code} {title}" + (f": {detail}" if detail else "")


def _seconds(retry_after: str | None) -> float | None:
    """Reads a Retry-After in seconds; one that gives a date is ignored, for the two clocks may differ."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
