"""The default store: one SQLite database for a node, one transaction for a commit, one row for a batch.

Messages, lineages, next ids and the status change in the same transaction (rules N1, N2, C5), so a crash leaves the
state after some commit (D1), and a recovery that is itself killed may be repeated (D2). An index in
memory maps each id to its row, so SQLite only has to append rows and to delete rows by key.

    open    lock ─► read and verify all, read-only ─► mark dirty ─► checkpoint ─► serve
    close   checkpoint ─► mark clean, the last write ─► unlock

The dirty mark is moved into the database itself before `open` returns. If it were in the write-ahead log only, a
store that was killed and lost its log would look like a clean, older one (D5).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from uuid import UUID, uuid4
from weakref import ref

from qpidha.checks import CALLBACK, FLAG, PATH
from qpidha.errors import (
    SettingsError,
    StoreDamaged,
    StoreDirty,
    StoreFailed,
    StoreLocked,
    StoreMismatch,
)
from qpidha.journal import Change, StoreImage, StoreState, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.settings import check_node_id
from qpidha.stores import compaction, offline
from qpidha.stores.changes import check_changes
from qpidha.stores.contents import Contents
from qpidha.stores.database import (
    checkpoint,
    close_writer,
    create,
    failures,
    mark,
    open_writer,
    reader,
)
from qpidha.stores.files import (
    Identity,
    Layout,
    note_damage,
    noted_damage,
    require_suitable,
)
from qpidha.stores.loader import Loaded
from qpidha.stores.lock import Lock
from qpidha.stores.openfiles import OpenFiles
from qpidha.stores.pieces import QueueImages
from qpidha.stores.progress import Logged
from qpidha.stores.report import AuditLine, Damage, StoreReport
from qpidha.stores.rereading import Rereader
from qpidha.stores.synced import void
from qpidha.stores.writer import write
from qpidha.system import forks
from qpidha.system.syncing import sync_directory
from qpidha.types import NodeId, QueueId
from qpidha.wire.batch import Batch

CHECKPOINT_BYTES = 16 * 1024 * 1024
"""Size of the log at which a checkpoint runs: a larger one is no faster, and delays a commit for longer."""
COMMIT_BYTES = 3 * 8192
"""About what a commit writes besides its payload."""


class SqliteStore:
    """A `MessageStore` in one directory, which belongs to one node.

    `open`, `commit` and `close` may be called in any thread, never two at a time. A node calls them in one. `read` may
    be called in another one at any time.

    Args:
        directory: Created if it is not there. Nothing else should be in it.
        new_uuid: Where epochs and stop ids come from.

    Raises:
        SettingsError: An argument has a wrong type.
    """

    blocking = True
    memory_bytes_max: int | None = None
    """See `qpidha.interfaces.ReadableStore`."""

    def __init__(self, directory: Path | str, *, new_uuid: Callable[[], UUID] = uuid4) -> None:
        PATH("directory", directory, SettingsError)
        CALLBACK("new_uuid", new_uuid, SettingsError)
        self._layout = Layout(Path(directory))
        self._new_uuid = new_uuid
        self._forked = False
        self._lock: Lock | None = None
        self._files: OpenFiles | None = None
        self._synced_fd = -1
        self._db: sqlite3.Connection | None = None
        self._spare: sqlite3.Connection | None = None
        self._contents: Contents | None = None
        self._images: Callable[[], QueueImages | None] = lambda: None
        """The queues of the image that `open` has returned, if it is still alive."""
        self._reading: Rereader | None = None
        self._failed: str | None = None
        self._log_bytes = 0

    # --- open --------------------------------------------------------------------------------------

    def open(self, node: NodeId, *, refuse_dirty: bool = False) -> StoreImage:
        """See `qpidha.interfaces.MessageStore`. O(store): everything is verified."""
        check_node_id(node)
        FLAG("refuse_dirty", refuse_dirty)
        self._require_not_forked()
        if self._lock is not None:
            raise StoreLocked("this store is open already")
        with failures(self._layout):
            self._layout.prepare()
            require_suitable(self._layout)
            self._lock = Lock(self._layout)
            try:
                loaded, contents = self._verified(node, refuse_dirty, self._lock)
                self._shrink(contents, self._lock)
                self._contents, image = contents, loaded.image(self.read)
                self._images = ref(loaded.queues)
                self._begin(contents, loaded.format, self._lock)
            except BaseException:
                self._release(clean=False)
                raise
        # The node has the messages now; the store keeps only their places.
        for shelved in contents.shelved():
            shelved.row.batch = None
        self._failed, self._log_bytes = None, 0
        return image

    def _verified(self, node: NodeId, refuse_dirty: bool, lock: Lock) -> tuple[Loaded, Contents]:
        """Everything in the store, read-only so far. Creates it where there is none."""
        layout = self._layout
        try:
            damage = noted_damage(layout) or offline.missing(layout)
        except ValueError as error:
            damage = [Damage("unreadable", str(error))]
        except StoreMismatch:
            create(layout, StoreStatus(node=node, epoch=self._new_uuid()))
            damage = []
        if damage:
            raise self._damaged(damage)
        lock.take_database()
        with reader(layout) as db:
            told, kept_max = Logged(f"reading the store in {layout.directory}"), self.memory_bytes_max
            loaded = offline.verify(layout, db, told, memory_bytes_max=kept_max)
        contents = loaded.contents
        if contents is not None and contents.status.node != node:
            raise StoreMismatch(f"the store belongs to node {contents.status.node}, not to {node}")
        if loaded.damage or contents is None:
            damage = offline.confirmed(layout, loaded.damage)
            note_damage(layout, damage)
            raise self._damaged(damage)
        if contents.left() is StoreState.DIRTY and refuse_dirty:
            raise StoreDirty(f"the store of node {node} was not closed cleanly")
        return loaded, contents

    def _shrink(self, contents: Contents, lock: Lock) -> None:
        """Compact the database if much of it is free. If the disk is too full for the copy, start without compacting."""
        with suppress(sqlite3.Error, OSError, StoreFailed):
            if compaction.worthwhile(self._layout, contents.left()):
                compaction.rewrite(self._layout, Logged(f"compacting the store in {self._layout.directory}"))
        lock.retake_database()

    def _damaged(self, damage: Sequence[Damage]) -> StoreDamaged:
        found = "; ".join(map(str, damage))
        return StoreDamaged(f"{self._layout.directory} does not verify: {found}")

    def _begin(self, contents: Contents, version: int, lock: Lock) -> None:
        """Mark the store dirty, durably and in the current format, and keep it open."""
        status = contents.status
        if not self._layout.identity.exists():
            Identity(status.node, status.epoch).write(self._layout.identity)
        self._db, self._spare = open_writer(self._layout, small=self.memory_bytes_max is not None)
        self._reading = Rereader(self._layout, self._spare, contents)
        forks.watch(self)
        db = self._db
        self._synced_fd = lock.keep(self._layout.synced, write=True)
        void(self._synced_fd)
        # A new log: behind our next frame, the rest of a torn transaction would look like proof of damage.
        checkpoint(db, "TRUNCATE")
        # The log's name must be durable before the mark is. SQLite syncs it too, but ignores errors.
        sync_directory(self._layout.directory)
        contents.status = status.with_(state=StoreState.DIRTY, stop=None)
        mark(db, contents, version)
        checkpoint(db, "TRUNCATE")
        self._files = OpenFiles(self._layout, lock, self._synced_fd)

    def commit(self, changes: Sequence[Change]) -> None:
        """See `qpidha.interfaces.MessageStore`. Blocks for one fsync of the log."""
        contents = self._contents
        db, _ = self._usable()
        if contents is None:
            raise StoreFailed("the store is not open")
        check_changes(changes)
        # Whatever goes wrong from here on, index and disk may differ: dead until reopened (D6).
        self._failed = "interrupted"
        try:
            with failures(self._layout):
                self._commit(db, contents, changes)
        except BaseException as error:
            self._failed = str(error)
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        self._failed = None

    def read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """See `qpidha.interfaces.ReadableStore`."""
        return self._reader().read(queue, ids)

    def read_staged(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """See `qpidha.interfaces.StagingStore`."""
        return self._reader().read(queue, ids, staged=True)

    def _reader(self) -> Rereader:
        self._require_not_forked()
        if self._reading is None:
            raise StoreFailed("the store is not open")
        return self._reading

    def lock_name(self) -> bytes:
        """See `qpidha.interfaces.LockedStore`. Empty unless the store is open."""
        return b"" if self._lock is None else self._lock.name()

    def verify_files(self) -> None:
        """See `qpidha.interfaces.WatchfulStore`. 20 to 30 µs."""
        _, files = self._usable()
        try:
            with failures(self._layout):
                files.verify()
        except StoreFailed as error:
            self._failed = str(error)
            raise

    def _usable(self) -> tuple[sqlite3.Connection, OpenFiles]:
        self._require_not_forked()
        if (why := self._unusable) is not None:
            raise StoreFailed(f"an earlier commit, read or check of the files failed: {why}")
        if self._db is None or self._files is None:
            raise StoreFailed("the store is not open")
        return self._db, self._files

    @property
    def _unusable(self) -> str | None:
        """What failed before: only `close` may follow. None: nothing did."""
        reading = self._reading
        return str(reading.failed) if reading is not None and reading.failed is not None else self._failed

    def _commit(self, db: sqlite3.Connection, contents: Contents, changes: Sequence[Change]) -> None:
        files, reading = self._files, self._reading
        assert files is not None and reading is not None
        files.require_untouched()
        if (images := self._images()) is not None:  # Its owner has not used it up.
            images.settle()
        with reading.changing:
            delta = contents.apply(changes)
        written = delta.payload_bytes + COMMIT_BYTES
        files.provide_room(written)  # Now: later, SQLite may have written what its cache does not hold.
        db.execute("BEGIN IMMEDIATE")
        write(db, contents, delta, time.time())
        db.execute("COMMIT")
        files.require_there()
        files.note_synced()
        with reading.changing:
            delta.forget_payload()
        self._log_bytes += written
        if self._log_bytes >= CHECKPOINT_BYTES:
            checkpoint(db, "PASSIVE")
            files.written()
            files.require_there()
            self._log_bytes = 0

    # --- close -------------------------------------------------------------------------------------

    def close(self, *, clean: bool) -> None:
        """Release the store; with ``clean``, mark it clean as the very last write.

        Raises:
            StoreFailed: The mark could not be written: the store is released, and stays dirty.
        """
        FLAG("clean", clean)
        self._require_not_forked()
        db, files, contents = self._db, self._files, self._contents
        marked = False
        try:
            if clean and self._unusable is None and db and files and contents:
                with failures(self._layout):
                    files.verify()
                    void(self._synced_fd)
                    checkpoint(db, "TRUNCATE")
                    contents.status = contents.status.with_(state=StoreState.CLEAN, stop=self._new_uuid())
                    mark(db, contents)
                    marked = True
                    checkpoint(db, "TRUNCATE")
        finally:
            self._release(clean=marked)

    def _release(self, *, clean: bool) -> None:
        """Close everything; what was committed is durable whether or not this succeeds.

        Unless clean, nothing more is written, and the log stays, as after a kill.
        """
        db, self._db, self._contents, self._files = self._db, None, None, None
        spare, self._spare = self._spare, None
        reading, self._reading = self._reading, None
        forks.release(self)
        if db is not None:
            with nullcontext() if reading is None else reading.changing:
                close_writer(self._layout, db, spare, keep_log=not clean)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def forked(self) -> Iterable[int]:
        """In a forked child: never use the connections again, not even to free them. The lock gives up their files.

        SQLite in the child shares the index of the log with the parent through memory, and behaves as if it held the
        parent's locks: closing a connection could merge and remove the log of a store in use.
        """
        self._forked = True
        for connection in (self._db, self._spare):
            forks.never_free(connection)
        self._db = self._spare = self._files = self._contents = self._lock = self._reading = None
        return ()

    def _require_not_forked(self) -> None:
        if self._forked:
            raise forks.forked_error(f"the store in {self._layout.directory}")

    def read_status(self) -> StoreStatus:
        """See `qpidha.stores.offline.read_status`."""
        return offline.read_status(self._layout.directory)

    def inspect(self) -> StoreReport:
        """See `qpidha.stores.offline.inspect`."""
        return offline.inspect(self._layout.directory)

    def audit(self, lines_max: int = offline.AUDIT_LINES_SHOWN) -> tuple[AuditLine, ...]:
        """See `qpidha.stores.offline.read_audit`."""
        return offline.read_audit(self._layout.directory, lines_max)
