"""What is judged, and the verdict."""

from dataclasses import dataclass

from pipeline.messages import JudgeProblem
from pipeline.providers.completions import Usage


@dataclass(frozen=True)
class Case:
    """An answer with what is needed to judge it.

    Attributes:
        question: Text of the question.
        context: Context of the question; None: it has none.
        references: Correct answers, at least one.
        answer: The answer to judge.
    """

    question: str
    context: str | None
    references: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Verdict:
    """What a model says about a case.

    Attributes:
        probability: That the answer is right.
        problem: What is probably wrong; None: nothing.
        model: Name of the model that the provider has returned.
        usage: Tokens of the call.
    """

    probability: float
    problem: JudgeProblem | None
    model: str
    usage: Usage
