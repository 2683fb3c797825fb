"""Makes one real call to each provider that the settings name, and says in plain words how it went.

`python -m llm_consumer.check_provider` ends with 0 when all of them answer. It never prints a key.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from llm_consumer.diagnosis import Variables, diagnose
from llm_consumer.llm import Answer, CallFailed, Llm
from llm_consumer.prompt import prompt
from llm_consumer.settings import LlmSettings
from llm_consumer.targets import Target, same_api
from pipeline.messages import Question
from pipeline.question import question_id
from pipeline.settings import load

QUESTION = "Why is the sky blue?"


def main() -> None:
    """Checks each provider once; ends the process with status 1 when one of them does not answer."""
    settings = load(LlmSettings)
    failed = False
    for target in dict.fromkeys(settings.targets):
        print(f"{target.model} at {target.base_url}", flush=True)
        try:
            for line in report(_ask(settings, target), target, settings):
                print(f"  {line}")
        except CallFailed as failure:
            failed = True
            for line in complaint(failure, target, settings):
                print(f"  {line}")
    sys.exit(1 if failed else 0)


def report(answer: Answer, target: Target, settings: LlmSettings) -> Iterator[str]:
    """Yields what to say of an answer."""
    yield f"works: answered in {answer.latency_ms / 1000:.1f} s: {_short(answer.text)}"
    if answer.prompt_tokens + answer.completion_tokens:
        cost = target.price.cost(answer.prompt_tokens, answer.completion_tokens) if target.price else None
        price = "no price in LLM_PRICES" if cost is None else f"cost {cost:f}"
        yield f"{answer.prompt_tokens} tokens in, {answer.completion_tokens} out; {price}"
    else:
        yield "It does not say how many tokens that took: costs are unknown, and a budget counts a token for each byte."
    if answer.finish_reason == "length":
        yield f"The answer was cut off at LLM_MAX_TOKENS={settings.llm_max_tokens}."


def complaint(failure: CallFailed, target: Target, settings: LlmSettings) -> Iterator[str]:
    """Yields what to say of a call that failed."""
    found = diagnose(failure, variables(target, settings))
    yield f"does not work: {found.problem}"
    yield found.remedy
    if found.said:
        yield f"It says: {_without_keys(found.said, settings)}"


def variables(target: Target, settings: LlmSettings) -> Variables:
    """Returns where in `.env` a target's model, address and key stand."""
    first = same_api(target.base_url, settings.llm_base_url)
    return Variables(
        model="LLM_MODELS" if settings.llm_models else "LLM_MODEL",
        base_url="LLM_BASE_URL" if first else "LLM_MODELS",
        key="LLM_API_KEY" if first else "LLM_API_KEYS",
    )


def _ask(settings: LlmSettings, target: Target) -> Answer:
    question = Question(question_id=question_id(QUESTION), question_text=QUESTION, asked_at=datetime.now(UTC))
    with Llm(settings, target) as llm:
        return llm.ask(prompt(question, settings.llm_temperature))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _without_keys(text: str, settings: LlmSettings) -> str:
    """Takes the keys out of a text: a provider may repeat what it was sent."""
    for target in settings.targets:
        text = text.replace(target.api_key.get_secret_value(), "…")
    return text


if __name__ == "__main__":
    main()
