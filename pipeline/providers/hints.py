"""Reads waits and limits from responses of providers: from headers, from the body, and from texts. Pure.

Hints that cannot be read are ignored; no function fails because of them.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Literal

Kind = Literal["requests", "tokens"]

MAX_READ_CHARACTERS = 10_000
"""Maximum length of a body that is read; errors are shorter, and the rest of a page has no hints."""

FIRST_EPOCH_SECONDS = 1e9
"""A number of at least this (the year 2001) is a time; as a wait it would be 31 years."""
FIRST_EPOCH_MILLISECONDS = 1e11

CHINA = timezone(timedelta(hours=8))
"""Time zone of Chinese providers, which report times without a zone (Zhipu: Wei-Shaw/sub2api#362)."""


@dataclass(frozen=True)
class Limit:
    """A limit of a provider; fields that it does not report are None.

    Attributes:
        kind: What the limit counts.
        limit: Number in a window. A limit of 0 cannot pace calls, and is treated as not reported.
        remaining: Remaining number in the current window.
        reset_seconds: Time until the whole limit is available again.
        window_seconds: Length of the window, if a name or text contains it.
    """

    kind: Kind
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
    window_seconds: float | None = None


_UNITS = (
    (r"milliseconds?|millis|msecs?|ms|毫秒", 1e-3),
    (r"[µu]s", 1e-6),
    (r"ns", 1e-9),
    (r"seconds?|secs?|s|秒钟?", 1),
    (r"minutes?|mins?|m|分钟?", 60),
    (r"hours?|hrs?|h|(?:个)?小时", 3600),
    (r"days?|d|天", 86_400),
)
_PART = r"\d{1,12}(?:\.\d{1,12})?\s?(?:" + "|".join(unit for unit, _ in _UNITS) + r")(?![a-z])"
_DURATION = rf"{_PART}(?:[\s,]{{0,2}}(?:and\s)?{_PART}){{0,5}}"
_PARTS = re.compile(
    r"(\d{1,12}(?:\.\d{1,12})?)\s?(?:" + "|".join(f"({unit})" for unit, _ in _UNITS) + r")(?![a-z])", re.IGNORECASE
)
_WHOLE_DURATION = re.compile(rf"\s*{_DURATION}\s*", re.IGNORECASE)

_DATE = r"\d{4}-\d\d-\d\d(?:t|\s(?:at\s)?)\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:\s?(?:z|utc|gmt)\b|[+-]\d\d:?\d\d)?"
_WHOLE_DATE = re.compile(rf"\s*({_DATE})\s*", re.IGNORECASE)

_LEAD = r"\b(?:try|retry(?:ing)?|retried|again|wait(?:ing)?|resets?|available)\b"
_WORDS = re.compile(
    rf"{_LEAD}(?:[^.\d]{{0,40}}?\b(?:in|after|for|another|about|approximately|around|least))?[\s:]{{0,2}}(?P<en>{_DURATION})"
    rf"|等待?\s?(?P<zh>{_DURATION})|(?P<after>{_DURATION})\s?(?:之|以)?后",
    re.IGNORECASE,
)
_AT = re.compile(
    rf"\b(?:resets?|again|retry|access|available|until)\b[^\d\"'.]{{0,40}}?(?P<at>{_DATE})"
    rf"|(?P<zh>{_DATE})\s?(?:重置|恢复|之?后|以后)",
    re.IGNORECASE,
)
_RETRY_INFO = re.compile(
    rf"(?:retry|reset)_?delay[\"']?\s?[:=]\s?[\"']?(?P<text>{_DURATION})"
    r"|retry_?delay\s?\{\s?seconds:\s?(?P<seconds>\d{1,12})",
    re.IGNORECASE,
)
"""google.rpc.RetryInfo, as JSON and in the text format of protocol buffers."""
_FIELD = re.compile(
    r"[\"'](?:retry|resets?)[-_]?(?:after|in|at|(?=sec))[-_]?(?P<unit>ms|seconds?|secs?|s)?[\"']\s?:\s?[\"']?"
    rf"(?:(?P<number>\d{{1,15}}(?:\.\d{{1,9}})?)(?![\d:-])|(?P<at>{_DATE}))"
    r"|[\"']estimated_time[\"']\s?:\s?(?P<loading>\d{1,6}(?:\.\d{1,9})?)",
    re.IGNORECASE,
)
"""A field of the body. `estimated_time` is the time until Hugging Face has loaded a model."""

_ESCAPED = re.compile(r"\\{1,32}(?:u([0-9a-fA-F]{4})|([\"'/])|[nrt])")

_FAMILIES: Mapping[str, Kind] = {"ratelimit": "requests", "ratelimitbysize": "tokens", "tokenlimit": "tokens"}
"""Words in header names, and what they count by default. `tokenlimit` is Together's, `ratelimitbysize` Mistral's."""
_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 2_592_000}
_FIELDS = ("limit", "remaining", "reset")

