"""Limits of a consumer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a consumer.

    Attributes:
        concurrency: Handlers that run at the same time.
        in_flight: Messages that are started and not finished, including those that wait for a retry or a due time.
        of_group: Part of `in_flight` that is shared by the whole group: this member gets its share of it.
        in_flight_bytes: Total size of the values of these messages, in bytes.
        stalled_seconds: A handler that runs longer stops the heartbeat, and so the process (`pipeline.health`).
        drain_seconds: Time for messages in flight to finish when partitions are revoked or the service stops.
    """

    concurrency: int = 1
    in_flight: int = 64
    of_group: int = 0
    in_flight_bytes: int = 32 * 1024 * 1024
    stalled_seconds: float = 20
    drain_seconds: float = 8
