"""Queue types: who gets which message next. They sit on a node's `Queue` and replicate through it."""

from qpidha.queues.fifo import FifoQueue

__all__ = ["FifoQueue"]
