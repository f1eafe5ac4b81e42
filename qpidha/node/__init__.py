"""`Node`: connects core, store, transport and cluster manager under asyncio.

`node` is the public class, and `facts`, `content` and `participant` are its bases; `sync` is the same for other threads.
`life` starts and stops it, `engine` drives the core. `content` has the broker's state: `queue`, `table`, `configuration`
and `transaction` are what a broker works with, `op` says when a change is safe, `commit` and `keywatches` are behind
them. `notifier`, `listeners` and `callbacks` call the broker. `peer` is one link, `cluster` watches the record and the
live nodes, `presence` keeps the session, `place` decides whether this node is a candidate for primary. `control` answers
operators, who use `ask`.
"""

from qpidha.node.configuration import Configuration
from qpidha.node.node import Node
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from qpidha.node.status import NodeStatus
from qpidha.node.sync import (
    SyncConfiguration,
    SyncNewQueue,
    SyncNode,
    SyncOp,
    SyncPart,
    SyncQueue,
    SyncTable,
    SyncTransaction,
)
from qpidha.node.table import Table
from qpidha.node.transaction import NewQueue, Part, Transaction

__all__ = [
    "Configuration",
    "NewQueue",
    "Node",
    "NodeStatus",
    "Op",
    "Part",
    "Queue",
    "SyncConfiguration",
    "SyncNewQueue",
    "SyncNode",
    "SyncOp",
    "SyncPart",
    "SyncQueue",
    "SyncTable",
    "SyncTransaction",
    "Table",
    "Transaction",
]
