"""Finds numbers and names in an answer that may contradict the reference. Pure functions, for English texts.

A contradiction is likely if each text has one that the other lacks: '1969' and '1972', or 'Paris' and 'Lyon'. It is a
hint for people, not a verdict: a right answer may name other examples.
"""

import re
from collections.abc import Hashable, Set
from decimal import Decimal

from text_to_num import alpha2digit

from pipeline.messages import ScoreWarning

_SEPARATORS = ",\u00a0\u202f"
"""Between thousands: comma, no-break space, narrow no-break space."""
_NUMBER = re.compile(rf"(?<![\w.])\d{{1,3}}(?:[{_SEPARATORS}]\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n+")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_POSSESSIVE = re.compile(r"['\u2019]s$")
_I = re.compile(r"I(?:['\u2019]\w+)?")


def contradictions(answer: str, reference: str) -> tuple[ScoreWarning, ...]:
    """Returns what in an answer may contradict the reference."""
    found: list[ScoreWarning] = []
    if _differ(numbers(answer), numbers(reference)):
        found.append("other_number")
    if _differ(names(answer), names(reference)):
        found.append("other_name")
    return tuple(found)


def numbers(text: str) -> set[Decimal]:
    """Returns the numbers in a text, in digits or in words."""
    found = _NUMBER.findall(alpha2digit(text, "en"))
    return {Decimal(each.translate(dict.fromkeys(map(ord, _SEPARATORS)))).normalize() for each in found}


def names(text: str) -> set[str]:
    """Returns the words with a capital letter, except at the start of a sentence, in lower case."""
    found = set()
    for sentence in _SENTENCE_END.split(text):
        for word in _WORD.findall(sentence)[1:]:
            if word[0].isupper() and not _I.fullmatch(word):
                found.add(_POSSESSIVE.sub("", word).casefold())
    return found


def _differ(answer: Set[Hashable], reference: Set[Hashable]) -> bool:
    return bool(answer - reference) and bool(reference - answer)
