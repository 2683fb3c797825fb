"""A decision model with OpenAI's interface: `POST /decisions`, a list of questions and a list of answers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from judge_service import prompt
from judge_service.adapters import replies
from judge_service.case import Case, Verdict


class Decisions:
    """Adapter of decision models with OpenAI's interface."""

    def __init__(self, model: str) -> None:
        self._model = model

    def request(self, case: Case) -> tuple[str, Mapping[str, Any]]:
        """Returns the path and the fields of a request."""
        return "/decisions", {
            "model": self._model,
            "input": prompt.state(case),
            "questions": [
                {"type": "predicate", "name": name, "instructions": instructions}
                for name, instructions in prompt.statements().items()
            ],
        }

    def read(self, body: bytes, now: datetime) -> Verdict:
        """Reads the answers; raises `NoCompletion` if they have no probability."""
        document = replies.read(body, now)
        listed = document.get("answers")
        answers = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        by_name = {str(each.get("name")): each for each in answers}
        return replies.verdict(document, by_name, "probability", self._model)
