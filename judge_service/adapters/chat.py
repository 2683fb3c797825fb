"""A chat model: `POST /chat/completions`, one call, one letter.

The probability is that of the letter, from the log-probabilities of the tokens. Without them the letter counts as
certain.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from judge_service import prompt
from judge_service.case import Case, Verdict
from pipeline.providers import completions
from pipeline.providers.completions import NoCompletion
from pipeline.providers.errors import unusable_response

TOP_LOGPROBS = 20
"""Number of tokens whose log-probabilities are requested; the maximum of most providers."""
SHOWN_CHARACTERS = 200
"""Maximum length of a reply without a letter in an error message."""

_NOT_IN_WORDS = re.compile(r"[\W_ĠĊ]+")
"""Punctuation, white space, and the marks for white space of some tokenizers."""


class Chat:
    """Adapter of chat models."""

    def __init__(self, model: str, max_tokens: int) -> None:
        """Makes an adapter.

        Args:
            model: Name of the model.
            max_tokens: Maximum number of tokens of a reply.
        """
        self._model = model
        self._max_tokens = max_tokens

    def request(self, case: Case) -> tuple[str, Mapping[str, Any]]:
        """Returns the path and the fields of a request."""
        return "/chat/completions", {
            "model": self._model,
            "messages": prompt.messages(case),
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "stream": False,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
        }

    def read(self, body: bytes, now: datetime) -> Verdict:
        """Reads a completion; raises `NoCompletion` if it has no letter."""
        completion = completions.read(body, self._model, now)
        chances = _chances(_answer_tokens(_tokens(body), completion.text))
        if not chances:
            words = _NOT_IN_WORDS.split(completion.text)
            found = _position(words)
            if found is None:
                shown = completion.text[:SHOWN_CHARACTERS]
                raise NoCompletion(unusable_response(f"no letter in the reply: {shown}"), completion.usage)
            chances = {words[found].upper(): 1.0}
        probability = chances.get(prompt.RIGHT, 0.0) / sum(chances.values())
        worst = max(prompt.PROBLEMS, key=lambda letter: chances.get(letter, 0.0))
        return Verdict(
            probability=probability,
            problem=prompt.PROBLEMS[worst] if probability < 0.5 else None,
            model=completion.model,
            usage=completion.usage,
        )


def _tokens(body: bytes) -> list[dict[str, Any]]:
    """Returns the output tokens with their log-probabilities; none if the reply does not contain them."""
    try:
        tokens = json.loads(body)["choices"][0]["logprobs"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [each for each in tokens if isinstance(each, dict)] if isinstance(tokens, list) else []


def _answer_tokens(tokens: list[dict[str, Any]], answer: str) -> list[dict[str, Any]]:
    """Returns the tokens of the answer, without those of thoughts before it."""
    texts = [_text(each) for each in tokens]
    start = max(0, "".join(texts).rfind(answer))
    ends = 0
    for number, text in enumerate(texts):
        ends += len(text)
        if ends > start:
            return tokens[number:]
    return tokens


def _chances(tokens: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the probability of each letter at the token that is the reply; empty without log-probabilities."""
    found = _position([_NOT_IN_WORDS.sub("", _text(each)) for each in tokens])
    if found is None:
        return {}
    chosen = tokens[found]
    others = chosen.get("top_logprobs")
    options = [each for each in others if isinstance(each, dict)] if isinstance(others, list) else []
    if _text(chosen) not in map(_text, options):
        options.append(chosen)
    chances: dict[str, float] = {}
    for letter, chance in _letters(options):
        chances[letter] = chances.get(letter, 0.0) + chance
    return chances if sum(chances.values()) > 0 else {}


def _letters(options: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for each in options:
        letter, logprob = _NOT_IN_WORDS.sub("", _text(each)).upper(), each.get("logprob")
        if letter in prompt.LETTERS and isinstance(logprob, int | float) and not math.isnan(logprob):
            yield letter, math.exp(min(0.0, logprob))


def _position(words: Sequence[str]) -> int | None:
    """Returns the position of the letter that is the reply; None: there is none.

    It is the first word if that is a letter. Otherwise it is the last capital letter, or the last letter: in a
    sentence, `a` may be the article.
    """
    first = next((number for number, word in enumerate(words) if word), 0)
    letters = [number for number, word in enumerate(words) if word.upper() in prompt.LETTERS]
    if first in letters:
        return first
    capitals = [number for number in letters if words[number].isupper()]
    return next(reversed(capitals or letters), None)


def _text(token: Mapping[str, Any]) -> str:
    text = token.get("token")
    return text if isinstance(text, str) else ""
