"""Classifies errors of providers: the topic to which they go, and their cause. Pure.

`type` decides how the question continues, `cause` is why the call failed (`pipeline/messages.py`). There are hundreds
of providers and gateways, and their error texts are more reliable than the status: used-up credit is reported as 400,
401, 402, 403 and 429. `tests/unit/pipeline/providers/provider_responses.py` has examples with sources.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.messages import NOT_ADMITTED, Cause, ErrorType, ProviderError
from pipeline.providers.hints import MAX_READ_CHARACTERS, unescaped, wait_seconds
from pipeline.providers.text import storable
from pipeline.providers.wordings import (
    ACCESS,
    ADDRESS_BARRED,
    CONTENT,
    CONTEXT,
    CREDIT,
    DAY,
    EXCEEDED,
    EXHAUSTED,
    FIELD,
    FIELD_NAME,
    KEY,
    KEY_OR_RIGHTS,
    MAYBE_CREDIT,
    MINUTE,
    MODEL,
    MODEL_BARRED,
    MODEL_SENTENCE,
    NEVER_ADMITTED,
    OPENAI_CREDIT,
    QUOTA,
    RATE,
    SAY_THE_SAME_OF_QUOTAS,
    TERMINATED,
    TOMORROW,
)

LONG_RETRY_AFTER_SECONDS = 30
"""A rate limit with a wait of at least this is treated like a quota."""

MAX_MESSAGE_CHARACTERS = 500
MIN_KEY_CHARACTERS = 4
"""Minimum length of a key that is removed from texts; a shorter one is a placeholder that may occur in other words."""

_TEMPORARY = {408, 425, 498, 499}
"""Temporary errors besides 5xx: timeout, too early, Groq's "Flex Tier capacity exceeded", a call closed by a proxy."""
_OVERLOADED = 529

_REFUSED = {
    "blocklist",
    "content_filter",
    "image_safety",
    "prohibited_content",
    "recitation",
    "refusal",
    "safety",
    "sensitive",
    "spii",
}
"""Finish reasons of refused answers: OpenAI's, Gemini's (its OpenAI-compatible API has them), Anthropic's, Zhipu's."""

_OURS = {"input", "prompt", "messages", "failed_generation"}
"""Fields of an error that quote the request or the model's output. They are ignored: a question may mention credit."""

_SECRET = re.compile(
    r"\bBearer\s+[^\s\"',}]+"
    r"|\b(?:sk|ak|pk|rk|gsk|csk|xai|hf|r8|nvapi|pplx|fw|tgp)[-_][\w*…-]{4,}(?:\.{2,}[\w*]+)?"
    r"|\bAIza[\w*-]{8,}"
    r"|(?<![\w-])[\w-]{0,60}\*{3,}[\w-]*",
    re.IGNORECASE,
)
"""Keys in the format of providers, complete or masked with asterisks or dots."""


_UNAVAILABLE = re.compile(r"timed out|connection error", re.IGNORECASE)


# --- rules -------------------------------------------------------------------------------------------------------


def _is_credit(text: str) -> bool:
    if CREDIT.search(text):
        return not TOMORROW.search(text)
    return bool(OPENAI_CREDIT.search(text)) and not SAY_THE_SAME_OF_QUOTAS.search(text)


def _may_be_credit(text: str) -> bool:
    if _is_rate(text) or SAY_THE_SAME_OF_QUOTAS.search(text):
        return False
    return bool(MAYBE_CREDIT.search(text))


def _is_quota(text: str) -> bool:
    """Returns whether a text is about a quota. The first period in it decides, because later ones may be advice."""
    if EXHAUSTED.search(text) or TOMORROW.search(text):
        return True
    day, minute = DAY.search(text), MINUTE.search(text)
    if day and EXCEEDED.search(text):
        return not minute or day.start() < minute.start()
    return not minute and not _is_rate(text) and bool(QUOTA.search(text))


def _is_rate(text: str) -> bool:
    return bool(RATE.search(text))


_Rule = tuple[Cause, Callable[[str], object]]
_RULES: Mapping[int, Sequence[_Rule]] = {
    401: (("credit", _is_credit), ("access", ADDRESS_BARRED.search), ("model", MODEL_BARRED.search)),
    403: (
        ("credit", _is_credit),
        ("quota", _is_quota),
        ("rate_limit", _is_rate),
        ("access", TERMINATED.search),
        ("refused_content", CONTENT.search),
        ("access", ACCESS.search),
        ("credit", _may_be_credit),
        ("model", MODEL.search),
        ("model", MODEL_SENTENCE.search),
        ("key", KEY_OR_RIGHTS.search),
    ),
    404: (("access", ACCESS.search), ("model", MODEL.search), ("model", MODEL_SENTENCE.search)),
    429: (
        ("context_length", NEVER_ADMITTED.search),
        ("credit", _is_credit),
        ("quota", _is_quota),
        ("credit", _may_be_credit),
    ),
}
"""By status: the rules in their order."""
_RULES_OF_REQUESTS: Sequence[_Rule] = (
    ("key", KEY.search),
    ("context_length", NEVER_ADMITTED.search),
    ("context_length", CONTEXT.search),
    ("credit", _is_credit),
    ("rate_limit", _is_rate),
    ("refused_content", CONTENT.search),
    ("access", TERMINATED.search),
    ("access", ACCESS.search),
    ("model", MODEL.search),
    ("field", FIELD.search),
    ("model", MODEL_SENTENCE.search),
    ("quota", _is_quota),
)
"""Rules for 400, 413, 422 and other statuses of invalid requests."""
_RULES_OF_LAST_RESORT: Sequence[_Rule] = (("credit", _may_be_credit), ("field", FIELD_NAME.search))
_RULES_OF_SERVERS: Sequence[_Rule] = (
    ("credit", _is_credit),
    ("context_length", CONTEXT.search),
    ("rate_limit", _is_rate),
    ("quota", EXHAUSTED.search),
)
"""Rules for 5xx, which some gateways return when another provider has refused the call."""
_OTHERWISE: Mapping[int, Cause] = {
    401: "key",
    403: "access",
    413: "context_length",
    429: "rate_limit",
    451: "access",
}
"""Causes of statuses when no rule matches the text."""


