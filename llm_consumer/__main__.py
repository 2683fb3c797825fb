"""llm-consumer: asks the model."""

from llm_consumer.handler import AskHandler
from llm_consumer.llm import Llm
from llm_consumer.settings import LlmSettings
from pipeline import service, topics
from pipeline.consumer import Limits


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = service.start("llm-consumer", LlmSettings)
    handler = AskHandler(Llm(settings).ask, settings.llm_temperature)
    limits = Limits(
        concurrency=settings.llm_concurrency,
        in_flight=settings.llm_concurrency,
        stalled_seconds=settings.llm_timeout + 30,
    )
    service.consume("llm-consumer", settings, [topics.QUESTIONS_PENDING], handler, limits)


if __name__ == "__main__":
    main()
