"""The HTTP port of a node: metrics for Prometheus, health, and a page with live pictures.

Needs ``pip install 'qpidha[prometheus]'``. A broker opens it beside its node:

    events = EventLog()
    node = Node("a", ..., on_event=events)
    async with node, NodeServer(node, ("127.0.0.1", 7081), events=events):
        ...

docs/monitoring.md lists what it answers.
"""

from qpidha.web.access import Access, Tokens
from qpidha.web.history import EventLog
from qpidha.web.metrics import NodeCollector
from qpidha.web.server import NodeServer
from qpidha.web.serverfiles import ServerFiles

__all__ = ["Access", "EventLog", "NodeCollector", "NodeServer", "ServerFiles", "Tokens"]