def classify_status(status: int, body: str, headers: Mapping[str, str], now: datetime) -> ProviderError:
    """Classifies an HTTP response that is not a success.

    Args:
        status: HTTP status.
        body: Text of the body.
        headers: Headers with lower-case or case-insensitive names.
        now: Time of the response; dates are relative to it.
    """
    wait = wait_seconds(headers, body, now)
    message = _short(body) or f"HTTP {status} without a message"
    return _error(_cause(status, _words_of(body)), status, message, wait)


def classify_error_body(error: Mapping[str, Any], now: datetime) -> ProviderError:
    """Classifies an error in the body of a successful response, which some gateways send.

    Args:
        error: The `error` object; its `code` is used as the HTTP status if it is one.
        now: See `classify_status`.
    """
    code = str(error.get("code"))
    try:
        body = json.dumps(error, default=str, ensure_ascii=False)
    except RecursionError:
        body = "an error that is nested too deeply"
    if re.fullmatch(r"[45]\d\d", code):
        return classify_status(int(code), body, {}, now)
    cause = _first(_RULES_OF_REQUESTS, _words_of(body), "unavailable")
    return _error(cause, None, _short(body), wait_seconds({}, body, now))


def classify_empty(finish_reason: str, refusal: str | None) -> ProviderError:
    """Classifies a success without a text: a refusal is final, anything else may be a coincidence.

    Args:
        finish_reason: Finish reason of the response.
        refusal: Text of the model's refusal.
    """
    if refusal:
        return _error("refused_content", None, _short(f"content refused by the model: {refusal}"))
    if finish_reason.lower() in _REFUSED:
        return _error("refused_content", None, "content refused by the provider's filter")
    if finish_reason == "length":
        return unusable_response("empty answer: all of LLM_MAX_TOKENS went before its first word")
    return unusable_response("empty answer")


def unusable_response(why: str) -> ProviderError:
    """Classifies a call without a usable response: refused, timed out, aborted, unreadable or empty."""
    if why.startswith("redirected to"):
        return _error("other", None, _short(why))
    return _error("unavailable" if _UNAVAILABLE.match(why) else "no_answer", None, _short(why))


def redacted(text: str, keys: Iterable[str] = ()) -> str:
    """Removes keys from a text, because a provider may repeat parts of the request.

    Args:
        text: Text of the provider.
        keys: Keys that the request may contain; other keys are recognised by their format.
    """
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= MIN_KEY_CHARACTERS:
            text = text.replace(key, "…")
    return _SECRET.sub("…", text)


def _error(cause: Cause, status: int | None, message: str, wait: float | None = None) -> ProviderError:
    kind = _type(cause, wait)
    return ProviderError(
        type=kind,
        cause=cause,
        status_code=status,
        message=message,
        retry_after_seconds=None if kind == "permanent" else wait,
    )


def _type(cause: Cause, wait: float | None) -> ErrorType:
    if cause in ("unavailable", "no_answer"):
        return "overload"
    if cause == "rate_limit":
        return "quota" if (wait or 0) >= LONG_RETRY_AFTER_SECONDS else "overload"
    return "quota" if cause in NOT_ADMITTED else "permanent"


def _cause(status: int, text: str) -> Cause:
    if status == 402:
        return "credit"
    if status == _OVERLOADED:
        return "unavailable"
    if status >= 500 or status in _TEMPORARY:
        return _first(_RULES_OF_SERVERS, text, "unavailable")
    rules = _RULES.get(status, (*_RULES_OF_REQUESTS, *_RULES_OF_LAST_RESORT))
    return _first(rules, text, _OTHERWISE.get(status, "other"))


def _first(rules: Sequence[_Rule], text: str, otherwise: Cause) -> Cause:
    return next((cause for cause, says in rules if says(text)), otherwise)


def _words_of(body: str) -> str:
    """Returns the texts of a body in lower case, one on each line, without quoted requests and paths of links."""
    text = "\n".join(_texts(body))[:MAX_READ_CHARACTERS].lower()
    return re.sub(r"(https?://[^/\s\"']{1,200})[^\s\"')]*", r"\1", text)


def _texts(body: str) -> Iterator[str]:
    """Yields the texts in a JSON body, including those in nested JSON texts; yields any other body unchanged."""
    waiting: list[object] = [body]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [value for name, value in reversed(each.items()) if name not in _OURS]
        elif isinstance(each, list):
            waiting += reversed(each)
        elif isinstance(each, str):
            inner = _parsed(each)
            if inner is None:
                yield unescaped(each[:MAX_READ_CHARACTERS])
            else:
                waiting.append(inner)


def _parsed(text: str) -> object:
    """Returns the object or list in a JSON text; None if it has neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def _short(text: str) -> str:
    """Returns a text on one line, shortened, storable, and with its escaped characters decoded."""
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text[: 2 * MAX_READ_CHARACTERS])
    paired = decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return storable(" ".join(paired.split()))[:MAX_MESSAGE_CHARACTERS]
