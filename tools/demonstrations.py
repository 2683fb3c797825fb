"""Generates the demonstration in each language from one source.

In the source, `docs/demonstration.md.in`, a line `<!-- en -->` or `<!-- es -->` starts a part for that language only,
and `<!-- both -->` a part for both: commands and their output.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = DOCS / "demonstration.md.in"
DOCUMENTS = {"demonstration.md": "en", "demostracion.md": "es"}
"""Language of each document."""

_MARK = re.compile(r"<!-- (en|es|both) -->\n")


def render(source: str, language: str) -> str:
    """Returns the document in a language."""
    # re.split with a group: text, mark, text, mark, text, …
    first, *rest = _MARK.split(source)
    parts = [("both", first), *zip(rest[::2], rest[1::2], strict=True)]
    return "".join(text for mark, text in parts if mark in (language, "both"))


def documents() -> dict[str, str]:
    """Returns the text of each document by its name."""
    source = SOURCE.read_text(encoding="utf-8")
    return {name: render(source, language) for name, language in DOCUMENTS.items()}
