"""The texts of the pages: one catalogue for each language, `locales/*.json`.

Keys are flat. Texts have named placeholders such as `{count}`. A text that depends on a number has two entries,
`KEY.one` and `KEY.other`. `static/format.js` fills the same texts in the browser in the same way.
"""

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from werkzeug.datastructures import LanguageAccept

Language = Literal["en", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LOCALES = Path(__file__).parent / "locales"

NONE = "\u2013"
"""Shown for a number that does not exist yet."""


class Texts:
    """The texts and number formats of one language."""

    def __init__(self, language: Language, entries: dict[str, str]) -> None:
        self.language = language
        self.entries = entries

    def __call__(self, key: str, **values: Any) -> str:
        """Returns a text with its placeholders filled.

        Raises:
            KeyError: The text does not exist, or a placeholder has no value.
        """
        return self.entries[key].format_map(values)

    def plural(self, key: str, count: int, **values: Any) -> str:
        """Returns the text for this number, which replaces the placeholder `count`."""
        form = "one" if count == 1 else "other"
        return self(f"{key}.{form}", count=self.number(count), **values)

    def number(self, value: float | None, digits: int = 0) -> str:
        """Formats a number with this language's separators and a real minus sign."""
        if value is None:
            return NONE
        text = f"{value:,.{digits}f}".replace("-", "\u2212")
        if self.language == "es":
            # Spanish groups digits of numbers with at least five digits.
            return (text.replace(",", "") if abs(value) < 10_000 else text).translate(str.maketrans(",.", ".,"))
        return text

    def percent(self, share: float | None, digits: int = 1) -> str:
        """Formats a share (0 to 1) in percent."""
        if share is None:
            return NONE
        return self.number(share * 100, digits) + ("\u00a0%" if self.language == "es" else "%")

    def cost(self, value: Decimal | None) -> str:
        """Formats an amount of money: two decimals from 1 up, three significant digits below."""
        if not value:
            return NONE if value is None else self.number(0)
        return self.number(float(value), 2 if value >= 1 else 2 - value.adjusted())

    def duration(self, milliseconds: float | None) -> str:
        """Formats a duration with a suitable unit."""
        if milliseconds is None:
            return NONE
        if milliseconds < 1000:
            return f"{self.number(milliseconds)}\u00a0ms"
        if milliseconds < 60_000:
            return f"{self.number(milliseconds / 1000, 1)}\u00a0s"
        return f"{self.number(milliseconds / 60_000, 1)}\u00a0min"


@cache
def catalogue(language: Language) -> Texts:
    """Reads the catalogue of a language."""
    return Texts(language, json.loads((LOCALES / f"{language}.json").read_text(encoding="utf-8")))


def choose(asked: str | None, kept: str | None, accepted: LanguageAccept) -> Language:
    """Chooses a language: that of the address, or the cookie, or the browser, or English.

    Args:
        asked: Language in the address.
        kept: Language in the cookie.
        accepted: The header `Accept-Language`.
    """
    for each in LANGUAGES:
        if asked == each:
            return each
    for each in LANGUAGES:
        if kept == each:
            return each
    # `best_match` would prefer an exact `en` of low quality to `es-MX`.
    for tag in accepted.values():
        for each in LANGUAGES:
            if tag.split("-")[0].lower() == each:
                return each
    return "en"
