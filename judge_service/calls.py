"""Calls to the judge's API."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from judge_service.adapters import Adapter
from judge_service.case import Case, Verdict
from pipeline.providers.api import Adaptations, Api, CallFailed
from pipeline.providers.completions import Usage
from pipeline.providers.hints import Limit
from pipeline.providers.targets import Target

NOT_IMPLEMENTED = 501


@dataclass(frozen=True)
class Call:
    """A request to the judge.

    Attributes:
        path: Path below the base URL.
        fields: Fields of the request.
    """

    path: str
    fields: Mapping[str, Any]

    @cached_property
    def _body(self) -> bytes:
        return json.dumps(self.fields, sort_keys=True, ensure_ascii=False).encode(errors="replace")

    @property
    def size(self) -> int:
        """Bytes of the request."""
        return len(self._body)

    def id(self, target: Target) -> str:
        """Returns the id of this call to a target: calls with equal questions, references and answers share it."""
        return hashlib.sha256(f"{target.base_url}{self.path} ".encode() + self._body).hexdigest()[:32]


@dataclass(frozen=True)
class Judged:
    """A reply of the judge.

    Attributes:
        verdict: What it says.
        limits: Limits that the provider has reported.
    """

    verdict: Verdict
    limits: tuple[Limit, ...] = ()

    @property
    def usage(self) -> Usage:
        """Tokens of the call."""
        return self.verdict.usage


class Caller:
    """Client of the judge's API. Safe to use from several threads."""

    def __init__(
        self, target: Target, adapter: Adapter, timeout_seconds: float, adaptations: Adaptations | None = None
    ) -> None:
        """Makes a client.

        Args:
            target: Target of the calls.
            adapter: Interface of the target.
            timeout_seconds: Timeout of a whole call.
            adaptations: Adaptations that are shared with other workers; None: they are not shared.
        """
        self._target = target
        self._adapter = adapter
        self._api = Api(target, timeout_seconds, adaptations)

    def prepare(self, case: Case) -> Call:
        """Returns the request of a case."""
        path, fields = self._adapter.request(case)
        return Call(path, {**fields, **self._target.extra_body})

    def call(self, call: Call) -> Judged:
        """Makes a call; raises what `Api.post` raises."""
        try:
            reply = self._api.post(call.path, call.fields, self._adapter.read)
        except CallFailed as failure:
            if failure.error.status_code == NOT_IMPLEMENTED:
                # The provider is available: other services may continue to call it.
                message = f"{self._target.model} is no decision model (JUDGE_API): {failure.error.message}"
                failure.error = failure.error.model_copy(
                    update={"type": "permanent", "cause": "model", "message": message}
                )
            raise
        return Judged(reply.content, reply.limits)

    def close(self) -> None:
        """Cancels running calls and closes the connections."""
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
