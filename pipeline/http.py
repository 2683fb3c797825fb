"""HTTP calls between services, and to a provider of the model.

Docker Compose sets the proxy of the Docker client's configuration in every container. That proxy leads to the internet
and cannot reach the fleet's services. So calls between services never use it; calls to a provider on the internet do.
"""

import ipaddress
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pipeline.errors import Unavailable

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 3.0

NoReplyKind = Literal["no-connection", "no-answer", "unexpected"]


class NoReply(Unavailable):
    """A service could not be reached, or did not reply in time.

    Attributes:
        kind: `no-connection`, `no-answer` (no reply in time), or `unexpected` (the request failed in another way).
    """

    def __init__(self, kind: NoReplyKind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def is_outside(url: str) -> bool:
    """Returns whether an address is on the internet, so that a proxy of the environment may be used for it.

    Names without a dot are services of the fleet. Names in `.internal`, `.local` and `.localhost` are not on the
    internet (`host.docker.internal` is the machine that the fleet runs on), nor are addresses of private networks.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".internal", ".local", ".localhost"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of `Retry-After`; None without it, and for a date, which no service of the fleet sends.

    Args:
        headers: Headers with case-insensitive names.
    """
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def problem(reply: "requests.Response") -> str:
    """Returns an error reply in one line: status, title and detail of problem+json, or status and reason."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    document = body if isinstance(body, dict) else {}
    title, detail = document.get("title") or reply.reason, document.get("detail")
    return " ".join(f"{reply.status_code} {title}{f': {detail}' if detail else ''}".split())


class Client:
    """Client for one service of the fleet; safe to use from several threads.

    Each call opens a new connection, because the server may close an idle connection just before the next call.
    """

    def __init__(self, url: str, reply_seconds: float, connect_seconds: float = CONNECT_SECONDS) -> None:
        """Prepares calls; nothing is sent yet.

        Args:
            url: Scheme, host and port.
            reply_seconds: Timeout for the reply.
            connect_seconds: Timeout for the connection.
        """
        import requests  # imported here, because users of the functions above do not need it

        self.url = url.rstrip("/")
        self._timeouts = (connect_seconds, reply_seconds)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Connection"] = "close"

    def call(
        self, method: str, path: str, *, reply_seconds: float | None = None, **arguments: Any
    ) -> "requests.Response":
        """Makes a call and returns its reply, whatever its status.

        Args:
            method: HTTP method.
            path: Path with its leading slash.
            reply_seconds: Timeout for the reply to this call; None: that of the client.
            arguments: Further arguments of `requests`: `json`, `params`, `headers`, `stream`.

        Raises:
            NoReply: The service could not be reached, or did not reply in time.
        """
        import requests

        connect, usual = self._timeouts
        patience = usual if reply_seconds is None else reply_seconds
        timeouts = (min(connect, patience), patience)
        try:
            return self._session.request(method, self.url + path, timeout=timeouts, **arguments)
        except requests.ConnectTimeout as error:
            raise NoReply("no-connection", f"cannot connect to {self.url} within {timeouts[0]:g} s") from error
        except requests.Timeout as error:
            raise NoReply("no-answer", f"no reply from {self.url} within {patience:g} s") from error
        except requests.ConnectionError as error:
            raise NoReply("no-connection", f"cannot reach {self.url}: {_cause(error)}") from error
        except requests.RequestException as error:
            raise NoReply("unexpected", f"request to {self.url} failed: {error}") from error


def _cause(error: BaseException) -> str:
    """Returns the message of the operating system, without the object addresses that the layers above it add."""
    message = ""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            message = link.strerror
        inner = getattr(link, "reason", None)
        link = inner if isinstance(inner, BaseException) else link.__cause__ or link.__context__
    return message or "the connection was closed"
