"""Writes one commit's delta into the database, within the caller's transaction.

The cost is one row for each batch that was added, one statement for each that was removed, one row for each queue that
was changed, and the status: it depends only on what the commit changes. Digests are updated with the rows, up to
the status, which is therefore written each time: a page from an earlier commit contradicts another page.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import chain

from qpidha.stores.contents import Contents, Delta
from qpidha.stores.queue import Queue
from qpidha.stores.schema import (
    DIGEST_MASK,
    STAGED,
    Tally,
    Values,
    checksum,
    encode_ids,
    queue_row,
    seal_row,
    signed,
    status_row,
)
from qpidha.system.texts import plain_text

AUDIT_LINES_MAX = 100_000
"""Number of audit lines that are kept; older ones are removed."""

PUT_STATUS = "INSERT OR REPLACE INTO status VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
PUT_TALLY = "UPDATE status SET queues = ?, digest = ?, quarantine = ?, crc = ?"
PUT_SEAL = "INSERT OR REPLACE INTO seal VALUES (?,?)"
PUT_QUEUE = "INSERT OR REPLACE INTO queues VALUES (?,?,?,?,?,?,?,?,?,?)"
DROP_QUEUE = "DELETE FROM queues WHERE key = ?"
PUT_BATCH = "INSERT INTO batches VALUES (?,?,?,?,?,?,?)"
PUT_STAGED = "INSERT INTO staged VALUES (?)"
DROP_STAGED = "DELETE FROM staged WHERE key = ?"
DROP_ALL_STAGED = "DELETE FROM staged"
DROP_STAGED_BATCHES = "DELETE FROM batches WHERE key IN (SELECT key FROM staged)"
DROP_BATCH = "DELETE FROM batches WHERE key = ?"
PUT_DEAD = "INSERT OR REPLACE INTO dead VALUES (?,?,?)"
DROP_DEAD = "DELETE FROM dead WHERE key = ?"
PUT_QUARANTINE = "INSERT INTO quarantine VALUES (?,?,?,?,?,?,?,?)"
DROP_QUARANTINE = "DELETE FROM quarantine WHERE key = ?"
PUT_AUDIT = "INSERT INTO audit (at, event, generation, queue, detail) VALUES (?,?,?,?,?)"
TRIM_AUDIT = "DELETE FROM audit WHERE line <= (SELECT max(line) FROM audit) - ?"


def write(db: sqlite3.Connection, contents: Contents, delta: Delta, now: float) -> None:
    """Write the delta. Removals come first, so that their pages can be used again.

    Args:
        now: Wall-clock seconds, for the audit lines.
    """
    if delta.gone:
        _drop_rows(db, contents, delta)
    if delta.forgotten:
        db.executemany(DROP_BATCH, ((key,) for key in delta.forgotten))
    if delta.forgotten or delta.adopted:
        _drop_marks(db, contents, delta)
    if delta.inserted:
        db.executemany(PUT_BATCH, _batch_rows(delta))
    if delta.staged:
        if not has_staged(db):
            db.execute(STAGED)
        db.executemany(PUT_BATCH, _staged_rows(delta))
        db.executemany(PUT_STAGED, ((key,) for key in delta.staged))
    if delta.shelved:
        db.executemany(PUT_QUARANTINE, _quarantine_rows(contents, delta))
    if delta.shrunk:
        db.executemany(PUT_DEAD, _dead_rows(contents, delta))
    if delta.dropped:
        db.executemany(DROP_QUEUE, _dropped_keys(contents, delta))
    db.executemany(PUT_QUEUE, _queue_rows(contents, delta))
    put_status(db, contents, facts=delta.status)
    if delta.audit:
        # A text that cannot be encoded must not fail a commit.
        lines = [
            (now, plain_text(a.event), a.generation, plain_text(a.queue), plain_text(a.detail))
            for a in delta.audit
        ]
        db.executemany(PUT_AUDIT, lines)
        db.execute(TRIM_AUDIT, (AUDIT_LINES_MAX,))


def put_status(db: sqlite3.Connection, contents: Contents, *, facts: bool) -> None:
    """Write the counts and digests of the status; with ``facts``, also what it says of the store itself, and the seal."""
    tally = Tally(len(contents.queues), contents.queues_digest, contents.shelf_digest)
    row = status_row(contents.status, tally)
    if facts:
        db.execute(PUT_STATUS, row)
        db.execute(PUT_SEAL, seal_row(contents.status))
    else:
        db.execute(PUT_TALLY, row[-4:])


def has_staged(db: sqlite3.Connection) -> bool:
    """Whether there is a table of what is set aside: most stores never need it."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'staged'").fetchone() is not None


