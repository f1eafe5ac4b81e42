"""Where a node keeps its messages: two `MessageStore` implementations, and tools to look at a store.

    SqliteStore(directory)   durable: a database, a lock, verification at every start
    MemoryStore()            in memory: lost when the process ends
    inspect(directory)       what is in a store, and whether it verifies, without opening it
    read_status(directory)   the status alone

Loaded on first use: a node that keeps its messages elsewhere never imports SQLite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpidha.stores.memory import MemoryStore
    from qpidha.stores.offline import inspect, read_audit, read_status
    from qpidha.stores.report import AuditLine, Damage, QueueReport, StoreReport
    from qpidha.stores.sqlite import SqliteStore

_HOMES = {
    "AuditLine": "report",
    "Damage": "report",
    "QueueReport": "report",
    "StoreReport": "report",
    "MemoryStore": "memory",
    "SqliteStore": "sqlite",
    "inspect": "offline",
    "read_audit": "offline",
    "read_status": "offline",
}

__all__ = [
    "AuditLine",
    "Damage",
    "MemoryStore",
    "QueueReport",
    "SqliteStore",
    "StoreReport",
    "inspect",
    "read_audit",
    "read_status",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
