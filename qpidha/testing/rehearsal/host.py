"""One node of a rehearsed cluster over all its processes: what survives them."""

from __future__ import annotations

import asyncio
from typing import Any

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
        self.node: Any = None
        """The `Node` that the process that runs now has shown; None: it has shown none."""
        self.processes = 0

    def show(self, process: Process, node: Any) -> None:
        """The broker has made this node, in this process."""
        if self.process is process:
            self.node = node

    @property
    def serves(self) -> bool:
        """Whether its process runs, and has not ended by itself."""
        return self.process is not None and self.task is not None and not self.task.done()
