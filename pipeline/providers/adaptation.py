"""Adapts requests to a target, by rules learnt from its error messages. Pure.

Models differ in the fields that they support: some only know `max_completion_tokens`, some have no system message, some
allow no temperature above 1, others return no log-probabilities of tokens. An adaptation is a set of rules; each is
learnt once, from a refusal that names the field.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

CAP_TEMPERATURE = "temperature is at most 1"
CAP_TOP_LOGPROBS = "top_logprobs is at most 5"
RENAME_MAX_TOKENS = "max_tokens is sent as max_completion_tokens"
SYSTEM_IN_USER = "the system message goes into the user's message"
_WITHOUT = "without "
_FEWER_LOGPROBS = 5
"""OpenAI's reasoning models allow this number, the other ones 20."""

Adaptation = frozenset[str]
"""Rules as texts, which the check of a provider prints."""

_REQUIRED = {"model", "messages"}
_NAMED = re.compile(
    r"unsupported|not supported|unknown|unrecogni[sz]ed|unexpected|not (?:permitted|allowed|accepted|enabled)"
    r"|extra (?:inputs|fields)|does ?n[o't]t support|invalid|cannot|only the default|deprecated|range|must be|less than"
    r"|no such|additional properties"
)
_ROLE = r"(?:system|developer)[ _'\"`]*(?:role|message|prompt|instruction)"
_NO_SYSTEM = re.compile(
    rf"{_ROLE}s?\b.{{0,80}}(?:not |n't |unsupported)"
    rf"|(?:not |n't |un)(?:support|allow|enabl|accept)\w*.{{0,60}}{_ROLE}"
    r"|roles must alternate|only user and assistant roles"
)
_TOO_HIGH = r"range|between|less than|at most|<=|exceed|maximum|no greater"
_HOT = re.compile(rf"temperature.{{0,80}}(?:{_TOO_HIGH}|\b0(?:\.0)? ?(?:\.\.|,|to|-|and) ?1\b)")
_TOO_MANY_LOGPROBS = re.compile(rf"top_logprobs.{{0,80}}(?:{_TOO_HIGH}|\b0 ?(?:\.\.|,|to|-|and) ?\d)")
_STATUSES = (400, 422)
_STATUS_OF_LOGPROBS = 403
"""OpenAI's status of "You are not allowed to request logprobs from this model"."""


def may_be_about_fields(status: int | None, message: str) -> bool:
    """Returns whether a provider may have refused a request because of one of its fields."""
    return status in _STATUSES or (status == _STATUS_OF_LOGPROBS and "logprobs" in message.lower())


def learn(message: str, fields: Mapping[str, Any], known: Adaptation) -> Adaptation | None:
    """Learns from a refusal of a request.

    Args:
        message: Error message of the provider.
        fields: The refused request, as it was sent.
        known: Rules that were learnt before.

    Returns:
        The rules and one more; None when the message names nothing that can be changed.
    """
    for rule in _rules(message.lower(), fields):
        if rule not in known and apply(fields, frozenset({rule})) != dict(fields):
            return known | {rule}
    return None


def apply(fields: Mapping[str, Any], rules: Adaptation) -> dict[str, Any]:
    """Returns a request that the target accepts."""
    changed = dict(fields)
    if SYSTEM_IN_USER in rules:
        changed["messages"] = _without_system(changed["messages"])
    if RENAME_MAX_TOKENS in rules and "max_tokens" in changed:
        changed.setdefault("max_completion_tokens", changed["max_tokens"])
        del changed["max_tokens"]
    if CAP_TEMPERATURE in rules and isinstance(changed.get("temperature"), int | float):
        changed["temperature"] = min(1.0, changed["temperature"])
    if CAP_TOP_LOGPROBS in rules and isinstance(changed.get("top_logprobs"), int):
        changed["top_logprobs"] = min(_FEWER_LOGPROBS, changed["top_logprobs"])
    if f"{_WITHOUT}logprobs" in rules:
        changed.pop("top_logprobs", None)  # it is only valid together with logprobs
    for rule in rules:
        if rule.startswith(_WITHOUT):
            changed.pop(rule.removeprefix(_WITHOUT), None)
    return changed


def _rules(text: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yields the rules that a refusal suggests, the most likely first."""
    if _NO_SYSTEM.search(text):
        yield SYSTEM_IN_USER
    if "max_completion_tokens" in text and "max_tokens" in fields:
        yield RENAME_MAX_TOKENS
    named = [each for each in fields if each not in _REQUIRED and re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text)]
    if "temperature" in named and "top_p" in named:
        yield f"{_WITHOUT}top_p"
    if "temperature" in named and _HOT.search(text):
        yield CAP_TEMPERATURE
    if "top_logprobs" in named and _TOO_MANY_LOGPROBS.search(text):
        yield CAP_TOP_LOGPROBS
    if not _NAMED.search(text):
        return
    if "max_tokens" in named:
        yield RENAME_MAX_TOKENS
    for each in named:
        yield f"{_WITHOUT}{each}"


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Moves the text of system messages to the start of the first user message."""
    system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
    others = [dict(each) for each in messages if each["role"] != "system"]
    if system and others:
        others[0]["content"] = f"{system}\n\n{others[0]['content']}"
    return others
