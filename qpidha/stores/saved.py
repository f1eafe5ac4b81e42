"""Saves a store in one file, also while its node runs, and makes a store of such a file again.

A saved store is a database of the same format under another mark, so that no node can be started on it by mistake. It is
one consistent state: that after some commit. Its audit record says when it was saved.

`restore` gives the new store an epoch of its own. The record names members by node and epoch, so a restored store is
never taken for the present one: its node joins as a new one, and is corrected by difference (rule J3).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from qpidha.checks import CALLBACK, PATH
from qpidha.errors import StoreDamaged, StoreFailed, StoreMismatch
from qpidha.journal import StoreState
from qpidha.settings import check_node_id
from qpidha.stores.database import BUSY_TIMEOUT_S, copy_into, demand, failures, space_of, upgrade
from qpidha.stores.files import Identity, Layout, noted_damage, require_regular, require_suitable
from qpidha.stores.loader import Loaded, load
from qpidha.stores.lock import Lock
from qpidha.stores.offline import audit_of, contradictions, log_damage, missing, report_of
from qpidha.stores.progress import Progress, Steps, silent, watched
from qpidha.stores.reading import is_disk_fault
from qpidha.stores.report import Damage, StoreReport
from qpidha.stores.schema import APPLICATION, FORMAT, SAVED
from qpidha.stores.writer import put_audit, put_status
from qpidha.system.ownership import create
from qpidha.system.syncing import sync_directory, sync_file
from qpidha.types import NodeId

COPIED_BYTES = 16 * 1024 * 1024
SAVE_EVENT, RESTORE_EVENT = "saved", "restored"
AGAIN = "try again"
"""What a command says in place of starting the node again."""


@dataclass(frozen=True, slots=True)
class SavedReport:
    """A saved store that was read and verified."""

    store: StoreReport
    """What is in it. `StoreReport.name` is the file."""
    at: float
    """When it was saved, in seconds since the epoch by that machine's clock; 0: damaged, so this is not known."""


def save(directory: Path | str, to: Path | str, *, progress: Progress = silent) -> SavedReport:
    """Write everything that a store holds into one new file, and verify the file. O(store).

    A node may use the store meanwhile. It goes on; only its write-ahead log grows until the copy is made.

    Args:
        directory: Of the store. Nothing in it changes.
        to: The file, which must not exist. It has mode 0600, and appears whole or not at all.
        progress: How far it has come. The copy is verified twice: three steps of the same length.

    Raises:
        StoreMismatch: There is no store, or it has another format, or the file exists.
        StoreDamaged: The store does not verify: there is nothing that is worth saving.
        StoreFailed: The disk failed, or is full.
    """
    PATH("directory", directory)
    PATH("to", to)
    layout, file = Layout(Path(directory)), Path(to)
    if not file.parent.is_dir():
        raise StoreMismatch(f"there is no directory {file.parent}")
    with failures(layout):
        if damage := noted_damage(layout) or missing(layout) or log_damage(layout):
            raise _damaged(damage)
        logged = layout.wal.exists()
    with failures(layout, file, AGAIN), _new_file(file, f".{os.getpid()}.new") as new:
        steps = Steps(progress, 3, layout.database.stat().st_size)
        _copy_database(layout, new, logged, steps.next())
        loaded = _mark(new, f"from {layout.directory}", steps.next())
        status = loaded.contents.status if loaded.contents else None
        if damage := loaded.damage + contradictions(layout, status, logged=logged):
            raise _damaged(damage)
    found = read_saved(file, progress=steps.next())
    steps.end()
    return found


def read_saved(file: Path | str, *, progress: Progress = silent) -> SavedReport:
    """Read a saved store and verify everything in it. O(store).

    Raises:
        StoreMismatch: The file is no saved store, or has a newer format.
        StoreFailed: The disk failed.
    """
    PATH("file", file)
    path = Path(file)
    with failures(Layout(path.parent), path, AGAIN):
        _require_saved(path)
        with closing(_open(path)) as db:
            found = _report(path, db, SAVED, progress)
    at = next((line.at for line in reversed(found.audit) if line.event == SAVE_EVENT), 0.0)
    return SavedReport(found, at)


def restore(
    file: Path | str,
    directory: Path | str,
    *,
    node: NodeId | None = None,
    new_uuid: Callable[[], UUID] = uuid4,
    progress: Progress = silent,
) -> StoreReport:
    """Make a store of a saved one, under an epoch of its own. O(store).

    Args:
        file: From `save`. Not changed.
        directory: A new or empty one. It appears with the whole store in it, or with none.
        node: Whose store it becomes; None: of the node that it was.
        new_uuid: Where the epoch comes from.
        progress: How far it has come: as of `save`.

    Raises:
        StoreMismatch: The file is no saved store, or has a newer format, or there is a store in the directory already.
        StoreDamaged: The file does not verify.
        StoreUnsuitable: No store may be in this directory.
        StoreLocked: Another process uses the directory.
        StoreFailed: The disk failed, or is full.
    """
    PATH("file", file)
    PATH("directory", directory)
    CALLBACK("new_uuid", new_uuid)
    if node is not None:
        check_node_id(node)
    path, layout = Path(file), Layout(Path(directory))
    with failures(layout, path, AGAIN):
        _require_saved(path)
    with failures(layout, again=AGAIN), ExitStack() as held:
        layout.prepare()
        require_suitable(layout)
        lock = Lock(layout)
        held.callback(lock.release)
        if any(there.exists() for there in (layout.database, layout.wal, layout.identity, layout.damaged)):
            raise StoreMismatch(f"there is a store in {directory} already: restore into an empty directory")
        with _new_file(layout.database, ".new") as new:
            steps = Steps(progress, 3, path.stat().st_size)
            _copy_file(path, new, steps.next())
            identity = _make_present(new, node, new_uuid, f"from {path}", steps.next())
        identity.write(layout.identity)
        with closing(_open(layout.database)) as db:
            found = _report(layout.directory, db, progress=steps.next())
        steps.end()
        return found


