"""llm-consumer: asks the model."""

import structlog

from llm_consumer.faults import Ask, with_faults
from llm_consumer.gate import ProviderGate
from llm_consumer.handler import AskHandler, SelfCheck
from llm_consumer.llm import Llm
from llm_consumer.memo import Memo
from llm_consumer.settings import LlmSettings
from pipeline import service, topics
from pipeline.consumer import Limits
from pipeline.volatile import Volatile

SERVICE = "llm-consumer"

log = structlog.get_logger()


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = service.start(SERVICE, LlmSettings)
    ask: Ask = Llm(settings).ask
    overload, quota = settings.fault_overload_rate, settings.fault_quota_rate
    if overload or quota:
        log.warning("makes errors on purpose", fault_overload_rate=overload, fault_quota_rate=quota)
        ask = with_faults(ask, overload, quota)
    redis = Volatile(settings, SERVICE)
    gate = ProviderGate(redis, settings.llm_base_url)
    self_check = SelfCheck(settings.self_check_samples, settings.self_check_temperature)
    handler = AskHandler(ask, gate, Memo(redis), settings.llm_temperature, settings.retry_after_max, self_check)
    limits = Limits(
        concurrency=settings.llm_concurrency,
        in_flight=settings.llm_concurrency,
        stalled_seconds=settings.llm_timeout * (1 + self_check.samples) + 10,
    )
    service.consume(SERVICE, settings, [topics.QUESTIONS_PENDING], handler, limits)


if __name__ == "__main__":
    main()
