"""How much a consumer takes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much a consumer takes on.

    Attributes:
        concurrency: Handlers that run at the same time.
        in_flight: Messages started and not finished, those that wait for a retry or their due time included.
        of_group: How many of these `in_flight` belong to the whole group: this member gets its share of them.
        in_flight_bytes: Limit for the same messages, in bytes of their values.
        stalled_seconds: A handler that runs longer stops the heartbeat, and so the process (`pipeline.health`).
        drain_seconds: Time for messages in flight to finish when partitions are revoked or the service stops.
    """

    concurrency: int = 1
    in_flight: int = 64
    of_group: int = 0
    in_flight_bytes: int = 32 * 1024 * 1024
    stalled_seconds: float = 20
    drain_seconds: float = 8
