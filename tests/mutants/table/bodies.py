"""Message bodies that are not in memory: when they are dropped, and how they come back."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BATCHES = "qpidha/core/batches.py"
BODIES = "qpidha/core/bodies.py"
DRIVER = "qpidha/driver.py"
FLIP = "qpidha/core/backup/flip.py"
STAGING = "qpidha/core/backup/staging.py"
DATABASE = "qpidha/stores/database.py"
LOADER = "qpidha/stores/loader.py"
REREADING = "qpidha/stores/rereading.py"
WRITER = "qpidha/stores/writer.py"

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
        name="room-after-it-was-used",
        rules="D1 D3",
        why="room in the log is made after a transaction has begun to write: zeros lie over its first frames",
        file="qpidha/stores/sqlite.py",
        old="""        files.provide_room(written)  # Now: later, SQLite may have written what its cache does not hold.
        db.execute("BEGIN IMMEDIATE")
        write(db, contents, delta, time.time())
""",
        new="""        db.execute("BEGIN IMMEDIATE")
        write(db, contents, delta, time.time())
        files.provide_room(written)
""",
        first="stores/test_logroom",
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
    Mutant(
        name="set-aside-and-not-durable",
        rules="S1 C5",
        why="what a plan brings is dropped from memory while it is not durable where it is set aside",
        file=BODIES,
        old="""        del self._waiting[item]
        self._fresh[item] = self._serial, owner
""",
        new="""        del self._waiting[item]
        self._durable[item] = owner
""",
        first="backup/test_staging",
    ),
    Mutant(
        name="adopted-is-read-as-content",
        rules="C5",
        why="until the flip is durable, its messages are looked for among the content of the store",
        file=BODIES,
        old="        outline.staged = True\n",
        new="        outline.staged = False\n",
        first="backup/test_staging",
    ),
    Mutant(
        name="read-from-aside-is-durable",
        rules="C5",
        why="what was read where it is set aside is dropped again, and then looked for among the content",
        file=BATCHES,
        old="        self.bodies.returned(self, item, staged=staged)",
        new="        self.bodies.returned(self, item)",
        first="backup/test_staging",
    ),
    Mutant(
        name="dequeued-and-adopted",
        rules="C4",
        why="the flip adopts what was dequeued after it was set aside",
        file=FLIP,
        old="                adopted |= left\n",
        new="                adopted |= piece.ids\n",
        first="backup/test_staging",
    ),
    Mutant(
        name="aside-after-the-session",
        rules="C5",
        why="what was set aside outlives its session, and is in the way of the next one",
        file=STAGING,
        old="[Unstage()] if self._stored else []",
        new="[Unstage()] if self._stored and not plan else []",
        first="backup/test_staging",
    ),
    Mutant(
        name="two-plans-aside",
        rules="C5",
        why="messages of a plan are set aside while those of the flip before it are still read there",
        file=STAGING,
        old=" and not bodies.adopting:",
        new=":",
        first="backup/test_staging",
    ),
    Mutant(
        name="aside-is-loaded",
        rules="C5",
        why="a start takes what is set aside for content",
        file=LOADER,
        old="            if row[0] in staged:",
        new="            if row[0] in staged and row[1] < 0:",
        first="stores/test_contract",
    ),
    Mutant(
        name="aside-for-good",
        rules="C5",
        why="a start leaves what is set aside in the database",
        file=DATABASE,
        old="    drop_staged(db)\n",
        new="",
        first="stores/test_contract",
    ),
    Mutant(
        name="adopted-and-still-aside",
        rules="D1 C5",
        why="what a flip adopts keeps its mark: the next start removes it",
        file=WRITER,
        old="""    else:
        db.execute(DROP_ALL_STAGED)
""",
        new="""    elif not delta.adopted:
        db.execute(DROP_ALL_STAGED)
""",
        first="stores/test_contract",
    ),
)
