"""Message bodies that are not in memory: when they are dropped, and how they come back."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BATCHES = "qpidha/core/batches.py"
BODIES = "qpidha/core/bodies.py"
DRIVER = "qpidha/driver.py"
FLIP = "qpidha/core/backup/flip.py"
REREADING = "qpidha/stores/rereading.py"

BODIES_ON_DISK: tuple[Mutant, ...] = (
    Mutant(
        name="dropped-before-it-is-durable",
        rules="S1",
        why="a message is dropped from memory while its transaction is not durable yet",
        file=BODIES,
        old="            if serial >= self._serial:",
        new="            if serial > self._serial:",
        first="core/test_bodies",
    ),
    Mutant(
        name="half-a-flip-is-durable",
        rules="C5",
        why="what a flip has inserted counts as durable with the next transaction, which does not have it yet",
        file=BODIES,
        old="        elif self._held is not None:",
        new="        elif self._held is not None and self._serial < 0:",
        first="backup/test_flip",
    ),
    Mutant(
        name="dead-messages-are-read",
        rules="O2",
        why="a batch is read again with messages that are gone, which the store does not have any more",
        file=BATCHES,
        old="        ids = self.held.slice(item.ids.first, items[-1].last)",
        new="        ids = SequenceSet.from_range(item.ids.first, items[-1].last)",
        first="core/test_batches",
    ),
    Mutant(
        name="read-without-a-checksum",
        rules="D3",
        why="a message that is read again is believed without its checksum",
        file=REREADING,
        old="            if crc == row.digest == checksum(tuple(head), data):",
        new="            if crc == row.digest:",
        first="stores/test_rereading",
    ),
    Mutant(
        name="goes-on-without-a-message",
        rules="D6",
        why="a node goes on after its store could not give a message back",
        file=DRIVER,
        old="                if (unreadable := self.replica.unreadable) is not None:",
        new="                if (unreadable := self.failed) is not None:",
        first="unit/test_driver",
    ),
)
