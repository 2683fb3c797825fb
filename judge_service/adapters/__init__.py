"""Interfaces of judges: how a case becomes a request, and a reply a verdict. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Protocol

from judge_service.case import Case, Verdict

ApiName = Literal["chat", "decisions", "systemone"]


class Adapter(Protocol):
    """The interface of a judge."""

    def request(self, case: Case, /) -> tuple[str, Mapping[str, Any]]:
        """Returns the path below the base URL, and the fields of the request."""

    def read(self, body: bytes, now: datetime, /) -> Verdict:
        """Reads the body of a successful reply; raises `NoCompletion` if it has no verdict."""
