"""Queue types: they decide which consumer gets which message next, and replicate through a node's `Queue`.

`FifoQueue` has the least and costs the least; `DeliveryQueue` has priorities, groups, limits, expiry, dead letters;
`SessionQueue` has one client that comes and goes.
"""

from qpidha.queues.arguments import Overflow, QueueArguments
from qpidha.queues.consumer import Consumer
from qpidha.queues.delivery import DeliveryQueue
from qpidha.queues.fifo import FifoQueue
from qpidha.queues.index import MessageIndex
from qpidha.queues.properties import MSGPACK, MsgpackFormat, PropertiesFormat, Traits
from qpidha.queues.session import Delivery, SessionQueue
from qpidha.queues.types import STANDARD_TYPES, queue_types

__all__ = [
    "MSGPACK",
    "STANDARD_TYPES",
    "Consumer",
    "Delivery",
    "DeliveryQueue",
    "FifoQueue",
    "MessageIndex",
    "MsgpackFormat",
    "Overflow",
    "PropertiesFormat",
    "QueueArguments",
    "SessionQueue",
    "Traits",
    "queue_types",
]
