"""Rules for the requests that a web service without a login accepts, against DNS rebinding and other origins. Pure.

A browser on a machine that can reach the fleet also runs pages of other origins. Headers that a page cannot change show
where a request comes from. `Host` is the name in the address: in a DNS rebinding attack it is a name of the attacker
that points to this machine. `Origin` and `Sec-Fetch-Site` name the page that sent the request. Tools like curl send
neither; their requests are accepted.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from pipeline.settings import Settings

ANY = "*"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

Refusal = Literal["host", "origin"]
"""Why a request is refused: its host is not allowed (421), or it is a change by a page of another origin (403)."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:(?P<port>\d{1,5}))?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class OriginSettings(Settings):
    """Settings of web services that browsers use."""

    allowed_hosts: str = Field(
        "",
        description="Names, separated by commas, by which browsers may reach the service, in addition to localhost, IP "
        "addresses and names without a dot; `*.example.org`: all subdomains; `*`: any name.",
    )
    allowed_origins: str = Field(
        "",
        description="Other origins, separated by commas (`https://example.org`), whose pages may make changes; `*`: "
        "any origin.",
    )


def refusal(
    method: str,
    host: str | None,
    origin: str | None,
    fetch_site: str | None,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
) -> Refusal | None:
    """Decides whether a request is accepted.

    Args:
        method: Method of the request.
        host: Header `Host`; None when it is missing.
        origin: Header `Origin`; None when it is missing.
        fetch_site: Header `Sec-Fetch-Site`; None when it is missing.
        allowed_hosts: Further names of the service, without ports; `*.example.org`: all subdomains; `*`: any name.
        allowed_origins: Other origins whose pages may make changes.

    Returns:
        Why the request is refused; None when it is accepted.
    """
    if not host_allowed(host, allowed_hosts):
        return "host"
    if method.upper() in SAFE_METHODS:
        return None
    origins = {each.strip().rstrip("/").lower() for each in allowed_origins}
    if ANY in origins or (origin is not None and origin.lower() in origins):
        return None
    if fetch_site is not None and fetch_site.lower() not in ("same-origin", "none"):
        return "origin"
    return None if origin is None or _same(origin, host or "") else "origin"


def host_allowed(host: str | None, allowed: Iterable[str] = ()) -> bool:
    """Returns whether `host`, with or without a port, cannot be the name of an attacker, or is one of `allowed`.

    An attacker cannot use localhost, an IP address (DNS rebinding needs a name), or a name without a dot, which no
    public name server resolves.
    """
    names = {each.strip().lower() for each in allowed}
    if ANY in names:
        return True
    found = _HOST.fullmatch(host or "")
    if found is None:
        return False
    name = found["name"].lower().removesuffix(".")
    below = {each[1:] for each in names if each.startswith("*.")} | {".localhost"}
    if name in names or "." not in name or name.endswith(tuple(below)):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def listed(setting: str) -> tuple[str, ...]:
    """Returns the entries of a setting that is a list separated by commas."""
    return tuple(each.strip() for each in setting.split(",") if each.strip())


def _same(origin: str, host: str) -> bool:
    """Returns whether an origin has this host and port; the origin `null` has none."""
    try:
        parts = urlsplit(origin.lower())
        default = _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return False
    return parts.netloc.removesuffix(f":{default}") == host.lower().removesuffix(f":{default}")
