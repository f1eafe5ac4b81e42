"""The record store for the nodes of one machine: a record file, its lock, and session files in a shared directory."""

from qpidha.records.file.store import FileRecordStore

__all__ = ["FileRecordStore"]
