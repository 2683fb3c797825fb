"""Client of storage-service. The dashboard makes all changes through its public API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import requests

from pipeline.api_client import ApiClient, RequestFailed
from pipeline.errors import Unavailable
from viz_service.schemas import FailureReason

TIMEOUT_SECONDS = 8.0
SILENCE_SECONDS = 40.0
"""Read timeout of an event stream, which sends something at least every 15 s."""


@dataclass(frozen=True)
class Reply:
    """A reply of storage-service, forwarded unchanged.

    Attributes:
        status: HTTP status.
        body: JSON in UTF-8.
        content_type: `application/json` or `application/problem+json`.
    """

    status: int
    body: bytes
    content_type: str


class EventStream:
    """An open event stream."""

    def __init__(self, reply: requests.Response) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        """Yields its bytes as they arrive; ends silently if the connection breaks, because browsers then reconnect."""
        try:
            yield from self._reply.iter_content(chunk_size=None)
        except requests.RequestException:
            return

    def close(self) -> None:
        """Closes the stream."""
        self._reply.close()


class Storage(Protocol):
    """The interface for the routes. Each method raises `Unavailable` if storage-service is unavailable."""

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """Asks a question."""

    def events(self, question_id: str, last_event_id: str | None) -> EventStream | Reply:
        """Opens the event stream of a question, or returns the reply if there is no stream."""

    def failed(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Lists failed questions."""

    def retry(self, question_id: str) -> Reply:
        """Asks a failed question again."""

    def replay(self, letter_id: int) -> Reply:
        """Writes the message of a dead letter to its topic again."""

    def statistics(self) -> dict[str, Any]:
        """Returns the statistics of storage-service."""

    def budget(self) -> dict[str, Any]:
        """Returns the day's budget."""

    def providers(self) -> dict[str, Any]:
        """Returns the state of the model's providers."""


class HttpStorage:
    """Storage-service over HTTP."""

    def __init__(self, url: str) -> None:
        self._api = ApiClient(url, TIMEOUT_SECONDS)

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """See `Storage`."""
        return _reply(self._call("POST", "/query", json=body))

    def events(self, question_id: str, last_event_id: str | None) -> EventStream | Reply:
        """See `Storage`."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        reply = self._call("GET", f"/events/{question_id}", headers=headers, stream=True, reply_seconds=SILENCE_SECONDS)
        if reply.status_code == 200:
            return EventStream(reply)
        with reply:
            try:
                return _reply(reply)
            except requests.RequestException as error:  # the connection broke within the reply
                raise Unavailable(f"storage-service: {FailureReason(kind='unexpected')}") from error

    def failed(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """See `Storage`."""
        return self._document("/failed", query)

    def retry(self, question_id: str) -> Reply:
        """See `Storage`."""
        return _reply(self._call("POST", f"/failed/{question_id}/retry", json={}))

    def replay(self, letter_id: int) -> Reply:
        """See `Storage`."""
        return _reply(self._call("POST", f"/dead-letters/{letter_id}/replay"))

    def statistics(self) -> dict[str, Any]:
        """See `Storage`."""
        return self._document("/stats", {})

    def budget(self) -> dict[str, Any]:
        """See `Storage`."""
        return self._document("/budget", {})

    def providers(self) -> dict[str, Any]:
        """See `Storage`."""
        return self._document("/providers", {})

    def _document(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        with _as_unavailable():
            return self._api.get(path, dict[str, Any], query)

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        with _as_unavailable():
            return self._api.send(method, path, **arguments)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except RequestFailed as error:
        reason = FailureReason(kind=error.no_reply) if error.no_reply else error.reason
        raise Unavailable(f"storage-service: {reason}") from error


def _reply(reply: requests.Response) -> Reply:
    return Reply(reply.status_code, reply.content, reply.headers.get("Content-Type", "application/json"))
