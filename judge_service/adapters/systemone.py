"""A decision model with the interface of TypeSafe, which llama.cpp has, too: `POST /systemone`, questions by name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from judge_service import prompt
from judge_service.adapters import replies
from judge_service.case import Case, Verdict


class SystemOne:
    """Adapter of decision models with TypeSafe's interface."""

    def __init__(self, model: str) -> None:
        self._model = model

    def request(self, case: Case) -> tuple[str, Mapping[str, Any]]:
        """Returns the path and the fields of a request."""
        questions = {
            name: {"type": "noul", "instructions": instructions} for name, instructions in prompt.statements().items()
        }
        return "/systemone", {"model": self._model, "state": prompt.state(case), "questions": questions}

    def read(self, body: bytes, now: datetime) -> Verdict:
        """Reads the answers; raises `NoCompletion` if they have no probability."""
        document = replies.read(body, now)
        answers = document.get("answers")
        return replies.verdict(document, answers if isinstance(answers, dict) else {}, "noul", self._model)
