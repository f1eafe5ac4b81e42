"""What all reads of a database have in common: its status, damaged text, whether an error is one of the disk."""

from __future__ import annotations

import sqlite3

from qpidha.journal import StoreStatus
from qpidha.stores.schema import SEAL, STAGED, STATUS, TABLES, Tally, read_status_row, seal_row


def stored_status(db: sqlite3.Connection, version: int | None = None) -> tuple[StoreStatus, Tally]:
    """The status, if it is whole and of the last commit that changed what it says of the store.

    Args:
        db: The database.
        version: Its seal must be of this format; None: of the one that the database says it has.

    Raises:
        ValueError: It is not.
        sqlite3.DatabaseError: It cannot be read.
    """
    rows = db.execute("SELECT * FROM status").fetchall()
    if len(rows) != 1:
        raise ValueError(f"there are {len(rows)} status rows")
    status, tally = read_status_row(rows[0])
    if tally.digest is None:
        return status, tally  # Format 1 has no seal.
    if version is None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    if db.execute("SELECT * FROM seal").fetchall() != [seal_row(status, version)]:
        raise ValueError("the status, or its seal, is not the one that was stored last")
    return status, tally


def damaged_text(raw: bytes) -> str:
    """Text as a reader that verifies rows wants it (``text_factory``): it must fail its checksum, not the decoder."""
    return raw.decode("utf-8", "replace")


def tables_are_sound(db: sqlite3.Connection, version: int) -> bool:
    """Whether the tables are those of this format, as they were made, with or without the one of what is set aside."""
    made = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")]
    expected = set(TABLES) - ({STATUS, SEAL} if version == 1 else set())
    others = len(made) - len(TABLES) + (version == 1)
    return expected <= set(made) and others in (0, STAGED in made)


def staged_keys(db: sqlite3.Connection) -> set[int]:
    """The keys of the batches that are set aside: they are no content."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE sql = ?", (STAGED,)).fetchone() is None:
        return set()
    return {key for (key,) in db.execute("SELECT key FROM staged")}


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
