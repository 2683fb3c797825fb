"""Faults that repeat or delete messages, and a provider that misbehaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import confluent_kafka.admin

from pipeline import topics
from tests.drills.faults.base import LLM_CONSUMER, MIN_STRUCK, Fault, Stage, await_members
from tests.drills.scripts import MISBEHAVING
from tests.fleet import CLIENT, eventually


@dataclass(frozen=True)
class Replay(Fault):
    """Makes consumer groups read their topics again from the beginning."""

    services: Sequence[str]
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.stop(timeout=30)
        for service in self.services:
            await_members(service, 0)
            stage.fleet.seek(service, [topic.name for topic in topics.ALL if service in topic.consumers])

    def undo(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.start()


@dataclass(frozen=True)
class DeleteRecords(Fault):
    """Deletes the questions that wait for llm-consumer from their topic, as a retention that is too short would."""

    name: str = "records-deleted"
    loses: bool = field(default=True, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        fleet, pending = stage.fleet, [topics.QUESTIONS_PENDING]
        for each in stage.containers(LLM_CONSUMER):
            each.stop(timeout=30)
        eventually(lambda: fleet.lag(LLM_CONSUMER, pending) >= MIN_STRUCK, "questions wait", 60)
        admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
        partitions = admin.list_topics(pending[0], timeout=10).topics[pending[0]].partitions
        ends = [confluent_kafka.TopicPartition(pending[0], number, -1) for number in partitions]
        for future in admin.delete_records(ends, request_timeout=10).values():
            future.result(15)

    def undo(self, stage: Stage) -> None:
        for each in stage.containers(LLM_CONSUMER):
            each.start()


@dataclass(frozen=True)
class Misbehave(Fault):
    """Makes the provider reply with garbage, hang and send single bytes; nothing else breaks."""

    name: str = "provider-misbehaves"
    mix: Mapping[str, float] = field(default_factory=lambda: MISBEHAVING, kw_only=True)
    repeats: bool = field(default=False, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        """Does nothing: the scripts of the mix misbehave."""

    def undo(self, stage: Stage) -> None:
        """Does nothing."""
