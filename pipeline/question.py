"""What makes two questions the same question."""

import hashlib
import re
import unicodedata

ID_DIGITS = 32

_SAME_CHARACTER = {"<wide>", "<narrow>", "<small>", "<vertical>", "<initial>", "<medial>", "<final>", "<isolated>"}
"""Tags of decompositions (Unicode Standard Annex 44) that change the form of a character, never its meaning."""


def _forms() -> dict[int, str]:
    """Returns what replaces each character that is only a form of others; all but the ellipsis lie in this range."""
    forms = {ord("…"): "..."}
    for code in range(0xFB50, 0xFFF0):
        tag, *characters = unicodedata.decomposition(chr(code)).split() or [""]
        if tag in _SAME_CHARACTER:
            forms[code] = "".join(chr(int(each, 16)) for each in characters).replace("…", "...")
    return forms


_FORMS = _forms()
_WORD = re.compile(r"([\w\u0300-\u036f]+)")


def normalise(text: str) -> str:
    """Returns the form of a text that all texts share which ask the same. Normalising it again changes nothing.

    - Canonically equal texts are one text (NFC). So are full and half width, small, vertical and Arabic presentation
      forms of a character, and `…` and three dots. White space of any kind becomes single spaces, and is trimmed.
    - Characters with a meaning of their own stay: superscripts, subscripts and fractions (`5²` is not `52`), letters of
      mathematics, Roman numerals, circled digits, and symbols that stand for words (`™`, `㎏`).
    - Case is ignored (Unicode case folding). A word of letters and digits keeps its case when all its letters are
      capitals and it has at least two: `US` is not `us`, `AIDS` not `aids`. In a text whose letters all are capitals
      they say nothing, and are ignored, too.
    - German `ß` is not `ss` (`Maße`, `Masse`); its capital is `ẞ`. The dotless i of Turkish is not `i`. No language is
      guessed: `I` is always the capital of `i`, `İ` that of an `i` with a further dot above.
    """
    text = " ".join(unicodedata.normalize("NFC", text.translate(_FORMS)).split())
    if all(_is_capital(each) for each in text if each.isalpha()):
        return _fold(text)
    return "".join(part if _keeps_case(part) else _fold(part) for part in _WORD.split(text))


def question_id(text: str, context: str | None = None) -> str:
    """Returns the id of a question: the first 32 hex digits of the SHA-256 of its normalised text and context.

    The two parts are joined by a line feed, which normalised text cannot hold, so that moving words from the one to
    the other makes another question. No context and an empty one are the same.

    Ids made before capitals and symbols counted came from NFKC and case folding alone. Where that gives the same text
    the id is the same; any other question gets a new id when it is asked again, and what is stored under the old one
    stays and can be read by it.
    """
    parts = f"{normalise(text)}\n{normalise(context or '')}"
    return hashlib.sha256(parts.encode()).hexdigest()[:ID_DIGITS]


def _is_capital(character: str) -> bool:
    return character.isalpha() and character.isupper() and character != character.casefold()


def _keeps_case(word: str) -> bool:
    return word.isupper() and sum(map(_is_capital, word)) > 1


def _fold(text: str) -> str:
    return "ß".join(part.casefold() for part in re.split("[ßẞ]", text))
