"""The node for other threads: `Node.sync`. Each call is made in the event loop, and the thread waits for its answer.

`call` is one call and its answer, `loopcalls` takes the calls of all threads into the loop, and `caller` gives them a
time limit. The other modules are counterparts of what the node has: `node`, `queue`, `table`, `configuration`,
`transaction`, `producer` and `op`.
"""

from qpidha.node.sync.configuration import SyncConfiguration
from qpidha.node.sync.node import SyncNode
from qpidha.node.sync.op import SyncOp
from qpidha.node.sync.producer import SyncProducer, SyncProducerOp
from qpidha.node.sync.queue import SyncQueue
from qpidha.node.sync.table import SyncTable
from qpidha.node.sync.transaction import SyncNewQueue, SyncPart, SyncTransaction

__all__ = [
    "SyncConfiguration",
    "SyncNewQueue",
    "SyncNode",
    "SyncOp",
    "SyncPart",
    "SyncProducer",
    "SyncProducerOp",
    "SyncQueue",
    "SyncTable",
    "SyncTransaction",
]
