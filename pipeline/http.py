"""HTTP calls: of the services to each other, and to a provider of the model.

Docker Compose puts the proxy of the Docker client's configuration into every container. It leads to the internet and
does not know the fleet: calls between services never take it, calls to a provider on the internet do.
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
    """A service could not be reached, or said nothing in time.

    Attributes:
        kind: Which of the two; `unexpected`: what came is not HTTP.
    """

    def __init__(self, kind: NoReplyKind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def is_outside(url: str) -> bool:
    """Says whether an address is on the internet, where a proxy of the environment may lead.

    Names without a dot are services of the fleet; `.internal`, `.local` and `.localhost` are no names of the internet
    (`host.docker.internal` is the machine that the fleet runs on), nor are addresses of private networks.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".internal", ".local", ".localhost"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that `Retry-After` asks for; None without it, and for a date, which no service here sends.

    Args:
        headers: In which the case of names does not count.
    """
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def problem(reply: "requests.Response") -> str:
    """Returns what an error reply says in one line: status, title and detail of problem+json, or status and reason."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    said = body if isinstance(body, dict) else {}
    title, detail = said.get("title") or reply.reason, said.get("detail")
    return " ".join(f"{reply.status_code} {title}{f': {detail}' if detail else ''}".split())


class Client:
    """Calls to one service of the fleet; many threads may share it.

    Each call opens a new connection: the server may close a kept one at the moment of the next call.
    """

    def __init__(self, url: str, reply_seconds: float, connect_seconds: float = CONNECT_SECONDS) -> None:
        """Prepares calls; nothing is sent yet.

        Args:
            url: Scheme, host and port.
            reply_seconds: How long the service may say nothing.
            connect_seconds: How long connecting may take.
        """
        import requests  # here, for who wants the rules above alone has no use for it

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
            method: Of HTTP.
            path: With its leading slash.
            reply_seconds: For this call.
            arguments: What else `requests` knows: `json`, `params`, `headers`, `stream`.

        Raises:
            NoReply: See there.
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
    """Returns what the operating system said; the layers above it repeat it with object addresses in between."""
    said = ""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            said = link.strerror
        inner = getattr(link, "reason", None)
        link = inner if isinstance(inner, BaseException) else link.__cause__ or link.__context__
    return said or "the connection was closed"
