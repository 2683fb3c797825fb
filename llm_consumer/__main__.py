"""llm-consumer: asks the model."""

import sys
from contextlib import ExitStack
from datetime import UTC, datetime

import structlog

from llm_consumer.budget import DayBudget, Limits, NoBudget
from llm_consumer.faults import Ask, with_faults
from llm_consumer.gate import ProviderGate
from llm_consumer.handler import AskHandler, Budget, Provider, SelfCheck
from llm_consumer.llm import Llm
from llm_consumer.memo import Memo
from llm_consumer.settings import LlmSettings
from llm_consumer.spending import spent_on
from llm_consumer.targets import Target
from pipeline import budget, consumer, health, service, topics
from pipeline.shutdown import stop_on_signal
from pipeline.volatile import Volatile

SERVICE = "llm-consumer"

SET_ASIDE = 1000
"""Questions that may wait for the gate of one API while those for others pass them."""

log = structlog.get_logger()


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = service.start(SERVICE, LlmSettings)
    overload, quota = settings.fault_overload_rate, settings.fault_quota_rate
    if overload or quota:
        log.warning("makes errors on purpose", fault_overload_rate=overload, fault_quota_rate=quota)
    redis = Volatile(settings, SERVICE)
    targets = settings.targets
    gates = {target.base_url: ProviderGate(redis, target.base_url) for target in targets}

    self_check = SelfCheck(settings.self_check_samples, settings.self_check_temperature)
    limits = consumer.Limits(
        concurrency=settings.llm_concurrency,
        in_flight=settings.llm_concurrency + (SET_ASIDE if len(gates) > 1 else 0),
        stalled_seconds=settings.llm_timeout * (1 + self_check.samples) + 10,
    )
    with ExitStack() as calls:

        def provider(target: Target) -> Provider:
            ask: Ask = calls.enter_context(Llm(settings, target)).ask
            if overload or quota:
                ask = with_faults(ask, overload, quota)
            return Provider(target, ask, gates[target.base_url])

        handler = AskHandler(
            [provider(target) for target in targets],
            Memo(redis),
            _budget(settings, redis),
            settings.llm_temperature,
            settings.retry_after_max,
            self_check,
        )
        service.consume(SERVICE, settings, [topics.QUESTIONS_PENDING], handler, limits)


def _budget(settings: LlmSettings, redis: Volatile) -> Budget:
    health.note(None)
    limits = Limits.of(settings.llm_budget_tokens, settings.llm_budget_cost)
    today = datetime.now(UTC).date()
    if not limits:
        # What others show of a budget that is no more.
        redis.attempt(lambda client: client.hdel(budget.key(today), budget.LIMIT_TOKENS, budget.LIMIT_NANOCOST))
        return NoBudget()
    with stop_on_signal() as stop:
        spent = spent_on(today, settings, stop)
    if stop.is_set():
        sys.exit(0)
    log.info("counted what was spent today", tokens=spent.tokens, nanocost=spent.nanocost)
    day_budget = DayBudget(redis, limits, spent)
    day_budget.closed_seconds()  # tells Redis of it, and so everybody who looks
    return day_budget


if __name__ == "__main__":
    main()
