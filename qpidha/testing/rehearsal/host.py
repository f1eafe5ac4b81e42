"""One node of a rehearsed cluster over all its processes: what survives them."""

from __future__ import annotations

import asyncio

from qpidha.stores.memory import MemoryStore
from qpidha.testing.rehearsal.loop import Process
from qpidha.testing.rehearsal.parts import ProcessRecords


class Host:
    """A name, an address and a disk, and the process that uses them now; None: the node is down."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.disk = MemoryStore()
        self.address = ("127.0.0.1", 5001 + number)
        self.process: Process | None = None
        self.task: asyncio.Task[None] | None = None
        self.records: ProcessRecords | None = None
        self.processes = 0
