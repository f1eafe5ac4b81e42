"""Reads a whole database and verifies everything in it, without changing a byte.

A start, clean or not, and an offline inspection use the same pass: a store is trusted only after all of it was read.
Faults are collected, so that an operator sees the extent; a store with any damage never serves (D3).
"""

from __future__ import annotations

import sqlite3
from array import array
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from zlib import crc32

import msgpack

from qpidha.errors import InvariantError, MalformedFrame, StoreMismatch
from qpidha.journal import Quarantine, StoreImage
from qpidha.seq import SequenceSet
from qpidha.stores.contents import Contents, Shelved
from qpidha.stores.pieces import Pieces, QueueImages, Read, Room
from qpidha.stores.progress import Progress, Reading, silent, watched
from qpidha.stores.queue import Queue, where
from qpidha.stores.reading import damaged_text, is_disk_fault, staged_keys, stored_status, tables_are_sound
from qpidha.stores.report import Damage
from qpidha.stores.row import Row
from qpidha.stores.schema import (
    APPLICATION,
    DIGEST_MASK,
    FORMAT,
    SEALED,
    Values,
    checksum,
    decode_ids,
    read_queue_row,
    unsigned,
)
from qpidha.types import Fate
from qpidha.wire.batch import Batch

PACKED_EVERY = 256
"""Rows that are read before it is looked at whether a stretch of them can be kept in less memory."""
DAMAGE_MAX = 100
"""Maximum number of findings that are kept; more would not help an operator."""


@dataclass(slots=True)
class Loaded:
    """What a pass over the database has found."""

    contents: Contents | None
    """None: there is no status that can be read."""
    damage: list[Damage] = field(default_factory=list)
    nbytes: dict[int, int] = field(default_factory=dict)
    """Payload by queue, by its key."""
    pieces: dict[int, Pieces] = field(default_factory=dict)
    """The messages, by queue: rows have no batches."""
    queues: QueueImages = field(default_factory=lambda: QueueImages((), {}))
    """Those of the image that was made."""
    format: int = FORMAT
    """Format of the database; an older one must be upgraded before anything is written."""

    def image(self, read: Read | None = None) -> StoreImage:
        """Everything as a value; ``contents`` must be there. Called once: the messages are not kept here.

        ``read``: gives back the messages that the loading has left out.
        """
        assert self.contents is not None
        self.queues = QueueImages(self.contents.queues.values(), self.pieces, read)
        self.pieces = {}
        return self.contents.image(self.queues)


def load(
    db: sqlite3.Connection,
    application: int = APPLICATION,
    progress: Progress = silent,
    *,
    memory_bytes_max: int | None = None,
) -> Loaded:
    """Read and verify everything. Faults of the data are findings, faults of the disk are errors.

    Args:
        application: The mark that the database must carry: that of a store, or of a saved one.
        progress: How far it has come: while SQLite looks at all pages, at the beginning, nothing counts as done.
        memory_bytes_max: About how many bytes of messages are kept, besides those of tables and the configuration.
            None: all.

    Raises:
        StoreMismatch: The database is not a store, or has a newer format.
        sqlite3.OperationalError: The disk failed.
    """
    return _Loading(db, application, progress, Room(memory_bytes_max)).run()


