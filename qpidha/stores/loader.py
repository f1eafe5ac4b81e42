"""Reads a whole database and verifies everything in it, without changing a byte.

A start, clean or not, and an offline inspection use the same pass: a store is trusted only after all of it was read.
Faults are collected, so that an operator sees the extent; a store with any damage never serves (D3).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from qpidha.errors import InvariantError, MalformedFrame, StoreMismatch
from qpidha.journal import Quarantine, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.stores.contents import Contents, Queue, Shelved
from qpidha.stores.report import Damage
from qpidha.stores.rows import Row
from qpidha.stores.schema import (
    APPLICATION,
    DIGEST_MASK,
    FORMAT,
    SEAL,
    STATUS,
    TABLES,
    Tally,
    Value,
    Values,
    checksum,
    decode_ids,
    lineage_fault,
    read_queue_row,
    read_status_row,
    seal_row,
    unsigned,
)
from qpidha.types import Fate
from qpidha.wire.batch import Batch

DAMAGE_MAX = 100
"""Maximum number of findings that are kept; more would not help an operator."""


@dataclass(slots=True)
class Loaded:
    """What a pass over the database has found."""

    contents: Contents | None
    """None: there is no status that can be read."""
    damage: list[Damage] = field(default_factory=list)
    nbytes: dict[UUID, int] = field(default_factory=dict)
    """Payload by queue."""
    format: int = FORMAT
    """Format of the database; an older one must be upgraded before anything is written."""


def load(db: sqlite3.Connection) -> Loaded:
    """Read and verify everything. Faults of the data are findings, faults of the disk are errors.

    Raises:
        StoreMismatch: The database is not a store, or has a newer format.
        sqlite3.OperationalError: The disk failed.
    """
    return _Loading(db).run()


class _Loading:
    """One pass: each step adds to the contents and to the findings."""

    def __init__(self, db: sqlite3.Connection) -> None:
        # Damaged text must fail its checksum, not the decoder.
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self._db = db
        self._found = Loaded(None)
        self._dead: dict[int, tuple[bytes, int]] = {}
        self._digests: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._by_key: dict[int, Queue] = {}

    def run(self) -> Loaded:
        self._check_format()
        for step in (
            self._check_pages,
            self._load_status,
            self._load_dead,
            self._load_queues,
            self._load_batches,
            self._load_quarantine,
            self._check_sums,
            self._check_tables,
        ):
            try:
                step()
            except sqlite3.DatabaseError as error:
                if is_disk_fault(error):
                    raise
                said = str(error) or "a message that quotes a damaged name"  # Empty before Python 3.11.
                self._report("unreadable", f"SQLite: {said}")
            except UnicodeDecodeError:
                self._report("unreadable", "SQLite: a message that quotes a damaged name")
            if self._found.contents is None and self._found.damage:
                break
        return self._found

    def _report(self, code: str, text: str) -> None:
        if len(self._found.damage) < DAMAGE_MAX:
            self._found.damage.append(Damage(code, text))

    @property
    def _contents(self) -> Contents:
        assert self._found.contents is not None
        return self._found.contents

    # --- the file ----------------------------------------------------------------------------------

    def _check_format(self) -> None:
        try:
            (application,), (version,) = (
                self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
        except sqlite3.DatabaseError as error:
            if is_disk_fault(error):
                raise
            self._report("unreadable", f"SQLite: {error}")
            return
        if application != APPLICATION:
            self._report("unreadable", "the database does not carry the mark of a store")
        elif version > FORMAT and self._is_of_this_format():
            self._report(
                "unreadable", f"the store says that it has format {version}, but is sealed in {FORMAT}"
            )
        elif version > FORMAT:
            raise StoreMismatch(f"the store has format {version}; this version knows {FORMAT} and below")
        elif version < 1:
            self._report("unreadable", f"the store has format {version}, which never existed")
        self._found.format = version

    def _is_of_this_format(self) -> bool:
        """Whether the content has this format, even if the number says otherwise: SQLite has no checksum over it."""
        try:
            _, tally = stored_status(self._db)
        except ValueError:
            return False
        except sqlite3.DatabaseError as error:
            if is_disk_fault(error):
                raise
            return False
        return tally.digest is not None

    def _check_pages(self) -> None:
        rows = self._db.execute("PRAGMA integrity_check(20)").fetchall()
        if rows != [("ok",)]:
            for (text,) in rows:
                self._report("integrity", str(text).replace("\n", "; "))

    def _check_tables(self) -> None:
        """Check the definitions of the tables: SQLite reads with some that it refuses to write with."""
        made = {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master")}
        changed = set() if self._found.format == FORMAT else {STATUS, SEAL}
        if set(TABLES) - changed - made:
            self._report("unreadable", "the tables are not as they were made")

    # --- rows --------------------------------------------------------------------------------------

    def _load_status(self) -> None:
        try:
            status, self._tally = stored_status(self._db)
        except ValueError as error:
            self._report("status", str(error))
            return
        self._found.contents = Contents(status)

    def _load_dead(self) -> None:
        for key, ids, crc in self._db.execute("SELECT key, ids, crc FROM dead"):
            if crc != checksum((key, ids)):
                self._report("dead", f"the note about consumed messages of batch {key} fails its checksum")
            else:
                self._dead[key] = (ids, crc)

    def _load_queues(self) -> None:
        contents = self._contents
        for row in self._db.execute(
            "SELECT key, queue, name, settle, kind, lineage, next, held, digest, crc FROM queues"
        ):
            key, _, name, _, _, _, _, held, digest, crc = row
            if crc != checksum(row[:-1]):
                self._report("queue", f"queue row {key} ({name!r}) fails its checksum")
                continue
            try:
                queue = Queue(key, *read_queue_row(row[1:7]))
            except (TypeError, ValueError) as error:
                self._report("queue", f"queue row {key} ({name!r}) cannot be read: {error}")
                continue
            fault = lineage_fault(queue.lineage, queue.next, _generation_bound(contents.status, queue))
            if fault is not None:
                self._report("lineage", f"queue {name!r}: {fault}")
            if queue.queue in contents.queues:
                self._report("queue", f"queue {name!r} is there twice")
                continue
            contents.queues[queue.queue] = self._by_key[key] = queue
            self._digests[key], self._held[key] = digest, held
            queue.crc = crc
            contents.queues_digest = (contents.queues_digest + crc) & DIGEST_MASK
            contents.next_queue_key = max(contents.next_queue_key, key + 1)

    def _load_batches(self) -> None:
        for row in self._db.execute("SELECT key, queue, first, count, ids, data, crc FROM batches"):
            queue = self._by_key.get(row[1])
            if (stored := self._stored(row)) is None:
                continue
            if queue is None:
                self._report("batch", f"{self._where(row)} belongs to a queue that is not there")
                continue
            queue.digest = (queue.digest + stored.digest + (stored.dead_digest or 0)) & DIGEST_MASK
            self._found.nbytes[queue.queue] = self._found.nbytes.get(queue.queue, 0) + len(row[5])
            if not stored.live or stored.live.last >= queue.next:
                self._report("next", f"{self._where(row)}: its ids are not below the next id {queue.next}")
                continue
            try:
                queue.rows.add(stored)
            except InvariantError:
                self._report("overlap", f"{self._where(row)}: some of its ids are in another batch too")

    def _where(self, row: tuple[Any, ...]) -> str:
        return _where(self._by_key.get(row[1]), row[0], row[2], row[3])

    def _stored(self, row: tuple[Any, ...]) -> Row | None:
        """Check one row of batches; None, and a finding, if it does not verify."""
        key, owner, first, count, ids, data, crc = row
        head: Values = (key, owner, first, count, ids)
        if not isinstance(data, bytes) or crc != checksum(head, data):
            self._report("batch", f"{self._where(row)} fails its checksum")
            return None
        self._contents.next_row_key = max(self._contents.next_row_key, key + 1)
        try:
            return self._row(key, decode_ids(unsigned(first), count, ids), Batch.parse(data), crc)
        except (ValueError, MalformedFrame) as error:
            self._report("batch", f"{self._where(row)}: {error}")
            return None

    def _row(self, key: int, ids: SequenceSet, batch: Batch, crc: int) -> Row:
        if len(ids) != len(batch):
            raise ValueError(f"{len(ids)} ids for {len(batch)} messages")
        row = Row(key, ids, batch)
        row.digest = crc
        if (note := self._dead.pop(key, None)) is not None:
            gone = SequenceSet.decode(note[0])
            row.live, row.dead_digest = ids - gone, note[1]
            if gone - ids:
                raise ValueError("the note about consumed messages names others")
        return row

    def _load_quarantine(self) -> None:
        contents = self._contents
        for key, queue, name, generation, fate, ids, crc, data in self._db.execute(
            "SELECT key, queue, name, generation, fate, ids, crc, data FROM quarantine"
        ):
            head: Values = (key, queue, name, generation, fate, ids)
            if not isinstance(data, bytes) or crc != checksum(head, data):
                self._report("quarantine", f"quarantined batch {key} of queue {name!r} fails its checksum")
                continue
            contents.next_row_key = max(contents.next_row_key, key + 1)
            try:
                kept = self._row(key, SequenceSet.decode(ids), Batch.parse(data), crc)
                of, why = UUID(bytes=queue), Fate(fate)
            except (ValueError, MalformedFrame) as error:
                self._report("quarantine", f"quarantined batch {key} of queue {name!r}: {error}")
                continue
            assert kept.batch is not None
            change = Quarantine(of, name, generation, kept.ids, kept.batch, why)
            contents.shelf.setdefault((change.queue, generation), []).append(Shelved(kept, change))
            contents.shelf_digest = (contents.shelf_digest + crc + (kept.dead_digest or 0)) & DIGEST_MASK

    # --- what a single row does not show -----------------------------------------------------------

    def _check_sums(self) -> None:
        contents, tally = self._contents, self._tally
        if len(contents.queues) != tally.queues:
            self._report("digest", f"{len(contents.queues)} queues are there, not {tally.queues}")
        if tally.digest not in (contents.queues_digest, None):
            self._report("digest", "the queues, or the status, are not the ones that were stored last")
        for queue in contents.queues.values():
            stored, held = self._held[queue.key], queue.rows.held
            if queue.digest != self._digests[queue.key] or held != stored:
                self._report(
                    "digest",
                    f"queue {queue.spec.name!r} below id {queue.next}: {held} messages "
                    f"are there, not {stored}, or not the ones that were stored last",
                )
        if contents.shelf_digest != tally.quarantine:
            self._report("digest", "quarantined batches are missing or not the ones that were stored last")
        for key in self._dead:
            self._report("dead", f"a note about consumed messages names batch {key}, which is not there")


def stored_status(db: sqlite3.Connection) -> tuple[StoreStatus, Tally]:
    """The status, if it is whole and of the last commit that changed what it says of the store.

    Raises:
        ValueError: It is not.
        sqlite3.DatabaseError: It cannot be read.
    """
    rows = db.execute("SELECT * FROM status").fetchall()
    if len(rows) != 1:
        raise ValueError(f"there are {len(rows)} status rows")
    status, tally = read_status_row(rows[0])
    if tally.digest is not None and db.execute("SELECT * FROM seal").fetchall() != [seal_row(status)]:
        raise ValueError("the status, or its seal, is not the one that was stored last")
    return status, tally


def _generation_bound(status: StoreStatus, queue: Queue) -> int:
    """A store that was never in a cluster has no generation that could bound a lineage."""
    if status.cluster is None and queue.lineage:
        return queue.lineage[-1][0]
    return status.generation


def _where(queue: Queue | None, key: int, first: Value, count: Value) -> str:
    """The name of a batch in a finding, with the identities it says it holds."""
    name = repr(queue.spec.name) if queue is not None else "(unknown)"
    ids = ""
    if isinstance(first, int) and isinstance(count, int):
        ids = f", {count} messages from id {unsigned(first)}"
    return f"batch {key} of queue {name}{ids}"


def is_disk_fault(error: sqlite3.DatabaseError) -> bool:
    """True if the disk did not answer. False: it answered and the data is wrong, or SQLite says so.

    For SQLite a page that cannot be read (EIO) is malformed: `qpidha.stores.offline.confirmed` tells.
    """
    name = getattr(error, "sqlite_errorname", "")  # Since Python 3.11; before, the text has to do.
    if name:
        return name.startswith(
            (
                "SQLITE_IOERR",
                "SQLITE_FULL",
                "SQLITE_CANTOPEN",
                "SQLITE_BUSY",
                "SQLITE_READONLY",
                "SQLITE_NOMEM",
                "SQLITE_PROTOCOL",
            )
        )
    return isinstance(error, sqlite3.OperationalError) and any(
        words in str(error)
        for words in ("disk I/O", "disk is full", "unable to open", "locked", "locking", "readonly")
    )