_IN_BODY = re.compile(
    r"(?<![a-z-])(?P<name>[a-z-]{0,30}(?:ratelimit|tokenlimit)[a-z-]{0,40})[\"']?\s?[:=]\s?"
    r"[\"']?(?P<value>[^\"',}\s]{1,40})",
    re.IGNORECASE,
)
"""Headers that OpenRouter quotes in its body."""
_COMBINED = {
    "limit": re.compile(r"\b(?:limit|q)=(\d{1,15})"),
    "remaining": re.compile(r"\b(?:remaining|r)=(\d{1,15})"),
    "reset": re.compile(r"\b(?:reset|t)=(\d{1,15})"),
}
"""Fields of the header `RateLimit` in the drafts 3 to 10 of the IETF (draft-ietf-httpapi-ratelimit-headers)."""
_COUNT = re.compile(r"\s*(\d{1,15})")
_THOUSANDS = re.compile(r"\s*\d{1,3}(?:,\d{3})+\s*")
_WINDOW = re.compile(r";\s*(?:w|window)=(\d{1,9})")

_N = r"(\d[\d,]{0,14})(?:\.0+)?"
_PERIOD = r"(second|sec|s|minute|min|m|hour|h|day|d|week|month)s?\b"
_OPENAI_WORDS = re.compile(
    rf"\b(request|token)s?\sper\s{_PERIOD}[^\d]{{0,40}}?\blimit:?\s?{_N}(?:\s?/\s?\w{{1,6}})?(?:,?\s?used:?\s?{_N})?",
    re.IGNORECASE,
)
_ABBREVIATED_WORDS = re.compile(
    rf"\b([rt])p([smhd])(?:\s(?:rate\s)?limit)?[,:]?\s?(?:current:?\s?{_N},?\s?)?(?:limit:?\s?)?{_N}\b", re.IGNORECASE
)
"""Moonshot's `max RPM: 3` and `TPD rate limit, current: 1505241, limit: 1500000`."""
_LIMIT_OF_WORDS = re.compile(
    rf"limit[^.\d]{{0,60}}?{_N}\s?(?:input\s|output\s|api\s|prompt\s)?(request|call|quer(?:y|ie)|token)s?\s?"
    rf"(?:per|/|an?|each|every)\s?(?:(\d{{1,6}})\s?)?{_PERIOD}",
    re.IGNORECASE,
)
_LIMIT_WORDS = re.compile(rf"\blimit(?:\sof|:|\sis)?\s?{_N}\s?(?:/|per)\s?(?:(\d{{1,6}})\s?)?{_PERIOD}", re.IGNORECASE)
_QUOTA_FAILURE = re.compile(
    r"quota_?id[\"']?\s?:\s?[\"']?([\w-]{1,200})[\"']?.{0,400}?quota_?value[\"']?\s?:\s?[\"']?(\d{1,15})", re.IGNORECASE
)
"""google.rpc.QuotaFailure."""
_QUOTA_PERIOD = re.compile(r"per(second|minute|hour|day)", re.IGNORECASE)


