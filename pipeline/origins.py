"""Which requests a web service without a login takes: those for it, and of browsers those from its own pages. Pure.

A browser runs pages of strangers on the machine that may reach the fleet. Two things tell them apart. `Host` is the
name that the page's address has: a stranger who lets a name of his point to this machine (DNS rebinding) has that name
in it. `Origin` and `Sec-Fetch-Site` say which page has sent a request; a page cannot change either. Tools like curl
send neither, and may do everything.
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
"""They change nothing."""

Refusal = Literal["host", "origin"]
"""Why a request is refused: it is for somebody else (421), or a page from elsewhere wants to change something (403)."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:(?P<port>\d{1,5}))?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class OriginSettings(Settings):
    """For web services that a browser reaches."""

    allowed_hosts: str = Field(
        "",
        description="Names, by commas, under which browsers may reach the service, beside localhost, IP addresses and "
        "names without a dot; `*.example.org`: all below it; `*`: any name.",
    )
    allowed_origins: str = Field(
        "",
        description="Addresses of other pages, by commas (`https://example.org`), that may change something here; "
        "`*`: any page.",
    )


def refusal(
    method: str,
    host: str | None,
    origin: str | None,
    fetch_site: str | None,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
) -> Refusal | None:
    """Decides whether a request is taken.

    Args:
        method: Of the request.
        host: Header `Host`; None where there is none.
        origin: Header `Origin`, likewise.
        fetch_site: Header `Sec-Fetch-Site`, likewise.
        allowed_hosts: Further names that the service has, without ports; `*.example.org`: all below it; `*`: any.
        allowed_origins: Addresses of other pages that may change something.

    Returns:
        Why it is refused, None if it is taken.
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
    """Returns whether `host`, with or without a port, is a name that nobody else can have, or one of `allowed`.

    Nobody else can have localhost, an IP address (to lead a browser there by its name needs a name) and a name without
    a dot, which no public name server answers.
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
    """Returns the entries of a setting that lists some by commas."""
    return tuple(each.strip() for each in setting.split(",") if each.strip())


def _same(origin: str, host: str) -> bool:
    """Returns whether a page's address has this host and port; `null`, of a page without an address, has none."""
    try:
        parts = urlsplit(origin.lower())
        default = _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return False
    return parts.netloc.removesuffix(f":{default}") == host.lower().removesuffix(f":{default}")
