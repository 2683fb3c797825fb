"""Reads answers from successful responses of any OpenAI-compatible provider. Pure.

A provider may send thoughts in separate fields or within the answer, an error instead of an answer, or a stream that
was not requested. Every body is read as a list of objects: a plain completion has one, a stream has many.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.messages import ProviderError
from pipeline.providers.errors import classify_empty, classify_error_body, classify_status, unusable_response
from pipeline.providers.text import separate_thoughts, storable, whole_sentences

MAX_TOKENS = 2**31 - 1
"""Maximum of PostgreSQL's integer; larger counts are clamped."""

MAX_ANSWER_CHARACTERS = 32_000
"""Longer answers are cut, so that three of them with their question fit into a message."""

MAX_MODEL_CHARACTERS = 200
MAX_FINISH_REASON_CHARACTERS = 50

STILL_THINKING = (
    "empty answer: the model was still thinking when it ran out of LLM_MAX_TOKENS; raise it, or turn thinking off with "
    "LLM_EXTRA_BODY"
)
ONLY_THOUGHTS = (
    "empty answer: the model only sent thoughts; raise LLM_MAX_TOKENS, or turn thinking off with LLM_EXTRA_BODY"
)

_CUT = {"length", "max_tokens", "max_output_tokens", "model_length"}
"""Finish reasons of a cut answer: OpenAI's, Gemini's (in capitals), Anthropic's, and Mistral's for a full context."""
_BROKEN_OFF = {"error": 500, "abort": 500, "insufficient_system_resource": 503}
"""Finish reasons of an aborted answer, and the equivalent HTTP status: OpenRouter's, vLLM's, DeepSeek's."""

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""Fields of a message. Providers that fill several of them repeat the same text, so only the first one is read."""
_THOUGHT_PARTS = {"thinking", "reasoning", "reasoning_content", "redacted_thinking", "thought"}
_ANSWER_PARTS = {None, "text", "output_text"}
_TEXT_KEYS = ("text", "thinking", "reasoning", "reasoning_content", "summary", "refusal", "content", "value")
_WORDS = ("error", "message", "msg", "detail", "errors")
"""Fields with the text of an error that is not an object."""
_STATUS_KEYS = ("code", "status", "status_code", "statusCode")

_STREAM_FIELD = re.compile(r"^(?:(?:event|id|retry)?:.*|data:)", re.MULTILINE)
_NEXT = re.compile(r"\s*(?:(?P<json>[{\[])|[^\n]*)")


@dataclass(frozen=True)
class Usage:
    """Tokens of a call.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the output, including thoughts.
        reasoning_tokens: Those of the completion tokens that are thoughts.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
        text: The answer without thoughts, at most `MAX_ANSWER_CHARACTERS`.
        model: Name that the provider returned, or the requested name.
        finish_reason: Finish reason of the provider; `length` for all that mean the limit of tokens.
        usage: Tokens of the call.
        reasoning: The thoughts, if the provider shows them.
    """

    text: str
    model: str
    finish_reason: str
    usage: Usage
    reasoning: str = ""


class NoCompletion(Exception):
    """A successful response without an answer.

    Attributes:
        error: The classified error.
        usage: Tokens of the call.
        empty: True: the model returned an empty answer, which may be a coincidence.
    """

    def __init__(self, error: ProviderError, usage: Usage = Usage(), empty: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage
        self.empty = empty


@dataclass
class _Draft:
    """Content collected from the objects of a body."""

    answered: bool = False
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish_reason: str = "stop"

    def add(self, choice: Mapping[str, Any]) -> None:
        """Adds a complete message, or a part of one.

        Raises:
            ValueError: Its content is not a text.
        """
        self.answered = True
        message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        if not isinstance(message, dict):
            raise ValueError(f"the message is a {type(message).__name__}")
        text, thoughts, refusal = _split(message)
        if not choice.get("delta") and choice.get("message") and text:
            self.text.clear()  # some streams end with the complete message
            self.thoughts.clear()
        self.text.append(text)
        self.thoughts.append(thoughts)
        self.refusal.append(refusal)
        self.finish_reason = _name(choice.get("finish_reason"), MAX_FINISH_REASON_CHARACTERS) or self.finish_reason


def read(body: bytes, asked_model: str, now: datetime) -> Completion:
    """Reads the body of a successful response.

    Args:
        body: Any bytes.
        asked_model: The requested model, used when the response does not name its model.
        now: Time of the response.

    Raises:
        NoCompletion: The body has no answer.
    """
    usage = Usage()
    try:
        objects = [_as_openai(each) for each in _objects(body)]
        usage = _usage(objects)
        draft = _Draft()
        for each in objects:
            choice = _choice(each, len(objects) > 1)
            if error := _error(each, choice, now):
                raise NoCompletion(error, usage)
            if choice:
                draft.add(choice)
        if not draft.answered:
            raise _without_choices(objects, usage)
        model = next(filter(None, (_model(each.get("model")) for each in objects)), _model(asked_model))
        return _completion(draft, model, usage)
    except (ValueError, RecursionError) as error:
        raise NoCompletion(unusable_response(f"unreadable answer: {error}"), usage) from error


def _completion(draft: _Draft, model: str, usage: Usage) -> Completion:
    cut = draft.finish_reason.lower() in _CUT
    finish_reason = "length" if cut else draft.finish_reason
    separated = separate_thoughts(storable("".join(draft.text)), cut)
    thoughts = "\n\n".join(filter(None, (storable("".join(draft.thoughts)).strip(), separated.thoughts)))
    if separated.answer:
        text = whole_sentences(separated.answer) if cut else separated.answer
        return Completion(text[:MAX_ANSWER_CHARACTERS], model, finish_reason, usage, thoughts)
    error = classify_empty(finish_reason, "".join(draft.refusal) or None)
    if error.type == "permanent":
        raise NoCompletion(error, usage)
    if separated.still_thinking or (cut and (thoughts or usage.reasoning_tokens)):
        error = unusable_response(STILL_THINKING)
    elif thoughts:
        error = unusable_response(ONLY_THOUGHTS)
    raise _empty(error, usage)


def _without_choices(objects: list[dict[str, Any]], usage: Usage) -> NoCompletion:
    shown = json.dumps(objects[0], ensure_ascii=False)
    if "choices" in objects[0]:
        return _empty(unusable_response(f"empty answer: it has no choices: {shown}"), usage)
    return NoCompletion(unusable_response(f"unreadable answer: it has no choices: {shown}"), usage)


def _empty(error: ProviderError, usage: Usage) -> NoCompletion:
    return NoCompletion(error.model_copy(update={"cause": "no_answer"}), usage, empty=True)


def _objects(body: bytes) -> list[dict[str, Any]]:
    """Returns the JSON objects of a body: a single object, a list, lines of JSON, or an event stream.

    Other text between and after them is ignored.

    Raises:
        ValueError: An object is invalid, or there is none.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass").replace("\r", "\n").lstrip("\ufeff \t\n")
    streamed = text[:1] not in ("{", "[")
    values = _values(_STREAM_FIELD.sub("", text) if streamed else text)
    objects = [each for value in values for each in value if isinstance(each, dict)]
    if not objects:
        raise ValueError(f"no JSON object in it: {text[:500]}")
    return objects


