"""llm-consumer: asks the model."""

import sys
from contextlib import ExitStack
from datetime import UTC, datetime

import structlog

from llm_consumer.call_cache import CallCache
from llm_consumer.faults import FaultyProvider
from llm_consumer.handler import AskHandler, SelfCheck, Waiting
from llm_consumer.handler import Provider as Asked
from llm_consumer.settings import LlmSettings
from llm_consumer.spending import spending_on
from pipeline import budget, command, consumer, health, service, topics
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.providers.adaptations import SharedAdaptations
from pipeline.providers.admission import Admission, Identity
from pipeline.providers.charges import Budget
from pipeline.providers.day_budget import DayBudget, Limits, NoBudget
from pipeline.providers.llm import Llm
from pipeline.providers.provider import Provider
from pipeline.providers.targets import Target
from pipeline.share import Share
from pipeline.shutdown import stop_on_signal

SERVICE = "llm-consumer"

SET_ASIDE = 1000
"""Number of questions that may wait for one provider while questions for other providers overtake them."""

log = structlog.get_logger()


def main() -> None:
    """Runs the service until a signal stops it."""
    settings = command.start(SERVICE, LlmSettings)
    overload, quota = settings.fault_overload_rate, settings.fault_quota_rate
    if overload or quota:
        log.warning("enabled artificial errors", fault_overload_rate=overload, fault_quota_rate=quota)
    redis = BestEffortRedis(settings, SERVICE)
    share = Share()
    targets = settings.targets
    admissions = {
        each: Admission(redis, each, settings.bounds(each.base_url), share)
        for each in dict.fromkeys(map(Identity.of, targets))
    }
    adaptations = SharedAdaptations(redis)

    self_check = SelfCheck(settings.self_check_samples, settings.self_check_temperature)
    concurrency = settings.llm_concurrency * len(admissions)
    limits = consumer.Limits(
        concurrency=concurrency,
        in_flight=concurrency + (SET_ASIDE if len(admissions) > 1 else 0),
        of_group=concurrency,
        stalled_seconds=settings.llm_timeout * (1 + self_check.samples) + 10,
        drain_seconds=settings.llm_timeout + 5,
    )
    with ExitStack() as calls:

        def provider(target: Target) -> Asked:
            llm = calls.enter_context(Llm(target, settings.llm_timeout, settings.llm_max_tokens, adaptations))
            made = Provider(target, llm.ask, admissions[Identity.of(target)], settings.llm_max_tokens)
            return FaultyProvider(made, overload, quota) if overload or quota else made

        handler = AskHandler(
            [provider(target) for target in targets],
            CallCache(redis),
            _budget(settings, redis),
            settings.llm_temperature,
            Waiting(settings.llm_patience, settings.max_quota_retries is not None),
            self_check,
        )
        service.consume(SERVICE, settings, [topics.QUESTIONS_PENDING], handler, limits, share=share)


def _budget(settings: LlmSettings, redis: BestEffortRedis) -> Budget:
    health.note(None)
    limits = Limits.of(settings.llm_budget_tokens, settings.llm_budget_cost)
    today = datetime.now(UTC).date()
    if not limits:
        # Removes the limits of an earlier configuration, so that other services do not show them.
        redis.attempt(lambda client: client.hdel(budget.key(today), budget.LIMIT_TOKENS, budget.LIMIT_NANOCOST))
        return NoBudget()
    with stop_on_signal() as stop:
        spent = spending_on(today, settings, stop, health.Heartbeat().beat)
    if stop.is_set():
        sys.exit(0)
    log.info("counted today's spending", tokens=spent.tokens, nanocost=spent.nanocost)
    day_budget = DayBudget(redis, limits, spent)
    day_budget.closed_seconds()  # writes it to Redis, where other services read it
    return day_budget


if __name__ == "__main__":
    main()
