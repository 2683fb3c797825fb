"""The topic that the job reads, and its id. Kafka gives each topic an id when it is created and never reuses it."""

from typing import Protocol

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.errors import Unavailable
from pipeline.kafka import client_config
from pipeline.settings import KafkaSettings

TIMEOUT_SECONDS = 5.0


class Source(Protocol):
    """The part of `Topic` that the supervisor uses."""

    def topic_id(self) -> str:  # noqa: D102
        ...


class Topic:
    """The topic that the job reads, in Kafka."""

    def __init__(self, admin: AdminClient, name: str = topics.RESPONSES_SUCCESS) -> None:
        self._admin = admin
        self._name = name

    @classmethod
    def of(cls, settings: KafkaSettings) -> "Topic":
        """Creates a client of the brokers in the settings; it sends nothing yet."""
        return cls(AdminClient(client_config(settings, "flink-job")))

    def topic_id(self) -> str:
        """Returns the id of the topic in base64. (`kafka-topics --describe` writes `-` for `+` and `_` for `/`.)

        Raises:
            Unavailable: Kafka does not answer within `TIMEOUT_SECONDS`, or has no such topic.
        """
        asked = self._admin.describe_topics(TopicCollection([self._name]), request_timeout=TIMEOUT_SECONDS)
        try:
            return str(asked[self._name].result(TIMEOUT_SECONDS).topic_id)
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(f"cannot describe the topic {self._name}: {_error_text(error)}") from error


def _error_text(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return str(error.args[0].str())
    return f"no answer within {TIMEOUT_SECONDS:g} s"
