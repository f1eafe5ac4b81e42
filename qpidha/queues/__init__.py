"""Queue types: they decide which consumer gets which message next, and replicate through a node's `Queue`."""

from qpidha.queues.fifo import FifoQueue

__all__ = ["FifoQueue"]
