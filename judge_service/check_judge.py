"""Lets the judge of the settings judge a right and a wrong answer, and prints the result in plain words.

`python -m judge_service.check_judge` exits with 0 when the judge answers, or when there is none. It never prints a key.
"""

import sys
from collections.abc import Iterator

import structlog

from judge_service.__main__ import adapter_of
from judge_service.calls import Caller, Judged
from judge_service.case import Case
from judge_service.settings import JudgeSettings, with_own_names
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.providers.adaptations import SharedAdaptations
from pipeline.providers.api import CallFailed
from pipeline.providers.diagnosis import Variables, diagnose
from pipeline.providers.errors import redacted
from pipeline.settings import load

QUESTION = "What is the capital of France?"
REFERENCE = "The capital of France is Paris."
RIGHT, WRONG = "It is Paris.", "It is Lyon."

VARIABLES = Variables(model="JUDGE_MODEL", base_url="JUDGE_BASE_URL", key="JUDGE_API_KEY")


def main() -> None:
    """Checks the judge; the process exits with status 1 when it does not answer."""
    settings = load(JudgeSettings)
    if not settings.judge_model:
        print("no judge: JUDGE_MODEL is empty")
        sys.exit(0)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # no log lines between the printed lines
    target = settings.target
    print(f"judge {target.model} at {target.base_url} ({settings.judge_api})", flush=True)
    adaptations = SharedAdaptations(BestEffortRedis(settings, "check-judge"))
    failed = False
    with Caller(target, adapter_of(settings), settings.judge_timeout, adaptations) as caller:
        try:
            right, wrong = (
                caller.call(caller.prepare(Case(QUESTION, None, (REFERENCE,), answer))) for answer in (RIGHT, WRONG)
            )
            lines = [*report(right, wrong, settings)]
        except CallFailed as failure:
            failed = True
            lines = [*complaint(failure, settings)]
    for line in lines:
        print(f"  {line}")
    sys.exit(1 if failed else 0)


def report(right: Judged, wrong: Judged, settings: JudgeSettings) -> Iterator[str]:
    """Yields the lines for two judgements."""
    yield (
        f"works: a right answer is right with {right.verdict.probability:.2f}, a wrong one with "
        f"{wrong.verdict.probability:.2f}"
    )
    if right.verdict.probability <= wrong.verdict.probability:
        yield "It takes the wrong answer for the better one. Set another JUDGE_MODEL."
    elif {right.verdict.probability, wrong.verdict.probability} <= {0.0, 1.0}:
        yield "It gives no probabilities, only yes or no: JUDGE_THRESHOLD has no effect."
    usage, price = right.usage, settings.target.price
    cost = f"cost {price.cost(usage.prompt_tokens, usage.completion_tokens):f}" if price else "no price in LLM_PRICES"
    yield f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out; {cost}"
    if settings.judges_itself:
        yield "It is the model that answers: it may not see its own errors."


def complaint(failure: CallFailed, settings: JudgeSettings) -> Iterator[str]:
    """Yields the lines for a failed call."""
    found = diagnose(failure, VARIABLES)
    keys = [settings.target.api_key.get_secret_value()]
    yield f"does not work: {found.problem}"
    yield with_own_names(found.remedy)
    if found.said:
        yield f"It says: {redacted(with_own_names(found.said), keys)}"


if __name__ == "__main__":
    main()
