"""Opens the database of a store: to create it, to write it, or to read it without changing it."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qpidha.errors import StoreFailed
from qpidha.journal import StoreStatus
from qpidha.stores.contents import Contents
from qpidha.stores.files import Layout, create_private, require_regular
from qpidha.stores.schema import APPLICATION, FORMAT, PAGE_BYTES, SEAL, STATUS, TABLES
from qpidha.stores.writer import drop_staged, put_status
from qpidha.system.syncing import sync_directory, sync_file
from qpidha.system.words import in_words

CACHE_KIB = 8 * 1024
"""Of the connection that commits. Pages beyond it are read again, or written before the transaction ends."""
SMALL_CACHE_KIB = 1024
"""The same in a store of a node that limits its memory, where the cache comes on top of the limit."""
SPARE_CACHE_KIB = 256
"""Of the connection that reads single batches: hardly a page is read twice."""
BUSY_TIMEOUT_S = 1.0
"""How long a checkpoint waits for an offline reader. Writers never wait: there is only one."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a database."""

    file_bytes: int
    free_bytes: int
    """Of these, in pages without content."""


@contextmanager
def failures(layout: Layout, file: Path | None = None, again: str = "start the node again") -> Iterator[None]:
    """Convert errors of the disk to `StoreFailed`. All accesses go through this.

    Args:
        layout: The store, whose directory is named.
        file: A file outside of it, which is named instead.
        again: What to do when the cause is gone.
    """
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # The last: a damaged name in a message.
        what = f"the disk or the database failed in {file or layout.directory}: {in_words(error)}"
        raise StoreFailed(what + _advice(error, again)) from error


def _advice(error: Exception, again: str) -> str:
    """What to do about the failures that operators meet."""
    text, number = str(error), getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "database or disk is full" in text:
        return f". Free space on its file system, or raise the quota, and {again}"
    if number == errno.EROFS or "readonly database" in text:
        return f". Its file system or its files are read-only: see the kernel's log, and {again}"
    if number == errno.EMFILE or "unable to open database file" in text:
        return ". Look at the owner and the mode of the files, and at the limit of open files"
    return ""


def create(layout: Layout, status: StoreStatus) -> None:
    """Create the database of an empty store. After a crash it is there as a whole, or not at all."""
    new = layout.directory / "store.db.new"
    for name in (new.name, new.name + "-journal", new.name + "-wal", new.name + "-shm"):
        new.with_name(name).unlink(missing_ok=True)
    create_private(new)
    with closing(sqlite3.connect(new, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        for table in TABLES:
            db.execute(table)
        put_status(db, Contents(status), facts=True)
        demand(db, "journal_mode", "WAL", "wal")
    sync_file(new)
    new.rename(layout.database)
    sync_directory(layout.directory)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """From this earlier format, in the caller's transaction, which must put a status and its seal."""
    if version == 1:
        db.execute("DROP TABLE status")
        db.execute(STATUS)
        db.execute(SEAL)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def mark(db: sqlite3.Connection, contents: Contents, version: int = FORMAT) -> None:
    """Write how the store is left, in a transaction, and bring a database of this earlier format up to date.

    What is set aside is forgotten: no session is under way.
    """
    db.execute("BEGIN IMMEDIATE")
    if version != FORMAT:
        upgrade(db, version)
    drop_staged(db)
    put_status(db, contents, facts=True)
    db.execute("COMMIT")


def open_writer(layout: Layout, *, small: bool = False) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """The one connection that commits, and a spare one. Used by one thread at a time, not always the same.

    The spare one is read-only, and reads single batches (`qpidha.stores.rereading`). The connection that is closed last
    merges the log and removes the file with its name, even if another file has that name by then. A read-only connection
    does not: closed last, it leaves the files as they are. ``small``: with caches of few pages.

    Raises:
        StoreFailed: SQLite does not promise what durability needs.
    """
    db = sqlite3.connect(
        layout.database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        demand(db, "journal_mode", "WAL", "wal")
        demand(db, "synchronous", "FULL", 2)
        db.execute("PRAGMA fullfsync = ON")  # Where a plain fsync leaves data in the disk's cache.
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        db.execute("PRAGMA secure_delete = OFF")  # Some builds zero every freed page: twice the writes.
        db.execute(f"PRAGMA cache_size = -{SMALL_CACHE_KIB if small else CACHE_KIB}")
        # SQLite ignores errors of its automatic checkpoints; errors of ours are fatal.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        return db, _open_spare(layout)
    except BaseException:
        close_writer(layout, db, None, keep_log=True)
        raise


def _open_spare(layout: Layout) -> sqlite3.Connection:
    spare = sqlite3.connect(
        f"{layout.database.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        spare.execute(f"PRAGMA cache_size = -{SPARE_CACHE_KIB}")
        spare.execute("SELECT count(*) FROM status").fetchall()  # Opens the log, too.
    except BaseException:
        spare.close()
        raise
    return spare


def close_writer(
    layout: Layout, db: sqlite3.Connection, spare: sqlite3.Connection | None, *, keep_log: bool
) -> None:
    """Close both. Fails silently: what was committed is durable.

    Args:
        keep_log: Close as a kill does: nothing more is written, and the log stays. So a dirty store without a
            log is known to have lost it. If false, the log is merged and removed.
    """
    had_log = False
    if keep_log and spare is None:
        with suppress(sqlite3.Error, OSError):
            had_log = layout.wal.exists()
            spare = _open_spare(layout)
    both = [db] if spare is None else [db, spare] if keep_log else [spare, db]
    for connection in both:
        with suppress(sqlite3.Error):
            connection.close()
    if had_log and spare is None:
        with suppress(OSError):
            if not layout.wal.exists():
                create_private(layout.wal)  # It was merged whole.


def demand(db: sqlite3.Connection, pragma: str, value: str, answer: object) -> None:
    """Set a pragma, and make sure that it is set. Raises `StoreFailed`."""
    # Run the statement to its end: an error after its first row is reported only there.
    db.execute(f"PRAGMA {pragma} = {value}").fetchall()
    (found,) = db.execute(f"PRAGMA {pragma}").fetchone()
    if found != answer:
        raise StoreFailed(f"SQLite refuses {pragma} = {value}, it stays {found!r}")


@contextmanager
def reader(layout: Layout) -> Iterator[sqlite3.Connection]:
    """A connection that sees one consistent state and changes neither database nor log.

    A log means that the store is in use or was killed: SQLite then needs its index of the log, and may write
    or create ``store.db-shm``, which holds no data. No log means that no process writes: nothing is touched.
    """
    require_regular(layout.database)
    mode = "mode=ro" if layout.wal.exists() else "mode=ro&immutable=1"
    db = sqlite3.connect(
        f"{layout.database.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )
    try:
        db.execute("BEGIN")
        yield db
    finally:
        with suppress(sqlite3.Error):
            db.close()


def checkpoint(db: sqlite3.Connection, kind: str) -> None:
    """Move the log into the database. A reader may delay it; a failing disk raises sqlite3.Error."""
    db.execute(f"PRAGMA wal_checkpoint({kind})").fetchall()


def copy_into(file: Path, db: sqlite3.Connection) -> None:
    """Write all rows of a database into this empty file, without free space. O(store)."""
    db.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(file),))  # A name of a file need not be UTF-8.


def space_of(db: sqlite3.Connection) -> Space:
    """How large the database is, and how much of it is free. O(1)."""
    pages, free, page_bytes = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return Space(pages * page_bytes, free * page_bytes)
