"""The asyncio skin: a `Node` ties core, store, transport and cluster manager together.

`node` is the front door, `life` its start and end, `engine` drives the core. `queue` and `op` are what an embedder works
with; `embedder`, `listeners` and `callbacks` call its code. `peer` is one link, `cluster` watches the record and the live
nodes, `presence` keeps the session, `place` says whether this node stands for primary. `control` answers operators,
who use `ask`.
"""

from qpidha.node.node import Node
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from qpidha.node.status import NodeStatus

__all__ = ["Node", "NodeStatus", "Op", "Queue"]
