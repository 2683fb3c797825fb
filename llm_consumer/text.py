"""What is done to a text that comes from a provider. Pure."""


def whole_sentences(text: str) -> str:
    """Cuts an answer that hit the limit of tokens after its last full sentence; without one it stays as it is."""
    text = text.strip()
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n", "!\n", "?\n"))
    if text.endswith((".", "!", "?")) or end < 0:
        return text
    return text[: end + 1]


def storable(text: str) -> str:
    """Replaces what is no text to UTF-8 (lone surrogates) or to PostgreSQL (NUL)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
