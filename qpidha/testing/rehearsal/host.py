"""One node of a rehearsed cluster over all of its lives: what stays when its process dies."""

from __future__ import annotations

import asyncio

from qpidha.stores.memory import MemoryStore
from qpidha.testing.rehearsal.loop import Life
from qpidha.testing.rehearsal.seat import SeatRecords


class Host:
    """A name, an address and a disk; and the process that uses them now, if one does."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.disk = MemoryStore()
        self.address = ("127.0.0.1", 5001 + number)
        self.life: Life | None = None
        self.task: asyncio.Task[None] | None = None
        self.records: SeatRecords | None = None
        self.lives = 0