# --- the parts -----------------------------------------------------------------------------------------


def _report(
    name: Path, db: sqlite3.Connection, application: int = APPLICATION, progress: Progress = silent
) -> StoreReport:
    loaded = load(db, application, progress)
    if loaded.damage:
        return report_of(name, loaded, ())
    return report_of(name, loaded, audit_of(db), space=space_of(db))


def _damaged(damage: list[Damage]) -> StoreDamaged:
    return StoreDamaged("; ".join(map(str, damage)))


@contextmanager
def _new_file(path: Path, ending: str) -> Iterator[Path]:
    """A file with this ending, which gets its name when it is whole and durable, and is removed after an error."""
    if os.path.lexists(path):
        raise StoreMismatch(f"{path} exists: name a new file")
    new = path.with_name(path.name + ending)
    sides = [new.with_name(new.name + ending) for ending in ("-journal", "-wal", "-shm")]
    for left in (new, *sides):
        left.unlink(missing_ok=True)
    os.close(create(new, os.O_WRONLY))
    try:
        yield new
        sync_file(new)
        new.rename(path)
        sync_directory(path.parent)
    finally:
        for left in (new, *sides):
            with suppress(OSError):
                left.unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    """Read-only, of a file that nobody changes."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _copy_database(layout: Layout, new: Path, in_use: bool, progress: Progress) -> None:
    """One consistent state, whoever writes: SQLite copies it in one transaction."""
    require_regular(layout.database)
    total = sum(path.stat().st_size for path in (layout.database, layout.wal) if path.exists())
    uri = f"{layout.database.absolute().as_uri()}?mode=ro" + ("" if in_use else "&immutable=1")

    def look() -> None:
        progress(min(new.stat().st_size, total), total)

    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as db:
        try:
            with watched(db, look):
                copy_into(new, db)
        except sqlite3.DatabaseError as error:
            if is_disk_fault(error) or isinstance(error, sqlite3.OperationalError):
                raise
            raise StoreDamaged(f"{layout.directory} does not verify: SQLite: {error}") from error
    if not in_use and layout.wal.exists():
        raise StoreFailed(f"a node was started on {layout.directory} while it was read: save it again")
    progress(total, total)


def _copy_file(path: Path, new: Path, progress: Progress) -> None:
    with open(path, "rb") as source, open(new, "wb") as target:
        total, done = os.fstat(source.fileno()).st_size, 0
        while piece := source.read(COPIED_BYTES):
            target.write(piece)
            done += len(piece)
            progress(done, total)


def _mark(new: Path, detail: str, progress: Progress) -> Loaded:
    """Make a copy of a store a saved one. Returns what is in it, verified."""
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        loaded = load(db, progress=progress)
        if loaded.contents is not None and not loaded.damage:
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA application_id = {SAVED}")
            put_audit(db, time.time(), SAVE_EVENT, loaded.contents.status.generation, detail)
            db.execute("COMMIT")
        return loaded


def _make_present(
    new: Path, node: NodeId | None, new_uuid: Callable[[], UUID], detail: str, progress: Progress
) -> Identity:
    """Make a copy of a saved store a clean one, of this node and with an epoch of its own."""
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        loaded = load(db, SAVED, progress)
        contents = loaded.contents
        if contents is None or loaded.damage:
            raise _damaged(loaded.damage)
        status = contents.status
        identity = Identity(node or status.node, new_uuid())
        contents.status = status.with_(
            node=identity.node, epoch=identity.epoch, primary=False, state=StoreState.CLEAN, stop=new_uuid()
        )
        demand(db, "journal_mode", "WAL", "wal")
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        if loaded.format != FORMAT:
            upgrade(db, loaded.format)
        put_status(db, contents, facts=True)
        put_audit(db, time.time(), RESTORE_EVENT, status.generation, detail)
        db.execute("COMMIT")
    return identity


def _require_saved(path: Path) -> None:
    """Raises `StoreMismatch` unless the header of the file has the mark of a saved store."""
    try:
        require_regular(path)
        with open(path, "rb") as file:
            header = file.read(72)
    except FileNotFoundError:
        raise StoreMismatch(f"there is no file {path}") from None
    except IsADirectoryError:
        header = b""
    if header[:15] != b"SQLite format 3" or int.from_bytes(header[68:72], "big") != SAVED:
        raise StoreMismatch(f"{path} is not a saved store: `qpidha store backup` makes one")
