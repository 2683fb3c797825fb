"""What makes two questions the same question."""

import hashlib
import unicodedata

ID_DIGITS = 32


def normalise(text: str) -> str:
    """Returns `text` in NFKC, case folded, with white space collapsed to single spaces and trimmed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def question_id(text: str, context: str | None = None) -> str:
    """Returns the id of a question: the first 32 hex digits of the SHA-256 of its normalised text and context.

    The two parts are joined by a line feed, which normalised text cannot hold, so that moving words from the one to
    the other makes another question. No context and an empty one are the same.
    """
    parts = f"{normalise(text)}\n{normalise(context or '')}"
    return hashlib.sha256(parts.encode()).hexdigest()[:ID_DIGITS]
