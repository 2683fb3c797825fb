"""Makes one real call to each provider of the settings, and prints the result in plain words.

`python -m llm_consumer.check_provider` exits with 0 when all of them answer. It never prints a key.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog

from llm_consumer.prompt import prompts
from llm_consumer.settings import LlmSettings
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.messages import Question
from pipeline.provider_status import ProviderStatus
from pipeline.providers.adaptation import Adaptation
from pipeline.providers.adaptations import SharedAdaptations
from pipeline.providers.admission import Admission, Identity
from pipeline.providers.api import CallFailed
from pipeline.providers.diagnosis import Variables, diagnose
from pipeline.providers.errors import redacted
from pipeline.providers.llm import Answer, Llm
from pipeline.providers.targets import Target, same_api
from pipeline.question import question_id
from pipeline.settings import load
from pipeline.share import Share

QUESTION = "Why is the sky blue?"


def main() -> None:
    """Checks each provider once; the process exits with status 1 when one of them does not answer."""
    settings = load(LlmSettings)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # no log lines between the printed lines
    redis = BestEffortRedis(settings, "check-provider")
    failed = False
    for target in dict.fromkeys(settings.targets):
        print(f"{target.model} at {target.base_url}", flush=True)
        admission = Admission(redis, Identity.of(target), settings.bounds(target.base_url), Share())
        with Llm(target, settings.llm_timeout, settings.llm_max_tokens, SharedAdaptations(redis)) as llm:
            try:
                lines = [*report(_ask(settings, llm), target, settings)]
                admission.reopen()  # ends a wait of the fleet
            except CallFailed as failure:
                failed = True
                lines = [*complaint(failure, target, settings)]
            lines += [*learnt(llm.adaptation), *limits(admission.status())]
        for line in lines:
            print(f"  {line}")
    sys.exit(1 if failed else 0)


def report(answer: Answer, target: Target, settings: LlmSettings) -> Iterator[str]:
    """Yields the lines for an answer."""
    usage = answer.usage
    yield f"works: answered in {answer.latency_ms / 1000:.1f} s: {_short(answer.text)}"
    if usage.prompt_tokens + usage.completion_tokens:
        cost = target.price.cost(usage.prompt_tokens, usage.completion_tokens) if target.price else None
        price = "no price in LLM_PRICES" if cost is None else f"cost {cost:f}"
        thought = f" ({usage.reasoning_tokens} of them thoughts)" if usage.reasoning_tokens else ""
        yield f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out{thought}; {price}"
    else:
        yield "It does not say how many tokens that took: costs are unknown, and a budget counts a token for each byte."
    for each in answer.limits:
        if each.limit and each.window_seconds in (None, 60.0):
            yield f"It reports a limit of {each.limit} {each.kind}; the fleet keeps to it."
    if answer.finish_reason == "length":
        yield f"The answer was cut off at LLM_MAX_TOKENS={settings.llm_max_tokens}."


def complaint(failure: CallFailed, target: Target, settings: LlmSettings) -> Iterator[str]:
    """Yields the lines for a failed call."""
    found = diagnose(failure, variables(target, settings))
    yield f"does not work: {found.problem}"
    yield found.remedy
    if found.said:
        yield f"It says: {_without_keys(found.said, settings)}"


def learnt(adaptation: Adaptation) -> Iterator[str]:
    """Yields the learnt rules about fields that the target does not support."""
    for rule in sorted(adaptation):
        yield f"learnt from its refusals, and done for each request: {rule}"


def limits(status: ProviderStatus) -> Iterator[str]:
    """Yields the known limits of the provider, and until when the fleet waits for it."""
    sources = {"settings": "as set", "provider": "as the provider says", "refusals": "learnt from refusals"}
    known = [
        f"{limit:g} {kind} a minute"
        for limit, kind in ((status.requests_per_minute, "calls"), (status.tokens_per_minute, "tokens"))
        if limit
    ]
    if known:
        source = sources[status.limit_source or "refusals"]
        yield f"limit: {', '.join(known)} ({source}); {status.calls_last_minute} calls in the last minute"
    if status.waiting_until:
        yield f"the fleet waits for it until {status.waiting_until:%Y-%m-%d %H:%M:%S} UTC ({status.cause})"


def variables(target: Target, settings: LlmSettings) -> Variables:
    """Returns the variables of `.env` that contain a target's model, address and key."""
    first = same_api(target.base_url, settings.llm_base_url)
    return Variables(
        model="LLM_MODELS" if settings.llm_models else "LLM_MODEL",
        base_url="LLM_BASE_URL" if first else "LLM_MODELS",
        key="LLM_API_KEY" if first else "LLM_API_KEYS",
    )


def _ask(settings: LlmSettings, llm: Llm) -> Answer:
    question = Question(question_id=question_id(QUESTION), question_text=QUESTION, asked_at=datetime.now(UTC))
    return llm.ask(prompts(question, settings.llm_temperature)[0])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def _without_keys(text: str, settings: LlmSettings) -> str:
    """Removes the keys from a text, because a provider may repeat parts of the request."""
    return redacted(text, [target.api_key.get_secret_value() for target in settings.targets])


if __name__ == "__main__":
    main()