def wait_seconds(headers: Mapping[str, str], body: str, now: datetime) -> float | None:
    """Returns the wait that the provider asks for, in seconds; None if it asks for none.

    A header has the highest priority, then Google's `retryDelay`, then texts, then the reset time of a used-up limit.
    Of several hints of the same kind, the longest wait is used.

    Args:
        headers: Headers of the response, with lower-case or case-insensitive names.
        body: Text of the body.
        now: Time of the response.
    """
    header = retry_after_seconds(headers, now)
    if header:
        return header
    text = _flat(body)
    limited = [*_of_headers(headers, now), *_of_body(text, now)]
    for waits in (
        _retry_info(text),
        [*_words(text, now), *_fields(text, now)],
        [each.reset_seconds for each in limited if each.remaining == 0 and each.reset_seconds is not None],
        [_until(headers.get("x-ratelimit-reset-after"), now)],
    ):
        found = [wait for wait in waits if wait is not None]
        if found:
            return max(found)
    return header


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Returns the wait that a header asks for, in seconds.

    The header is `Retry-After` (RFC 9110, section 10.2.3), or OpenAI's or Azure's header in milliseconds.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    return _until(headers.get("retry-after"), now)


def limits(headers: Mapping[str, str], body: str, now: datetime) -> tuple[Limit, ...]:
    """Returns the limits that a response reports.

    Args:
        headers: Headers of the response, with names in any case.
        body: Text of an error; empty for an answer, because a model may write about limits, too.
        now: Time of the response.
    """
    text = _flat(body)
    return tuple(dict.fromkeys([*_of_headers(headers, now), *_of_body(text, now), *_of_words(text)]))


def unescaped(text: str) -> str:
    """Removes JSON escapes from a text, even if it was quoted several times."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2] or " ", text)


def _flat(body: str) -> str:
    return " ".join(unescaped(body[:MAX_READ_CHARACTERS]).split())


# --- waits -------------------------------------------------------------------------------------------------------


def _retry_info(text: str) -> list[float]:
    return [float(each["seconds"] or _duration(each["text"])) for each in _RETRY_INFO.finditer(text)]


def _words(text: str, now: datetime) -> Iterator[float | None]:
    for each in _WORDS.finditer(text):
        yield _duration(each["en"] or each["zh"] or each["after"])
    for each in _AT.finditer(text):
        yield _until_date(each["at"], now) if each["at"] else _until_date(each["zh"], now, CHINA)


def _fields(text: str, now: datetime) -> Iterator[float | None]:
    for each in _FIELD.finditer(text):
        if each["at"]:
            yield _until_date(each["at"], now)
        elif each["loading"]:
            yield float(each["loading"])
        elif (each["unit"] or "").lower() == "ms":
            yield float(each["number"]) / 1000
        else:
            yield _until(each["number"], now)


def _duration(text: str) -> float:
    """Returns the seconds of a duration like `6m0s`, `2 minutes` or `120ms`."""
    return sum(float(each[1]) * _UNITS[(each.lastindex or 2) - 2][1] for each in _PARTS.finditer(text))


def _number(value: str | None) -> float | None:
    """Returns a number; 0 for a negative one, None for any other text."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(value: str | None, now: datetime) -> float | None:
    """Returns the seconds of a wait or until a time: a number, a duration, or a date of RFC 3339 or HTTP."""
    if not value:
        return None
    number = _number(value)
    if number is not None:
        if number >= FIRST_EPOCH_MILLISECONDS:
            return max(0.0, number / 1000 - now.timestamp())
        return max(0.0, number - now.timestamp()) if number >= FIRST_EPOCH_SECONDS else number
    if _WHOLE_DURATION.fullmatch(value[:100]):
        return _duration(value)
    found = _WHOLE_DATE.fullmatch(value[:100])
    if found:
        return _until_date(found[1], now)
    try:
        return _until_moment(parsedate_to_datetime(value), now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _until_date(date: str, now: datetime, zone: timezone = UTC) -> float | None:
    """Returns the seconds until a date of RFC 3339; `T`, seconds and zone may be missing."""
    plain = re.sub(r"\s?(?:z|utc|gmt)$", "+00:00", re.sub(r"\sat\s", " ", date.lower()))
    try:
        return _until_moment(datetime.fromisoformat(plain.replace("t", " ")), now, zone)
    except (ValueError, OverflowError):
        return None


def _until_moment(moment: datetime, now: datetime, zone: timezone = UTC) -> float:
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or zone) - now).total_seconds())


# --- limits ------------------------------------------------------------------------------------------------------


