"""State of the models' providers: the services that call them write it to Redis, and others read it.

A status may disappear like everything in Redis; the next call to the provider writes it again
(`pipeline/providers/limiter.py`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.messages import Cause, Timestamp

INDEX = "providers"
"""Key of the set of all provider ids."""

STATUS_TTL_SECONDS = 3600

State = Literal["open", "limited", "unavailable"]
LimitSource = Literal["settings", "provider", "refusals"]


class ProviderStatus(BaseModel):
    """State of a provider, as all services that call it together know it."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    provider: str = Field(description="Base URL of its API.")
    state: State = Field(
        description="`limited`: it admits no further call before `waiting_until`; `unavailable`: it answers no call, "
        "and is probed at `waiting_until`."
    )
    cause: Cause | None = Field(None, description="Why calls wait; null while they do not.")
    message: str | None = Field(None, description="The provider's message about it.")
    waiting_until: Timestamp | None = Field(
        None, description="When the next call is made; null while none has to wait."
    )
    requests_per_minute: float | None = Field(None, description="Limit of calls; null: none is known.")
    tokens_per_minute: float | None = Field(None, description="Limit of tokens; null: none is known.")
    limit_source: LimitSource | None = Field(
        None,
        description="Source of the limits: `settings` (LLM_RPM and LLM_TPM), `provider` (reported by the provider), or "
        "`refusals` (learnt from its refusals).",
    )
    calls_last_minute: int = 0
    refused_last_minute: int = 0
    tokens_last_minute: int = 0
    in_flight: int = 0
    at: Timestamp = Field(description="Time of the last call, or of the last check before a call.")


def status_key(provider_id: str) -> str:
    """Returns the key of a provider's status."""
    return f"provider-status:{provider_id}"


def read_statuses(stored: Iterable[bytes | None], now: datetime) -> list[ProviderStatus]:
    """Reads statuses; leaves out missing ones and those of another version, and clears outdated fields.

    Args:
        stored: Values of `status_key`.
        now: The current time.
    """
    found = []
    for each in stored:
        try:
            status = ProviderStatus.model_validate_json(each or b"")
        except ValidationError:
            continue
        gone: dict[str, object] = {}
        if status.waiting_until and status.waiting_until <= now:
            gone |= {"state": "open", "cause": None, "message": None, "waiting_until": None}
        if now - status.at > timedelta(minutes=1):
            gone |= {"calls_last_minute": 0, "refused_last_minute": 0, "tokens_last_minute": 0, "in_flight": 0}
        found.append(status.model_copy(update=gone))
    return sorted(found, key=lambda each: each.provider)
