"""See `qpidha.system.backoff`."""

from qpidha.system.backoff import Backoff

__all__ = ["Backoff"]
