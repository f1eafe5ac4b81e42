"""Returns the space of removed messages to the file system.

A database keeps the pages of removed rows for later ones; its file never shrinks by itself. So its content is written
into a new file, which is verified, synced and renamed over the old one: after a crash the old file or the new
one is there, whole. Possible only while no node uses the store and if it was closed cleanly, because then the whole
store is in one file.

A start compacts by itself if most of a large file is free; ``qpidha store compact`` does it at any time.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from qpidha.errors import StoreDirty, StoreFailed
from qpidha.journal import StoreState
from qpidha.stores.database import Space, copy_into, demand, failures, reader, space_of
from qpidha.stores.files import Layout
from qpidha.stores.loader import load
from qpidha.stores.offline import inspect, unused
from qpidha.stores.progress import Progress, Steps, silent, watched
from qpidha.system.ownership import create_like
from qpidha.system.syncing import sync_directory, sync_file

WASTED_BYTES_MIN = 64 * 1024 * 1024
"""A start does not compact a file with less free space."""
WASTED_PART = 0.75
"""Nor a file of which a smaller part is free: so a start writes at most a quarter of what it has read."""


def space(layout: Layout) -> Space:
    """How large the database is, and how much of it is free. O(1).

    Raises:
        sqlite3.Error: It cannot be read.
        OSError: The disk failed.
    """
    with reader(layout) as db:
        return space_of(db)


def compact(directory: Path, *, progress: Progress = silent) -> tuple[Space, Space]:
    """Rewrite the database without free pages. Returns its space before and after. O(store), and a copy's disk space.

    Args:
        directory: Of the store.
        progress: How far it has come: half of it is the copy.

    Raises:
        StoreLocked: A node uses it.
        StoreMismatch: There is no store, or it has a newer format.
        StoreDirty: It was not closed cleanly, or does not verify.
        StoreFailed: The disk failed, or is too full for the copy. The store is as it was.
    """
    layout = Layout(directory)
    with unused([directory]), failures(layout, again="try again"):
        steps = Steps(progress, 2, layout.database.stat().st_size if layout.database.exists() else 0)
        report = inspect(directory, progress=steps.next())
        if report.damage:
            raise StoreDirty(f"{directory} does not verify, and is left as it is: {report.damage[0]}")
        if layout.wal.exists():
            raise StoreDirty(
                f"{directory} was not closed cleanly: start its node and stop it in order, then compact it"
            )
        before = space(layout)
        rewrite(layout, steps.next())
        steps.end()
        return before, space(layout)


def worthwhile(layout: Layout, state: StoreState) -> bool:
    """Whether a start should compact the store."""
    if state is not StoreState.CLEAN or layout.wal.exists():
        return False
    found = space(layout)
    return found.free_bytes >= max(WASTED_BYTES_MIN, found.file_bytes * WASTED_PART)


def rewrite(layout: Layout, progress: Progress = silent) -> None:
    """Replace the database by a copy without free pages. The caller holds the lock of the store, which has no log.

    ``progress``: how far the copy, and a look at it, have come.

    Raises:
        sqlite3.Error: The database cannot be read, or the copy cannot be written.
        OSError: The disk failed.
        StoreFailed: The copy differs from the original.
    """
    new, total = layout.directory / "store.db.new", layout.database.stat().st_size
    steps = Steps(progress, 2, total)
    copied = steps.next()
    try:
        os.close(create_like(new, layout.database, os.O_RDWR))
        uri = f"{layout.database.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            with watched(db, lambda: copied(new.stat().st_size, total)):
                copy_into(new, db)
            old_status = db.execute("SELECT * FROM status").fetchall()
        with closing(sqlite3.connect(new, isolation_level=None)) as db:
            demand(db, "journal_mode", "WAL", "wal")
            _require_same(db, old_status, layout, steps.next())
        sync_file(new)
        new.rename(layout.database)
        sync_directory(layout.directory)
    except BaseException:
        for name in (new.name, new.name + "-journal", new.name + "-wal", new.name + "-shm"):
            with suppress(OSError):
                new.with_name(name).unlink()
        raise


def _require_same(
    db: sqlite3.Connection, status: list[tuple[object, ...]], layout: Layout, progress: Progress
) -> None:
    """Require that the copy verifies and has the old status, which contains the digests of everything."""
    if load(db, progress=progress).damage or db.execute("SELECT * FROM status").fetchall() != status:
        raise StoreFailed(f"the copy of {layout.database} does not verify: the disk or its memory is bad")
