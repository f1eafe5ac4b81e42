"""See `qpidha.system.within`."""

from qpidha.system.within import Limit, within

__all__ = ["Limit", "within"]
