"""Reads messages of an open store again, for a node that does not keep all of them in memory.

The node calls it in its event loop while the thread of the store commits. So it has a connection of its own, which sees
what was committed, and a lock around the index of rows. The lock is held for as long as changes are entered into the
index, never for a write to the disk.

A row is read whole and verified: its checksum must be that of its values, and the one that the index has. What does not
verify is read once more, as at a start: a disk with sporadic faults is not a damaged store.
"""

from __future__ import annotations

import sqlite3
from threading import Lock

from qpidha.errors import MalformedFrame, StoreDamaged, StoreError, StoreFailed
from qpidha.seq import SequenceSet
from qpidha.stores.changes import SOME_IDS, UUID_
from qpidha.stores.contents import Contents
from qpidha.stores.database import failures
from qpidha.stores.files import Layout
from qpidha.stores.queue import Aside, Queue
from qpidha.stores.row import Row
from qpidha.stores.schema import checksum
from qpidha.types import QueueId
from qpidha.wire.batch import Batch

READ_BATCH = "SELECT key, queue, first, count, ids, data, crc FROM batches WHERE key = ?"


class Rereader:
    """Reads messages of one open store."""

    def __init__(self, layout: Layout, db: sqlite3.Connection, contents: Contents) -> None:
        self._layout = layout
        self._db = db
        self._contents = contents
        self.changing = Lock()
        """Held while the index changes, and while messages are read."""
        self.failed: StoreError | None = None
        """What the first failing read has found: the store must not be used any more."""

    def read(self, queue: QueueId, ids: SequenceSet, *, staged: bool = False) -> Batch:
        """See `qpidha.interfaces.ReadableStore`; with ``staged``, `StagingStore.read_staged`."""
        UUID_("queue", queue)
        SOME_IDS("ids", ids)
        try:
            with self.changing, failures(self._layout):
                aside = self._contents.staged.get(queue) if staged else None
                if aside is not None and aside.rows.find(ids.first) is not None:
                    return self._read(aside, queue, ids)
                return self._read(self._contents.queues.get(queue), queue, ids)
        except StoreError as error:
            self.failed = self.failed or error
            raise

    def _read(self, known: Queue | Aside | None, queue: QueueId, ids: SequenceSet) -> Batch:
        found: list[Batch] = []
        at = ids.first
        while True:
            row = None if known is None else known.rows.find(at)
            if row is None:
                raise StoreFailed(f"message {at} of queue {queue} is not in {self._layout.directory}")
            body = self._body(row, queue)
            part = _first_of(ids.slice(at, row.last), row.live)
            before = row.ids.count
            found.append(
                body.gather([(before(row.first, a) - 1, before(row.first, b)) for a, b in part.runs()])
            )
            following = ids.ceiling(part.last + 1)
            if following is None:
                return found[0] if len(found) == 1 else Batch.join(found)
            at = following

    def _body(self, row: Row, queue: QueueId) -> Batch:
        """The messages of a row, verified."""
        for _ in range(2):
            rows = self._db.execute(READ_BATCH, (row.key,)).fetchall()  # All: it must not stay open.
            if not rows or type(rows[0][5]) is not bytes:
                continue
            *head, data, crc = rows[0]
            if crc == row.digest == checksum(tuple(head), data):
                try:
                    return Batch.parse(data)
                except MalformedFrame:
                    continue
        raise StoreDamaged(
            f"{self._layout.directory} does not verify: batch {row.key} of queue {queue}, "
            f"messages {row.first} to {row.last}, is missing or fails its checksum"
        )


def _first_of(wanted: SequenceSet, live: SequenceSet) -> SequenceSet:
    """The wanted ones, up to the first that is not live. The first one is."""
    absent = wanted - live
    return wanted.slice(wanted.first, absent.first - 1) if absent else wanted