def drop_staged(db: sqlite3.Connection) -> None:
    """Forget everything that is set aside, and the table."""
    if has_staged(db):
        db.execute(DROP_STAGED_BATCHES)
        db.execute("DROP TABLE staged")


def put_audit(db: sqlite3.Connection, now: float, event: str, generation: int, detail: str) -> None:
    """Write an audit line about the store as a whole."""
    db.execute(PUT_AUDIT, (now, event, generation, "", plain_text(detail)))


def _weigh(contents: Contents, queue: Queue | None, change: int) -> None:
    """Add to the digest of a queue, or of the quarantine."""
    if queue is not None:
        queue.digest = (queue.digest + change) & DIGEST_MASK
    else:
        contents.shelf_digest = (contents.shelf_digest + change) & DIGEST_MASK


def _drop_rows(db: sqlite3.Connection, contents: Contents, delta: Delta) -> None:
    for queue, row in delta.gone:
        _weigh(contents, queue, -row.digest - (row.dead_digest or 0))
    db.executemany(DROP_BATCH, [(row.key,) for queue, row in delta.gone if queue is not None])
    db.executemany(DROP_QUARANTINE, [(row.key,) for queue, row in delta.gone if queue is None])
    db.executemany(DROP_DEAD, [(row.key,) for _, row in delta.gone if row.dead_digest is not None])


def _batch_rows(delta: Delta) -> Iterator[tuple[object, ...]]:
    for queue, row in delta.inserted.values():
        assert row.batch is not None
        data = row.batch.chunk
        head: Values = (row.key, queue.key, signed(row.ids.first), len(row.ids), encode_ids(row.ids))
        row.digest = checksum(head, data)
        queue.digest = (queue.digest + row.digest) & DIGEST_MASK
        yield (*head, row.digest, data)


def _staged_rows(delta: Delta) -> Iterator[tuple[object, ...]]:
    """They count in the digest of their queue once they are adopted."""
    for aside, row in delta.staged.values():
        assert row.batch is not None
        data = row.batch.chunk
        head: Values = (row.key, aside.key, signed(row.ids.first), len(row.ids), encode_ids(row.ids))
        row.digest = checksum(head, data)
        yield (*head, row.digest, data)


def _drop_marks(db: sqlite3.Connection, contents: Contents, delta: Delta) -> None:
    """Rows that were set aside are content now, or gone."""
    for queue, row in delta.adopted.values():
        _weigh(contents, queue, row.digest)
    if contents.staged:
        db.executemany(DROP_STAGED, ((key,) for key in chain(delta.forgotten, delta.adopted)))
    else:
        db.execute(DROP_ALL_STAGED)


def _quarantine_rows(contents: Contents, delta: Delta) -> Iterator[tuple[object, ...]]:
    for shelved in delta.shelved.values():
        c, row = shelved.change, shelved.row
        data = c.batch.chunk
        head: Values = (row.key, c.queue.bytes, c.name, c.generation, c.fate.value, row.ids.encode())
        row.digest = checksum(head, data)
        _weigh(contents, None, row.digest)
        yield (*head, row.digest, data)


def _dead_rows(contents: Contents, delta: Delta) -> Iterator[Values]:
    for queue, row in delta.shrunk.values():
        values: Values = (row.key, (row.ids - row.live).encode())
        digest = checksum(values)
        _weigh(contents, queue, digest - (row.dead_digest or 0))
        row.dead_digest = digest
        yield (*values, digest)


def _dropped_keys(contents: Contents, delta: Delta) -> Iterator[Values]:
    for queue in delta.dropped:
        contents.queues_digest = (contents.queues_digest - queue.crc) & DIGEST_MASK
        yield (queue.key,)


def _queue_rows(contents: Contents, delta: Delta) -> Iterator[Values]:
    for queue in delta.queues.values():
        values, crc = queue_row(
            queue.key,
            queue.queue,
            queue.spec,
            queue.lineage,
            next=queue.next,
            held=queue.rows.held,
            digest=queue.digest,
        )
        contents.queues_digest = (contents.queues_digest + crc - queue.crc) & DIGEST_MASK
        queue.crc = crc
        yield (*values, crc)