def _values(text: str) -> Iterator[list[Any]]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        found = _NEXT.match(text, at)
        assert found
        at = found.end()
        if found["json"]:
            try:
                value, at = decoder.raw_decode(text, at - 1)
            except json.JSONDecodeError:
                if found["json"] == "{":
                    raise
                return  # [DONE]
            yield value if isinstance(value, list) else [value]


def _as_openai(body: dict[str, Any]) -> dict[str, Any]:
    """Converts a response of Ollama's own API to OpenAI's format; returns other responses unchanged."""
    message = body.get("message", {"content": body.get("response"), "thinking": body.get("thinking")})
    if "choices" in body or "done" not in body or not isinstance(message, dict):
        return body
    usage = {"prompt_tokens": body.get("prompt_eval_count"), "completion_tokens": body.get("eval_count")}
    return {**body, "choices": [{"delta": message, "finish_reason": body.get("done_reason")}], "usage": usage}


def _choice(body: Mapping[str, Any], streamed: bool) -> dict[str, Any]:
    """Returns the first choice, or an empty one when there is none."""
    choices = body.get("choices") or [{}]
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise ValueError("its choices are no list of objects")
    return {} if streamed and choices[0].get("index") else choices[0]


def _error(body: Mapping[str, Any], choice: Mapping[str, Any], now: datetime) -> ProviderError | None:
    """Returns the error in a body, even if it has a text as well; None when there is none."""
    for owner in (body, choice):
        error = owner.get("error")
        if isinstance(error, dict) and any(error.values()):
            while isinstance(error.get("error"), dict):
                error = error["error"]
            return _classified(error, owner, now)
        if error and not isinstance(error, dict):
            named = {key: owner[key] for key in ("type", "code") if owner.get(key)}
            return _classified({"message": _words(owner), **named}, owner, now)
    if body.get("object") == "error" or (not body.get("choices") and _words(body)):
        return _classified({**body, "message": _words(body) or body.get("message")}, body, now)
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason.lower() in _BROKEN_OFF:
        why = f"the provider broke the answer off: finish_reason {reason}"
        return classify_status(_BROKEN_OFF[reason.lower()], why, {}, now)
    return None


