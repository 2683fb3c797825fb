"""Ids of questions: the normal form of a text, and the id made from it."""

import hashlib
import re
import unicodedata

ID_DIGITS = 32

_SAME_CHARACTER = {"<wide>", "<narrow>", "<small>", "<vertical>", "<initial>", "<medial>", "<final>", "<isolated>"}
"""Tags of decompositions (Unicode Standard Annex 44) that change the form of a character, but not its meaning."""


def _forms() -> dict[int, str]:
    """Returns the replacement of each character that is only a form of others."""
    forms = {ord("…"): "..."}
    for code in range(0xFB50, 0xFFF0):  # contains all of them but the ellipsis
        tag, *characters = unicodedata.decomposition(chr(code)).split() or [""]
        if tag in _SAME_CHARACTER:
            forms[code] = "".join(chr(int(each, 16)) for each in characters).replace("…", "...")
    return forms


_FORMS = _forms()
_WORD = re.compile(r"([\w\u0300-\u036f]+)")


def normalise(text: str) -> str:
    """Returns the normal form of a text. Texts with the same normal form are the same question. It is idempotent.

    - Canonically equal texts are the same (NFC). So are full and half width, small, vertical and Arabic presentation
      forms of a character, and `…` and three dots. White space of any kind becomes single spaces, and is trimmed.
    - Characters with their own meaning stay: superscripts, subscripts and fractions (`5²` is not `52`), mathematical
      letters, Roman numerals, circled digits, and symbols for words (`™`, `㎏`).
    - Case is ignored (Unicode case folding). A word of letters and digits keeps its case when it has at least two
      letters and all are capitals: `US` is not `us`, `AIDS` is not `aids`. In a text in which all letters are capitals,
      case is ignored as well.
    - German `ß` is not `ss` (`Maße`, `Masse`); its capital is `ẞ`. The dotless i of Turkish is not `i`. The language is
      not detected: `I` is always the capital of `i`, and `İ` that of an `i` with a second dot above.
    """
    text = " ".join(unicodedata.normalize("NFC", text.translate(_FORMS)).split())
    if all(_is_capital(each) for each in text if each.isalpha()):
        return _fold(text)
    return "".join(part if _keeps_case(part) else _fold(part) for part in _WORD.split(text))


def question_id(text: str, context: str | None = None) -> str:
    """Returns the id of a question: the first 32 hex digits of the SHA-256 of its normalised text and context.

    The two parts are joined by a line feed, which normalised text cannot contain, so moving words from one part to the
    other makes another question. A missing context and an empty one are the same.

    Earlier releases made ids from NFKC and case folding alone. Where both rules give the same text, the id is the same.
    Any other question gets a new id when it is asked again; the data under its old id can still be read by that id.
    """
    parts = f"{normalise(text)}\n{normalise(context or '')}"
    return hashlib.sha256(parts.encode()).hexdigest()[:ID_DIGITS]


def _is_capital(character: str) -> bool:
    return character.isalpha() and character.isupper() and character != character.casefold()


def _keeps_case(word: str) -> bool:
    return word.isupper() and sum(map(_is_capital, word)) > 1


def _fold(text: str) -> str:
    return "ß".join(part.casefold() for part in re.split("[ßẞ]", text))
