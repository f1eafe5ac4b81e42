"""`Node`: connects core, store, transport and cluster manager under asyncio.

`node` is the public class, `life` starts and stops it, `engine` drives the core. `queue` and `op` are the objects that a
broker works with; `notifier`, `listeners` and `callbacks` call the broker. `peer` is one link, `cluster` watches the
record and the live nodes, `presence` keeps the session, `place` decides whether this node is a candidate for primary.
`control` answers operators, who use `ask`.
"""

from qpidha.node.node import Node
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from qpidha.node.status import NodeStatus

__all__ = ["Node", "NodeStatus", "Op", "Queue"]
