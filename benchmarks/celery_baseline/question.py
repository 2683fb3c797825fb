"""What makes two questions the same question."""

import hashlib
import unicodedata


def question_id(text: str, context: str | None) -> str:
    """Returns the id that equal questions share, as the fleet makes it."""
    normalised = (" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in (text, context or ""))
    return hashlib.sha256("\n".join(normalised).encode()).hexdigest()[:32]
