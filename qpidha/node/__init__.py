"""`Node`: connects core, store, transport and cluster manager under asyncio.

`node` is the public class, and `facts`, `content` and `participant` are its bases; `sync` is the same for other
threads. `life` starts and stops it, `engine` drives the core. `content` has the broker's state: `queue`, `table`,
`configuration`, `producer` and `transaction` are what a broker works with, `op` says when a change is safe, `commit`
and `keywatches` are behind them; `answers` holds back what a broker says until then. `notifier`, `listeners` and
`callbacks` call the broker. `peer` is one link, `cluster` watches the record and the live nodes, `presence` keeps the
session, `place` decides whether this node is a candidate for primary. `control` answers operators, who use `ask`.
"""

from qpidha.node.answers import Answers, one_change
from qpidha.node.configuration import Configuration
from qpidha.node.node import Node
from qpidha.node.op import Op, ProducerOp
from qpidha.node.producer import Producer
from qpidha.node.producers import ProducerInfo
from qpidha.node.queue import Queue
from qpidha.node.results import NewQueue, Part
from qpidha.node.status import NodeStatus
from qpidha.node.sync import (
    SyncConfiguration,
    SyncNewQueue,
    SyncNode,
    SyncOp,
    SyncPart,
    SyncProducer,
    SyncProducerOp,
    SyncQueue,
    SyncTable,
    SyncTransaction,
)
from qpidha.node.table import Table
from qpidha.node.transaction import Transaction

__all__ = [
    "Answers",
    "Configuration",
    "NewQueue",
    "Node",
    "NodeStatus",
    "Op",
    "Part",
    "Producer",
    "ProducerInfo",
    "ProducerOp",
    "Queue",
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
    "Table",
    "Transaction",
    "one_change",
]
