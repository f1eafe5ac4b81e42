"""A broker's process under a service manager such as systemd: it says when it is ready, what it is, and that it is alive.

    NodeProgram  a whole program: command line, cluster file, node, exit code
    TermBroker   a broker that is a new object in each term
    run_node     starts a node, and stops it at SIGTERM: the work of a process that has one node
    Service      what it tells the service manager, for a process that does more

Without a service manager (no NOTIFY_SOCKET) nothing is said, and `Service.leave` hands over as well. docs/service.md has
the rest.
"""

from qpidha.service.program import NodeProgram
from qpidha.service.run import run_node
from qpidha.service.service import Service
from qpidha.service.termbroker import TermBroker

__all__ = ["NodeProgram", "Service", "TermBroker", "run_node"]
