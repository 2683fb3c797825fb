"""What a provider's error means: overload, quota, or nothing that will get better. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from llm_consumer.text import storable
from pipeline.messages import CallError

LONG_RETRY_AFTER_SECONDS = 30
"""A provider that asks for a wait of at least this means a quota, not a busy moment."""

MAX_MESSAGE_CHARACTERS = 500

_PER_DAY = re.compile(r"per[ -]?day|\((?:rpd|tpd)\)")
_RATE_WORDS = ("rate limit reached", "rate_limit_exceeded")
"""OpenAI's rates, and those of APIs made like it. Their text may go on about billing, which would raise the rate."""
_QUOTA_WORDS = ("quota", "resource_exhausted", "resource exhausted", "billing", "credit balance")

_REFUSED = {"content_filter", "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"}
"""Reasons to finish: OpenAI's, and Gemini's own, which its OpenAI-compatible API lets through."""

_RETRY_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')


def sort_status(status: int, body: str, headers: Mapping[str, str], now: datetime) -> CallError:
    """Sorts an HTTP answer that is not a success.

    Args:
        status: HTTP status.
        body: Its text, for the message and for what a 429 means.
        headers: With lower-case names.
        now: Time of the answer, against which a date in `Retry-After` is read.
    """
    wait = retry_after_seconds(headers, now)
    if wait is None:
        wait = _retry_delay_seconds(body)
    kind: Literal["overload", "quota", "permanent"]
    if status == 402:
        kind = "quota"
    elif status == 429:
        kind = "quota" if _says_quota(body.lower()) or (wait or 0) >= LONG_RETRY_AFTER_SECONDS else "overload"
    elif status >= 500 or status == 408:
        kind = "overload"
    else:
        kind = "permanent"
    message = _short(body) or f"HTTP {status} without a message"
    return CallError(type=kind, status_code=status, message=message, retry_after_seconds=wait)


def sort_error_body(error: Mapping[str, object], now: datetime) -> CallError:
    """Sorts an error that came in the body of a success, as some gateways send it.

    Args:
        error: The `error` object; its `code` counts as the HTTP status if it is one.
        now: See `sort_status`.
    """
    code, body = str(error.get("code")), json.dumps(error, default=str)
    if re.fullmatch(r"[45]\d\d", code):
        return sort_status(int(code), body, {}, now)
    return sort_status(500, body, {}, now).model_copy(update={"status_code": None})


def sort_empty(finish_reason: str, refusal: str | None) -> CallError:
    """Sorts a success without a text: what is refused will be refused again, anything else may have been bad luck.

    Args:
        finish_reason: Of the answer.
        refusal: What the model says in place of an answer.
    """
    if refusal:
        return CallError(type="permanent", message=_short(f"content refused by the model: {refusal}"))
    if finish_reason in _REFUSED:
        return CallError(type="permanent", message="content refused by the provider's filter")
    if finish_reason == "length":
        return no_answer("empty answer: all of LLM_MAX_TOKENS went before its first word")
    return no_answer("empty answer")


def no_answer(why: str) -> CallError:
    """Sorts a call without a usable HTTP answer: refused, timed out, broken off, not readable, empty."""
    return CallError(type="overload", message=_short(why))


def _says_quota(body: str) -> bool:
    if _PER_DAY.search(body):
        return True
    return not any(word in body for word in _RATE_WORDS) and any(word in body for word in _QUOTA_WORDS)


def _retry_delay_seconds(body: str) -> float | None:
    """Returns the wait that a Google API asks for in the body (google.rpc.RetryInfo), in seconds."""
    found = _RETRY_DELAY.search(body)
    return float(found[1]) if found else None


def _short(text: str) -> str:
    return storable(" ".join(text.split()))[:MAX_MESSAGE_CHARACTERS]


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Returns the wait that the provider asks for (RFC 9110, section 10.2.3, and `retry-after-ms`), in seconds."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            moment = parsedate_to_datetime(value)
            seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except ValueError:
        return None
    return max(0.0, seconds) if seconds < float("inf") else None
