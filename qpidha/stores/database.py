"""Opens the database of a store: to create it, to write it, or to read it without changing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from qpidha.errors import StoreFailed
from qpidha.journal import StoreStatus
from qpidha.stores.contents import Contents
from qpidha.stores.files import Layout, create_private, require_regular, sync_directory, sync_file
from qpidha.stores.schema import APPLICATION, FORMAT, PAGE_BYTES, SEAL, STATUS, TABLES
from qpidha.stores.writer import put_status

CACHE_KIB = 8 * 1024
BUSY_TIMEOUT_S = 1.0
"""How long a checkpoint waits for an offline reader. Writers never wait: there is only one."""


@contextmanager
def failures(layout: Layout) -> Iterator[None]:
    """The one gate where errors of the disk become `StoreFailed`, which says which disk to look at."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # The last: a damaged name in a message.
        raise StoreFailed(f"the disk or the database failed in {layout.directory}: {error}") from error


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
        _demand(db, "journal_mode", "WAL", "wal")
    sync_file(new)
    new.rename(layout.database)
    sync_directory(layout.directory)


def upgrade(db: sqlite3.Connection) -> None:
    """From format 1, in the caller's transaction, which must put a status."""
    db.execute("DROP TABLE status")
    db.execute(STATUS)
    db.execute(SEAL)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def open_writer(layout: Layout) -> sqlite3.Connection:
    """The one connection that commits. Used by one thread at a time, not always the same.

    Raises:
        StoreFailed: SQLite does not promise what durability needs.
    """
    db = sqlite3.connect(
        layout.database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        _demand(db, "journal_mode", "WAL", "wal")
        _demand(db, "synchronous", "FULL", 2)
        db.execute("PRAGMA fullfsync = ON")  # Where a plain fsync leaves data in the disk's cache.
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        db.execute("PRAGMA secure_delete = OFF")  # Some builds zero every freed page: twice the writes.
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # SQLite ignores errors of its own checkpoints; ours are fatal (hostile.md, 13).
        db.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        close_keeping_log(layout, db)
        raise
    return db


def close_keeping_log(layout: Layout, db: sqlite3.Connection) -> None:
    """Close a writer as a kill does: nothing more is written, and the log stays. Fails silently.

    SQLite would merge the log and remove it, but not while a reader is there. So a dirty store without a log
    is known to have lost it.
    """
    with suppress(sqlite3.Error, OSError, StoreFailed), ExitStack() as stack:
        stack.callback(db.close)
        stack.enter_context(reader(layout)).execute("SELECT count(*) FROM status")
        db.close()
    with suppress(OSError):
        if not layout.wal.exists():  # No reader could be had: it was merged whole.
            create_private(layout.wal)


def _demand(db: sqlite3.Connection, pragma: str, value: str, answer: object) -> None:
    # To the end of the statement: a write that fails after its first row is reported there, or never.
    db.execute(f"PRAGMA {pragma} = {value}").fetchall()
    (found,) = db.execute(f"PRAGMA {pragma}").fetchone()
    if found != answer:
        raise StoreFailed(f"SQLite refuses {pragma} = {value}, it stays {found!r}")


@contextmanager
def reader(layout: Layout) -> Iterator[sqlite3.Connection]:
    """A connection that sees one consistent state and changes neither database nor log.

    A log means that the store is in use or was killed: SQLite then needs its index of the log, and may write
    or create ``store.db-shm``, which holds no data. No log means that nobody writes: nothing is touched.
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
