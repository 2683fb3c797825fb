"""storage-writer: writes the outcome of each question."""

from pipeline import command, postgres, service, topics
from pipeline.cache import Cache
from pipeline.consumer import Limits
from pipeline.producer import Producer
from storage_writer.backlog import Backlog
from storage_writer.handler import FinalHandler
from storage_writer.republish import GIVE_UP_SECONDS, Republisher
from storage_writer.retention import Retention
from storage_writer.settings import WriterSettings
from storage_writer.store import Store
from storage_writer.sweep import Sweeper

SERVICE = "storage-writer"


def main() -> None:
    """Runs the service until a signal stops it."""
    settings = command.start(SERVICE, WriterSettings)
    store = Store(postgres.engine(settings, SERVICE))
    cache = Cache(settings, SERVICE)
    handler = FinalHandler(store, cache)
    retention = Retention(store, cache, settings.retention_days)
    sweeper = Sweeper(store, Backlog(settings, f"{SERVICE}-sweep"), settings.lost_after_seconds)
    # A separate producer, which gives up after a time; the loop's producer never does. Questions that it gives up are
    # found again.
    with Producer(settings, f"{SERVICE}-republish", GIVE_UP_SECONDS) as producer:
        service.consume(
            SERVICE,
            settings,
            [topics.VALIDATED, topics.LOW_QUALITY, topics.PERMANENT],
            handler,
            Limits(concurrency=settings.writer_concurrency),
            background_tasks=[Republisher(store, producer).run, sweeper.run, retention.run],
        )


if __name__ == "__main__":
    main()