class _Loading:
    """One pass: each step adds to the contents and to the findings."""

    def __init__(self, db: sqlite3.Connection, application: int, progress: Progress, room: Room) -> None:
        db.text_factory = damaged_text
        self._db = db
        self._application = application
        self._progress = progress
        self._room = room
        self._pack = msgpack.Packer().pack
        """As `checksum` packs the values of a row, for very many of them."""
        self._found = Loaded(None)
        self._dead: dict[int, tuple[bytes, int]] = {}
        self._sums = array("q")
        """What the rows of the queues say: of each how many messages it holds, and their digest."""
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
        if application != self._application:
            self._report("unreadable", "the database does not carry the mark of a store")
        elif version > FORMAT and (sealed := next(filter(self._is_of_format, SEALED), None)):
            self._report(
                "unreadable", f"the store says that it has format {version}, but is sealed in {sealed}"
            )
        elif version > FORMAT:
            raise StoreMismatch(f"the store has format {version}; this version knows {FORMAT} and below")
        elif version < 1:
            self._report("unreadable", f"the store has format {version}, which never existed")
        self._found.format = version

    def _is_of_format(self, version: int) -> bool:
        """Whether the content has this format, even if the number says otherwise: SQLite has no checksum over it."""
        try:
            _, tally = stored_status(self._db, version)
        except ValueError:
            return False
        except sqlite3.DatabaseError as error:
            if is_disk_fault(error):
                raise
            return False
        return tally.digest is not None

    def _check_pages(self) -> None:
        self._reading = Reading(self._db, self._progress)
        with watched(self._db, self._reading.begin):
            rows = self._db.execute("PRAGMA integrity_check(20)").fetchall()
        if rows != [("ok",)]:
            for (text,) in rows:
                self._report("integrity", str(text).replace("\n", "; "))

    def _check_tables(self) -> None:
        """Check the definitions of the tables: SQLite reads with some that it refuses to write with."""
        if not tables_are_sound(self._db, self._found.format):
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
            if type(crc) is not int or crc != checksum((key, ids)):
                self._report("dead", f"the note about consumed messages of batch {key} fails its checksum")
            else:
                self._dead[key] = (ids, crc)

    def _load_queues(self) -> None:
        contents, by_key, sums, pack = self._contents, self._by_key, self._sums, self._pack
        bound = None if contents.status.cluster is None else contents.status.generation
        for row in self._db.execute(
            "SELECT key, queue, name, settle, kind, lineage, next, held, digest, crc FROM queues"
        ):
            key, _, name, _, _, _, _, held, digest, crc = row
            if type(crc) is not int or crc != crc32(pack(row[:-1])):
                self._report("queue", f"queue row {key} ({name!r}) fails its checksum")
                continue
            try:
                queue = Queue(key, *read_queue_row(row[1:9]))
                sums.extend((held, digest))
            except (TypeError, ValueError) as error:
                self._report("queue", f"queue row {key} ({name!r}) cannot be read: {error}")
                continue
            if (fault := queue.lineage_fault(bound)) is not None:
                self._report("lineage", f"queue {name!r}: {fault}")
            if contents.queues.setdefault(queue.queue, queue) is not queue:
                self._report("queue", f"queue {name!r} is there twice")
                del sums[-2:]
                continue
            by_key[key] = queue
            queue.crc = crc
            contents.queues_digest = (contents.queues_digest + crc) & DIGEST_MASK
        contents.next_queue_key = max(by_key, default=0) + 1

    def _load_batches(self) -> None:
        nbytes, pieces, by_key, reading = self._found.nbytes, self._found.pieces, self._by_key, self._reading
        staged = staged_keys(self._db)  # A wrong one shows in the digest of the queue.
        for row in self._db.execute("SELECT key, queue, first, count, ids, data, crc FROM batches"):
            if row[0] in staged:
                continue
            queue = by_key.get(row[1])
            if (stored := self._stored(row)) is None:
                continue
            if queue is None:
                self._report("batch", f"{self._where(row)} belongs to a queue that is not there")
                continue
            queue.digest = (queue.digest + stored.digest + (stored.dead_digest or 0)) & DIGEST_MASK
            nbytes[queue.key] = nbytes.get(queue.key, 0) + len(row[5])
            reading.read(len(row[5]))
            if not stored.is_live or (stored.last if stored.whole else stored.live.last) >= queue.next:
                self._report("next", f"{self._where(row)}: its ids are not below the next id {queue.next}")
                continue
            batch = stored.live_batch()
            try:
                queue.add(stored)
            except InvariantError:
                self._report("overlap", f"{self._where(row)}: some of its ids are in another batch too")
                continue
            stored.batch = None
            if (found := pieces.get(queue.key)) is None:
                keyed = queue.spec.kind.startswith("$")  # They are always in memory.
                found = pieces[queue.key] = Pieces(None if keyed else self._room)
            found.add(stored, batch)
            if not stored.key % PACKED_EVERY:
                queue.rows.pack()
        reading.end()
        for queue in by_key.values():
            queue.rows.pack()

    def _where(self, row: tuple[Any, ...]) -> str:
        return where(self._by_key.get(row[1]), row[0], row[2], row[3])

    def _stored(self, row: tuple[Any, ...]) -> Row | None:
        """Check one row of batches; None, and a finding, if it does not verify."""
        key, _, first, count, ids, data, crc = row
        if type(data) is not bytes or type(crc) is not int or crc != crc32(data, crc32(self._pack(row[:5]))):
            self._report("batch", f"{self._where(row)} fails its checksum")
            return None
        contents = self._contents
        try:
            contents.next_row_key = max(contents.next_row_key, key + 1)
            return self._row(key, decode_ids(unsigned(first), count, ids), Batch.parse(data), crc)
        except (TypeError, ValueError, MalformedFrame) as error:
            self._report("batch", f"{self._where(row)}: {error}")
            return None

    def _row(self, key: int, ids: SequenceSet, batch: Batch, crc: int) -> Row:
        if len(ids) != len(batch):
            raise ValueError(f"{len(ids)} ids for {len(batch)} messages")
        row = Row(key, ids, batch)
        row.digest = crc
        if self._dead and (note := self._dead.pop(key, None)) is not None:
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
            if type(data) is not bytes or type(crc) is not int or crc != checksum(head, data):
                self._report("quarantine", f"quarantined batch {key!r} of queue {name!r} fails its checksum")
                continue
            try:
                contents.next_row_key = max(contents.next_row_key, key + 1)
                kept = self._row(key, SequenceSet.decode(ids), Batch.parse(data), crc)
                of, why = UUID(bytes=queue), Fate(fate)
            except (TypeError, ValueError, MalformedFrame) as error:
                self._report("quarantine", f"quarantined batch {key!r} of queue {name!r}: {error}")
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
        sums = iter(self._sums)
        for queue, stored, digest in zip(contents.queues.values(), sums, sums, strict=True):
            held = queue.rows.held
            if queue.digest != digest or held != stored:
                self._report(
                    "digest",
                    f"queue {queue.spec.name!r} below id {queue.next}: {held} messages "
                    f"are there, not {stored}, or not the ones that were stored last",
                )
        if contents.shelf_digest != tally.quarantine:
            self._report("digest", "quarantined batches are missing or not the ones that were stored last")
        for key in self._dead:
            self._report("dead", f"a note about consumed messages names batch {key}, which is not there")
