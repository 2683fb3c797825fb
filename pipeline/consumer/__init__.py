"""The consumer loop of all services.

A handler is a function from a message to outgoing messages. Handlers run in a bounded pool while the loop polls. The
offset of a message is committed after the broker has acknowledged every message that follows from it. Messages that
finish out of order are committed with it (`pipeline.offsets`): a crash repeats what was in flight and never loses a
message.

A handler rejects a message by raising `InvalidMessage`; the loop sends its bytes to the permanent topic and continues.
`Unavailable` makes the loop retry the message later, until the dependency is back; this uses up no attempt of the
message and occupies no handler. Any other exception is a fault of the service: the message is retried a few times,
then rejected with the reason `internal_error`, or its question ends with the best answer that it has.

`loop` ties the modules together: `prefetch` (records read and not started), `in_flight` (messages started and not
finished), `processing` (the handler and its result), `commits`, `stall` (partitions that are not read) and `clients`
(the Kafka clients of the loop). Each class documents which thread owns its state, or which lock guards it.
"""

from pipeline.consumer.clients import Clients, connect
from pipeline.consumer.limits import Limits
from pipeline.consumer.loop import Consumer
from pipeline.consumer.processing import FAULT_TRIES, Handler, Incoming

__all__ = ["FAULT_TRIES", "Clients", "Consumer", "Handler", "Incoming", "Limits", "connect"]
