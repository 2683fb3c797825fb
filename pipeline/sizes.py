"""Shortens messages to the size limit of their topic. Pure."""

from pipeline import topics
from pipeline.messages import Message, Question, Response

OVERHEAD_BYTES = 512
"""Bytes that the broker adds to key and value when it compares a record with its limit."""

KEPT_CHARACTERS = 500
"""Maximum length of an earlier answer in a shortened history."""

KEPT_ERRORS = 20
"""Maximum number of failed calls in a shortened history; the last ones are kept."""


def fits(topic: str, key: bytes | None, value: bytes) -> bool:
    """Returns whether a record is small enough for its topic."""
    limit = topics.MAX_PERMANENT_BYTES if topic == topics.PERMANENT else topics.MAX_MESSAGE_BYTES
    return len(key or b"") + len(value) + OVERHEAD_BYTES <= limit


def with_short_history(message: Message) -> Message:
    """Returns a message with a shortened history; the question, the answer and the best answer stay complete."""
    if not isinstance(message, Question):
        return message
    attempts = tuple(each.model_copy(update={"llm_response": _cut(each.llm_response)}) for each in message.attempts)
    changes: dict[str, object] = {"attempts": attempts, "errors": message.errors[-KEPT_ERRORS:]}
    if isinstance(message, Response):
        changes["samples"] = tuple(_cut(each) for each in message.samples)
    return message.model_copy(update=changes)


def _cut(text: str) -> str:
    return text if len(text) <= KEPT_CHARACTERS else f"{text[: KEPT_CHARACTERS - 1]}…"
