"""What a provider's error means: which topic it goes to, and who is at fault. Pure.

`type` says what becomes of the question, `cause` why the call failed (`pipeline/messages.py`). There are hundreds of
providers and gateways, and what they mean stands in their words more than in the status: spent credit comes as 400,
401, 402, 403 and 429. `tests/unit/llm_consumer/provider_responses.py` holds what they say, with sources.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from llm_consumer.hints import MAX_READ_CHARACTERS, unescaped, wait_seconds
from llm_consumer.text import storable
from llm_consumer.wordings import (
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
from pipeline.messages import NOT_ADMITTED, CallError, Cause, ErrorType

LONG_RETRY_AFTER_SECONDS = 30
"""A provider that asks for a wait of at least this means a quota, not a busy moment."""

MAX_MESSAGE_CHARACTERS = 500
MIN_KEY_CHARACTERS = 4
"""Of a key that is taken out of texts; a shorter one is a placeholder, and stands in many words."""

_TEMPORARY = {408, 425, 498, 499}
"""Beside 5xx: a time-out, too early, Groq's "Flex Tier capacity exceeded", and a call that a proxy gave up."""
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
"""Reasons to finish: OpenAI's, Gemini's own, which its OpenAI-compatible API lets through, Anthropic's and Zhipu's."""

_OURS = {"input", "prompt", "messages", "failed_generation"}
"""Fields of an error that quote the request, or what the model wrote: a question may speak of credit, too."""

_SECRET = re.compile(
    r"\bBearer\s+[^\s\"',}]+"
    r"|\b(?:sk|ak|pk|rk|gsk|csk|xai|hf|r8|nvapi|pplx|fw|tgp)[-_][\w*…-]{4,}(?:\.{2,}[\w*]+)?"
    r"|\bAIza[\w*-]{8,}"
    r"|(?<![\w-])[\w-]{0,60}\*{3,}[\w-]*",
    re.IGNORECASE,
)
"""Keys as providers give them out, and as they show them: with asterisks, or dots, in the middle."""


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
    """Says whether a quota is meant: by the first period that the words name; what follows may be advice."""
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
"""By status: what to look for, in which order."""
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
"""Of 400, 413, 422 and other statuses that find fault with the request."""
_RULES_OF_LAST_RESORT: Sequence[_Rule] = (("credit", _may_be_credit), ("field", FIELD_NAME.search))
_RULES_OF_SERVERS: Sequence[_Rule] = (
    ("credit", _is_credit),
    ("context_length", CONTEXT.search),
    ("rate_limit", _is_rate),
    ("quota", EXHAUSTED.search),
)
"""Of 5xx, with which some gateways pass on what another provider refused."""
_OTHERWISE: Mapping[int, Cause] = {
    401: "key",
    403: "access",
    413: "context_length",
    429: "rate_limit",
    451: "access",
}
"""What a status means whose words say nothing."""


def classify_status(status: int, body: str, headers: Mapping[str, str], now: datetime) -> CallError:
    """Sorts an HTTP answer that is not a success.

    Args:
        status: HTTP status.
        body: Its text.
        headers: With lower-case names, or with names in which case does not count.
        now: Time of the answer, against which dates are read.
    """
    wait = wait_seconds(headers, body, now)
    message = _short(body) or f"HTTP {status} without a message"
    return _error(_cause(status, _words_of(body)), status, message, wait)


def classify_error_body(error: Mapping[str, Any], now: datetime) -> CallError:
    """Sorts an error that came in the body of a success, as some gateways send it.

    Args:
        error: The `error` object; its `code` counts as the HTTP status if it is one.
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


def classify_empty(finish_reason: str, refusal: str | None) -> CallError:
    """Sorts a success without a text: what is refused will be refused again, anything else may have been bad luck.

    Args:
        finish_reason: Of the answer.
        refusal: What the model says in place of an answer.
    """
    if refusal:
        return _error("refused_content", None, _short(f"content refused by the model: {refusal}"))
    if finish_reason.lower() in _REFUSED:
        return _error("refused_content", None, "content refused by the provider's filter")
    if finish_reason == "length":
        return unusable_response("empty answer: all of LLM_MAX_TOKENS went before its first word")
    return unusable_response("empty answer")


def unusable_response(why: str) -> CallError:
    """Sorts a call without a usable HTTP answer: refused, timed out, broken off, not readable, empty."""
    if why.startswith("redirected to"):
        return _error("other", None, _short(why))
    return _error("unavailable" if _UNAVAILABLE.match(why) else "no_answer", None, _short(why))


def redacted(text: str, keys: Iterable[str] = ()) -> str:
    """Takes keys out of a text: a provider may repeat what it was sent.

    Args:
        text: What it said.
        keys: Those that it may have been sent; others are known by their shape.
    """
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= MIN_KEY_CHARACTERS:
            text = text.replace(key, "…")
    return _SECRET.sub("…", text)


def _error(cause: Cause, status: int | None, message: str, wait: float | None = None) -> CallError:
    kind = _type(cause, wait)
    return CallError(
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
    """Returns the words of a body in small letters, a line each, without what it quotes and without paths of links."""
    text = "\n".join(_texts(body))[:MAX_READ_CHARACTERS].lower()
    return re.sub(r"(https?://[^/\s\"']{1,200})[^\s\"')]*", r"\1", text)


def _texts(body: str) -> Iterator[str]:
    """Yields the texts of a body that is JSON, those of JSON in them, too; another body as it is."""
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
    """Returns an object or a list; None if the text is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed


def _short(text: str) -> str:
    """Returns a text on one line, short, storable, and with characters in place of their codes."""
    decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text[: 2 * MAX_READ_CHARACTERS])
    paired = decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return storable(" ".join(paired.split()))[:MAX_MESSAGE_CHARACTERS]
