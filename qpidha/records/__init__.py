"""Record stores: where a cluster keeps its record, which names the primary, the generation and the members."""

from qpidha.records.file import FileRecordStore
from qpidha.records.memory import MemoryRecordStore

__all__ = ["FileRecordStore", "MemoryRecordStore"]
