"""Ways to open links between nodes: TCP with or without TLS, and links inside one process."""

from qpidha.transports.memory import MemoryNetwork, MemoryTransport
from qpidha.transports.tcp import TcpTransport

__all__ = ["MemoryNetwork", "MemoryTransport", "TcpTransport"]
