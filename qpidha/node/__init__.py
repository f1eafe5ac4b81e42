"""The asyncio skin: a `Node` ties core, store, transport and cluster manager together.

`node` is the life of it, `queue` and `op` are what an embedder works with, `peer` is one link,
`cluster` watches the record and the live nodes, `embedder` tells the broker, `control` answers operators,
who use `ask`.
"""

from qpidha.node.node import Node
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from qpidha.node.status import NodeStatus

__all__ = ["Node", "NodeStatus", "Op", "Queue"]
