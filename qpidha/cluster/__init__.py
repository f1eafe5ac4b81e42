"""Record stores, where a cluster keeps who is primary, and promoters, which decide when to try."""

from qpidha.cluster.file import FileRecordStore
from qpidha.cluster.memory import MemoryRecordStore
from qpidha.cluster.operator import OperatorPromoter
from qpidha.cluster.priority import PriorityPromoter

__all__ = ["FileRecordStore", "MemoryRecordStore", "OperatorPromoter", "PriorityPromoter"]