def _of_headers(headers: Mapping[str, str], now: datetime) -> Iterator[Limit]:
    """Yields the limits in headers. All providers use the same words in their names, but in different orders."""
    reported: dict[tuple[str, ...], dict[str, str]] = {}
    kinds: dict[tuple[str, ...], Kind] = {}
    for name, value in headers.items():
        words = name.lower().replace("rate-limit", "ratelimit").split("-")
        family = next((word for word in words if word in _FAMILIES), None)
        if family is None:
            continue
        if words[-1] == family:
            yield from _combined(value, now)
            continue
        words.remove(family)
        field = next((word for word in words if word in _FIELDS), None)
        if field is None:
            continue
        group = (family, *(word for word in words if word not in ("x", "after", *_FIELDS)))
        reported.setdefault(group, {})[field] = value
        kinds[group] = _kind(words, family)
    for group, values in reported.items():
        window = next((float(_PERIODS[word]) for word in group if word in _PERIODS), None)
        yield from _limit(kinds[group], values, window, now)


def _kind(words: list[str], family: str) -> Kind:
    if any(word.startswith("token") for word in words):
        return "tokens"
    return "requests" if any(word.startswith("req") for word in words) else _FAMILIES[family]


def _combined(value: str, now: datetime) -> Iterator[Limit]:
    """Yields the limit in the header `RateLimit`, which contains all fields."""
    found = {name: pattern.search(value[:200]) for name, pattern in _COMBINED.items()}
    yield from _limit("requests", {name: match[1] for name, match in found.items() if match}, None, now)


def _limit(kind: Kind, values: Mapping[str, str], window: float | None, now: datetime) -> Iterator[Limit]:
    limit = _count(values.get("limit", ""))
    remaining = _count(values.get("remaining", ""))
    named = _WINDOW.search(values.get("limit", "")[:200])
    found = Limit(
        kind,
        limit or None,
        remaining,
        _until(values.get("reset"), now),
        (float(named[1]) or None) if named else window,
    )
    if (found.limit, found.remaining, found.reset_seconds) != (None, None, None):
        yield found


def _count(value: str) -> int | None:
    """Returns the first number of a value, which may be a list or have commas between thousands."""
    whole = value.replace(",", "") if _THOUSANDS.fullmatch(value[:40]) else value
    found = _COUNT.match(whole)
    return int(found[1]) if found else None


def _of_body(text: str, now: datetime) -> Iterator[Limit]:
    """Yields the limits in headers that the body quotes."""
    yield from _of_headers({each["name"]: each["value"] for each in _IN_BODY.finditer(text)}, now)


def _of_words(text: str) -> Iterator[Limit]:
    """Yields the limits that a text mentions; a limit that several patterns match is yielded once."""
    found: dict[tuple[Kind, int | None, float | None], Limit] = {}
    for each in _mentioned(text):
        found.setdefault((each.kind, each.limit, each.window_seconds), each)
    yield from found.values()


def _mentioned(text: str) -> Iterator[Limit]:
    for each in _OPENAI_WORDS.finditer(text):
        yield from _limit_from_words(each[1], each[3], each[2], used=each[4])
    for each in _ABBREVIATED_WORDS.finditer(text):
        yield from _limit_from_words(each[1], each[4], each[2], used=each[3])
    for each in _LIMIT_OF_WORDS.finditer(text):
        yield from _limit_from_words(each[2], each[1], each[4], each[3])
    for each in _LIMIT_WORDS.finditer(text):
        yield from _limit_from_words("request", each[1], each[3], each[2])
    for each in _QUOTA_FAILURE.finditer(text):
        period = _QUOTA_PERIOD.search(each[1])
        kind = "token" if "token" in each[1].lower() else "request"
        yield from _limit_from_words(kind, each[2], period[1] if period else None)


def _limit_from_words(
    kind: str, limit: str, period: str | None, periods: str | None = None, used: str | None = None
) -> Iterator[Limit]:
    """Yields a limit from its words: what it counts, the number, the period, the number of periods, and the usage."""
    count = int(limit.replace(",", ""))
    if not count:
        return
    named = next((name for name in _PERIODS if period and name.startswith(period.lower())), None)
    window = _PERIODS[named] * float(periods or 1) if named else None
    left = max(0, count - int(used.replace(",", ""))) if used else None
    yield Limit("tokens" if kind.lower().startswith("t") else "requests", count, left, None, window or None)
