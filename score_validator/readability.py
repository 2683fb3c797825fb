"""Decides which texts an encoder can read, and which answers repeat themselves. Pure functions.

A tokenizer maps words that its vocabulary lacks to one token, [UNK]. To the encoder, two texts of unknown words are
equal. An encoder of one language splits the words of other languages into fragments without a meaning.

The limits are checked against the recorded answers and references by tests/unit/score_validator/test_readability.py.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

UNKNOWN_LIMIT = 0.2
"""Share of unknown tokens above which a text is not scored. With more, unrelated texts begin to reach the threshold."""

MIN_LETTERS = 35
"""Letters from which on the language of a text is judged. Shorter texts may be lists of foreign names."""

MAX_CHARACTERS = 2_000
"""Length of the beginning whose language is judged: about as much as the encoder reads."""

ENGLISH_LIMIT = 0.02
"""Probability of English below which a text is in another language. Recorded English answers are above 0.3, and
sentences of other languages below 0.002."""

NO_LANGUAGE = "zxx"
"""ISO 639-3 code of texts without language, for example code and random letters."""

NGRAM = 4
REPETITION_LIMIT = 0.2
"""Share of repeated n-grams above which an answer repeats itself; three times as many as in any written reference."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\u2010-][^\W\d_]+)*")
_PRIVATE, _UNASSIGNED, _CONTROL, _SURROGATE = "Co", "Cn", "Cc", "Cs"
_DROPPED = {_PRIVATE, _UNASSIGNED, _CONTROL, _SURROGATE}
_REPLACEMENT = "\ufffd"


def unknown_share(ids: Sequence[int], unknown: int | None, special: Collection[int]) -> float:
    """Returns the share of unknown tokens in a text.

    Args:
        ids: The tokens of the text.
        unknown: Id of the unknown token; None: the tokenizer has none.
        special: Ids of the tokens that the tokenizer adds to each text.
    """
    own = [each for each in ids if each == unknown or each not in special]
    return sum(each == unknown for each in own) / len(own) if own else 0.0


def dropped_share(text: str) -> float:
    """Returns the share of characters that no tokenizer can use: private, unassigned, control, and replaced ones."""
    seen = [each for each in text if not each.isspace()]
    return sum(_is_dropped(each) for each in seen) / len(seen) if seen else 0.0


def _is_dropped(character: str) -> bool:
    return character == _REPLACEMENT or unicodedata.category(character) in _DROPPED


def in_other_script(text: str) -> bool:
    """Returns whether most letters of a text are in words of another script than Latin.

    Single Greek letters do not count: they are symbols of formulas.
    """
    letters = other = 0
    for word in _WORD.findall(unicodedata.normalize("NFKC", text[:MAX_CHARACTERS])):
        scripts = [unicodedata.name(each, "").split(" ")[0] for each in word if each.isalpha()]
        letters += len(scripts)
        if "LATIN" not in scripts and scripts != ["GREEK"]:
            other += len(scripts)
    return 2 * other > letters


def words_to_judge(text: str) -> str | None:
    """Returns the words by which the language of a text is recognised; None: there are too few.

    Words that begin with a capital letter are left out: foreign names do not make an English answer foreign.
    """
    words = [word for word in _WORD.findall(text[:MAX_CHARACTERS]) if not word[0].isupper()]
    letters = sum(each.isalpha() for word in words for each in word)
    return " ".join(words) if letters >= MIN_LETTERS else None


def is_other_language(probabilities: Mapping[str, float]) -> bool:
    """Returns whether a text is in another language than English.

    Args:
        probabilities: Probability of each language, by ISO 639 code.
    """
    likeliest = max(probabilities, key=lambda code: probabilities[code])
    return likeliest != NO_LANGUAGE and probabilities["en"] < ENGLISH_LIMIT


def repeated_share(ids: Sequence[int], special: Collection[int] = ()) -> float:
    """Returns the share of n-grams of tokens that occurred before in the text (seq-rep-4, Welleck et al. 2020).

    Args:
        ids: The tokens of the text.
        special: Ids of the tokens that the tokenizer adds to each text.
    """
    own = [each for each in ids if each not in special]
    grams = Counter(tuple(own[start : start + NGRAM]) for start in range(len(own) - NGRAM + 1))
    return 1 - len(grams) / grams.total() if grams else 0.0