def _classified(error: Mapping[str, Any], owner: Mapping[str, Any], now: datetime) -> ProviderError:
    """Classifies an error by the status in it, or in the object that contains it."""
    codes = [_count(each.get(key)) for each in (error, owner) for key in _STATUS_KEYS]
    status = next((code for code in codes if 400 <= code <= 599), None)
    named = error.get("code")  # for example "insufficient_quota"
    kept = {"reason": named} if isinstance(named, str) and not named.isdigit() else {}
    return classify_error_body({**error, **kept, "code": status} if status else error, now)


def _words(owner: Mapping[str, Any]) -> str:
    """Returns the text of an error that is not an object. A `message` that is an object may be the model's answer."""
    found = {key: owner[key] for key in _WORDS if owner.get(key) and not isinstance(owner[key], bool)}
    words = [each for key, each in found.items() if key != "message" or not isinstance(each, dict)]
    return ": ".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in words)


def _split(message: Mapping[str, Any]) -> tuple[str, str, str]:
    """Returns the answer, the thoughts and the refusal in a message."""
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise ValueError(f"its content is a {type(content).__name__}")
    parts = content if isinstance(content, list) else [content]
    said, thought, refused = (
        "".join(_plain(part) for part in parts if _kind(part) in kinds)
        for kinds in (_ANSWER_PARTS, _THOUGHT_PARTS, {"refusal"})
    )
    shown = next(filter(None, (_plain(message.get(name)) for name in _THOUGHT_FIELDS)), "")
    return said, shown + thought, _plain(message.get("refusal")) + refused


def _kind(part: object) -> str | None:
    """Returns the type of a part of the content; None: it has no type and is a text."""
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    return "thought" if part.get("thought") is True else kind if isinstance(kind, str) else None


def _plain(value: object) -> str:
    """Returns the text of a string, of a part, or of a list of parts."""
    if isinstance(value, dict):
        return next(filter(None, (_plain(value.get(key)) for key in _TEXT_KEYS)), "")
    if isinstance(value, list):
        return "".join(map(_plain, value))
    return value if isinstance(value, str) else ""


def _usage(objects: list[dict[str, Any]]) -> Usage:
    """Returns the tokens of a call. Thoughts cost as much as the answer.

    OpenAI counts thoughts as completion tokens; others count them only in the total (router-for-me/CLIProxyAPI#5733,
    mozilla-ai/any-llm#1290).
    """
    found = [each["usage"] for each in objects if isinstance(each.get("usage"), dict) and each["usage"]]
    usage = found[-1] if found else {}
    details = usage.get("completion_tokens_details")
    details = details if isinstance(details, dict) else {}
    prompt, said = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    beyond = max(0, _count(usage.get("total_tokens")) - prompt - said)
    thought = _count(details.get("reasoning_tokens")) or _count(usage.get("reasoning_tokens")) or beyond
    counts = (prompt, max(said + beyond, thought), thought)
    return Usage(*(min(count, MAX_TOKENS) for count in counts))


def _count(value: object) -> int:
    """Returns a count; 0 for any other value."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _model(value: object) -> str:
    """Returns a storable model name; an empty text when the value is not a name."""
    names = value if isinstance(value, list) else [value]
    return next(filter(None, (_name(name, MAX_MODEL_CHARACTERS) for name in names)), "")


def _name(value: object, limit: int) -> str:
    return storable(value).strip()[:limit] if isinstance(value, str) else ""
