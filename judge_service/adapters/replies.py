"""Common parts of replies of decision models."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from judge_service import prompt
from judge_service.case import Verdict
from pipeline.messages import JudgeProblem
from pipeline.providers.completions import MAX_MODEL_CHARACTERS, MAX_TOKENS, NoCompletion, Usage
from pipeline.providers.errors import classify_empty, classify_error_body, unusable_response
from pipeline.providers.text import storable

REFUSAL = "refusal"
"""Type of an answer of a model that does not answer a question."""

_SHOWN_CHARACTERS = 200


def read(body: bytes, now: datetime) -> dict[str, Any]:
    """Returns the object in a body.

    Raises:
        NoCompletion: It has none, or the object is an error.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        shown = body[:_SHOWN_CHARACTERS].decode(errors="replace")
        raise NoCompletion(unusable_response(f"unreadable answer: no JSON object: {shown}"))
    error = document.get("error")
    if error:
        raise NoCompletion(classify_error_body(error if isinstance(error, dict) else {"message": str(error)}, now))
    return document


def verdict(document: Mapping[str, Any], answers: Mapping[str, Any], field: str, asked_model: str) -> Verdict:
    """Returns the verdict in the answers of a decision model.

    Args:
        document: The reply.
        answers: Its answers, by the names of `prompt.statements`.
        field: Field of an answer with the probability.
        asked_model: The requested model, used when the reply does not name its model.

    Raises:
        NoCompletion: The model refused to answer, or the answer is not a probability.
    """
    tokens = usage(document)
    first = answers.get(prompt.CORRECT)
    if isinstance(first, dict) and first.get("type") == REFUSAL:
        raise NoCompletion(classify_empty(REFUSAL, None), tokens)
    probability = _probability(first, field)
    if probability is None:
        shown = json.dumps(first, ensure_ascii=False)[:_SHOWN_CHARACTERS]
        raise NoCompletion(unusable_response(f"unreadable answer: no probability that it is right: {shown}"), tokens)
    chances: dict[JudgeProblem, float] = {}
    for each in prompt.HAS_PROBLEM:
        chance = _probability(answers.get(each), field)
        if chance is not None:
            chances[each] = chance
    worst = max(chances, key=chances.__getitem__, default=None)
    model = document.get("model")
    return Verdict(
        probability=probability,
        problem=worst if probability < 0.5 else None,
        model=storable(model)[:MAX_MODEL_CHARACTERS] if isinstance(model, str) and model else asked_model,
        usage=tokens,
    )


def usage(document: Mapping[str, Any]) -> Usage:
    """Returns the tokens of a call; 0 where the reply does not report them."""
    found = document.get("usage")
    reported = found if isinstance(found, dict) else {}

    def count(*names: str) -> int:
        values = [reported.get(each) for each in names]
        return next((min(each, MAX_TOKENS) for each in values if type(each) is int and each > 0), 0)

    return Usage(count("input_tokens", "prompt_tokens"), count("output_tokens", "completion_tokens"))


def _probability(answer: object, field: str) -> float | None:
    value = answer.get(field) if isinstance(answer, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)
