"""retry-overload-consumer and retry-quota-consumer: `python -m retry_consumers overload|quota`."""

import sys
from dataclasses import replace

from pipeline import command, service, topics
from pipeline.consumer import Limits
from pipeline.delays import OVERLOAD, QUOTA
from pipeline.messages import MAX_RETRIES
from pipeline.settings import EXIT_USAGE
from retry_consumers.handler import RetryHandler
from retry_consumers.settings import RetrySettings

STRATEGIES = {"overload": (topics.ERROR_OVERLOAD, OVERLOAD), "quota": (topics.ERROR_QUOTA, QUOTA)}

LIMITS = Limits(concurrency=1, in_flight=10_000)
"""Waiting messages are held in memory, a few kB each. Above these limits, or the limit of bytes, reading pauses."""


def main() -> None:
    """Runs one strategy until a signal stops the process."""
    if len(sys.argv) < 2 or sys.argv[1] not in STRATEGIES:
        print(f"usage: python -m retry_consumers {'|'.join(STRATEGIES)} [--check]", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    name = f"retry-{sys.argv[1]}-consumer"
    topic, delays = STRATEGIES[sys.argv[1]]
    settings = command.start(name, RetrySettings, arguments=sys.argv[2:])
    delays = replace(delays, longest_seconds=settings.retry_after_max, patience_seconds=settings.llm_patience)
    most = settings.max_quota_retries if topic == topics.ERROR_QUOTA else None
    handler = RetryHandler(delays, MAX_RETRIES if most is None else most)
    service.consume(name, settings, [topic], handler, LIMITS)


if __name__ == "__main__":
    main()
