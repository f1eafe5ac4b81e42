"""Reads a store offline: without its lock, whether or not it is in use.

Neither database nor write-ahead log is changed (`qpidha.stores.database.reader` says which file may be).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qpidha.checks import PATH, integer
from qpidha.errors import StoreDamaged, StoreFailed, StoreMismatch
from qpidha.journal import StoreImage, StoreState, StoreStatus
from qpidha.stores.database import Space, failures, reader, space_of
from qpidha.stores.files import Identity, Layout, noted_damage
from qpidha.stores.loader import Loaded, load
from qpidha.stores.lock import Lock, read_through
from qpidha.stores.progress import Progress, silent
from qpidha.stores.queue import Queue
from qpidha.stores.reading import damaged_text, is_disk_fault, stored_status
from qpidha.stores.report import AuditLine, Damage, QueueReport, StoreReport
from qpidha.stores.schema import Value
from qpidha.stores.wal import check_wal

AUDIT_LINES_SHOWN = 20
NOTHING = Space(0, 0)
LINES = integer(0, 2**31 - 1)
YEAR_10000 = 253402300800.0
"""From then on Python has no dates; in seconds since the epoch."""


def _layout(directory: Path | str) -> Layout:
    """Raises `ArgumentError` if it is no path."""
    PATH("directory", directory)
    return Layout(Path(directory))


def read_status(directory: Path | str) -> StoreStatus:
    """The status alone. O(1): nothing else is verified.

    Raises:
        StoreMismatch: There is no store.
        StoreDamaged: There was one, and its status cannot be read.
        StoreFailed: The disk failed.
    """
    layout = _layout(directory)
    with failures(layout):
        if damage := missing(layout):
            raise StoreDamaged("; ".join(map(str, damage)))
        try:
            status = _status(layout)
        except StoreDamaged:
            _require_readable(layout)
            status = _status(layout)
        return status.with_(state=StoreState.DAMAGED) if noted_damage(layout) else status


def _status(layout: Layout) -> StoreStatus:
    try:
        with reader(layout) as db:
            status, tally = stored_status(db)
    except (sqlite3.DatabaseError, ValueError) as error:
        if isinstance(error, sqlite3.DatabaseError) and is_disk_fault(error):
            raise
        raise StoreDamaged(f"the status of {layout.directory} cannot be read: {error}") from error
    blank = status.cluster is None and not tally.queues and not tally.quarantine
    return status.with_(state=StoreState.EMPTY) if blank else status


def inspect(directory: Path | str, *, progress: Progress = silent) -> StoreReport:
    """Read and verify everything. O(store).

    Args:
        directory: Of the store.
        progress: How far it has come; from the beginning again, if what seems damaged is read a second time.

    Raises:
        StoreMismatch: There is no store, or it has a newer format.
        StoreFailed: The disk failed.
    """
    layout = _layout(directory)
    with failures(layout):
        damage = noted_damage(layout)
        if gone := missing(layout):
            return StoreReport(name=str(directory), status=None, damage=(*damage, *gone))
        loaded, audit, space = _read_surely(layout, progress)
    damage += [finding for finding in loaded.damage if finding not in damage]
    return report_of(Path(directory), loaded, audit, damage, space)


def read_image(directory: Path | str, *, progress: Progress = silent) -> StoreImage:
    """Everything that a store holds, with all messages. O(store), in memory as well.

    Raises:
        StoreMismatch: There is no store, or it has a newer format.
        StoreDamaged: It does not verify.
        StoreFailed: The disk failed.
    """
    layout = _layout(directory)
    with failures(layout):
        damage = [*noted_damage(layout), *missing(layout)]
        loaded = None if damage else _read_surely(layout, progress)[0]
    if loaded is None or loaded.damage or loaded.contents is None:
        raise StoreDamaged("; ".join(map(str, damage if loaded is None else loaded.damage)))
    return loaded.image()


@contextmanager
def unused(directories: Iterable[Path]) -> Iterator[None]:
    """Hold the locks of these stores: no node uses them, and none can start on them meanwhile.

    Raises:
        StoreLocked: One of them is in use.
        StoreMismatch: There is no store in one of them.
    """
    with ExitStack() as held:
        for directory in directories:
            layout = Layout(directory)
            if not any(path.exists() for path in (layout.lock, layout.database, layout.identity)):
                raise StoreMismatch(f"there is no store in {directory}")
            with failures(layout):
                lock = Lock(layout)
                held.callback(lock.release)
                if layout.database.exists():
                    lock.take_database()
        yield


def read_audit(directory: Path | str, lines_max: int = AUDIT_LINES_SHOWN) -> tuple[AuditLine, ...]:
    """The last lines of the audit record, oldest first.

    Raises:
        StoreMismatch: There is no store.
        StoreFailed: The disk failed, or the database cannot be read.
    """
    layout = _layout(directory)
    LINES("lines_max", lines_max)
    with failures(layout):
        if damage := missing(layout):
            raise StoreDamaged("; ".join(map(str, damage)))
        with reader(layout) as db:
            return audit_of(db, lines_max)


def missing(layout: Layout) -> list[Damage]:
    """Damage that shows in the names of the files: a database that should be there (faults E20, E21).

    Raises:
        StoreMismatch: There is no store in the directory.
    """
    if layout.database.exists():
        return []
    if layout.wal.exists():
        return [Damage("missing", "the write-ahead log is there, the database is not")]
    if layout.identity.exists():
        return [Damage("missing", "the identity is there, the database is not: its messages are gone")]
    raise StoreMismatch(f"there is no store in {layout.directory}")


def verify(
    layout: Layout,
    db: sqlite3.Connection,
    progress: Progress = silent,
    *,
    memory_bytes_max: int | None = None,
) -> Loaded:
    """Everything `load` finds, and what the other files of the directory say."""
    loaded = load(db, progress=progress, memory_bytes_max=memory_bytes_max)
    loaded.damage += check_wal(layout)
    status = loaded.contents.status if loaded.contents else None
    loaded.damage += contradictions(layout, status, logged=layout.wal.exists())
    return loaded


def contradictions(layout: Layout, status: StoreStatus | None, *, logged: bool) -> list[Damage]:
    """What the other files of the directory say against this status. ``logged``: whether there was a log."""
    found = []
    if status is not None and status.state is StoreState.DIRTY and not logged:
        text = "the store was in use, and its write-ahead log is gone: its last commits are missing"
        found.append(Damage("missing", text))
    try:
        identity = Identity.read(layout.identity)
    except ValueError as error:
        return [*found, Damage("identity", str(error))]
    if identity and status and (identity.node, identity.epoch) != (status.node, status.epoch):
        text = (
            f"the directory belongs to node {identity.node}, epoch {identity.epoch}; "
            f"the database to {status.node}, {status.epoch}"
        )
        found.append(Damage("identity", text))
    return found


def log_damage(layout: Layout) -> list[Damage]:
    """What is wrong with the log, of a store that may be in use: what two readings find."""
    found: list[Damage] | None = None
    for _ in range(2):
        with reader(layout) as db:
            db.execute("PRAGMA schema_version").fetchall()  # Opens the log, too.
            again = check_wal(layout)
        found = again if found is None else [one for one in found if one in again]
        if not found:
            break
    return found or []


def confirmed(layout: Layout, damage: list[Damage]) -> list[Damage]:
    """The damage that a second reading finds too: a disk with sporadic faults is not a damaged store.

    SQLite reports the same error for a page that cannot be read and for a page with wrong content.

    Raises:
        OSError: Something cannot be read.
        StoreFailed: Everything can be read, and none of this damage is found again.
    """
    _require_readable(layout)
    with reader(layout) as db:
        again = verify(layout, db).damage
    if found := [finding for finding in damage if finding in again]:
        return found
    first = "; ".join(map(str, damage))
    raise StoreFailed(
        f"the disk gave different answers when {layout.directory} was read twice; first: {first}"
    )


def _require_readable(layout: Layout) -> None:
    read_through(layout.database)
    read_through(layout.wal)


def _read_surely(layout: Layout, progress: Progress = silent) -> tuple[Loaded, tuple[AuditLine, ...], Space]:
    """Read and verify everything; what seems damaged, twice."""
    loaded, audit, space = _read(layout, progress)
    if loaded.damage:
        # A store in use may change its files while they are read; real damage is found again.
        _require_readable(layout)
        again, audit, space = _read(layout, progress)
        loaded.damage = [finding for finding in loaded.damage if finding in again.damage]
        loaded.contents = again.contents
    return loaded, audit, space


def _read(layout: Layout, progress: Progress) -> tuple[Loaded, tuple[AuditLine, ...], Space]:
    with reader(layout) as db:
        loaded = verify(layout, db, progress)
        try:
            return loaded, audit_of(db), space_of(db)
        except sqlite3.DatabaseError as error:
            if is_disk_fault(error):
                raise
            return loaded, (), NOTHING
        except UnicodeDecodeError:  # From SQLite's message, which quotes a damaged name.
            return loaded, (), NOTHING


def audit_of(db: sqlite3.Connection, lines_max: int = AUDIT_LINES_SHOWN) -> tuple[AuditLine, ...]:
    """The last lines of the audit record, oldest first."""
    db.text_factory = damaged_text
    rows = db.execute(
        "SELECT at, event, generation, queue, detail FROM audit ORDER BY line DESC LIMIT ?", (lines_max,)
    ).fetchall()
    return tuple(_audit_line(*row) for row in reversed(rows))


def _audit_line(at: Value, event: Value, generation: Value, queue: Value, detail: Value) -> AuditLine:
    """The line, or one that says that it is damaged: no checksum covers it."""
    if (
        isinstance(at, float)
        and 0 <= at < YEAR_10000
        and isinstance(event, str)
        and isinstance(generation, int)
        and isinstance(queue, str)
        and isinstance(detail, str)
    ):
        return AuditLine(at, event, generation, queue, detail)
    return AuditLine(0.0, "unreadable", 0, "", "")


def report_of(
    name: Path,
    loaded: Loaded,
    audit: tuple[AuditLine, ...],
    damage: list[Damage] | None = None,
    space: Space = NOTHING,
) -> StoreReport:
    """What was loaded, for people and tools. ``damage`` None: what `load` has found."""
    damage, contents = loaded.damage if damage is None else damage, loaded.contents
    if contents is None:
        return StoreReport(name=str(name), status=None, audit=audit, damage=tuple(damage))
    state = StoreState.DAMAGED if damage else contents.left()
    return StoreReport(
        name=str(name),
        status=contents.status.with_(state=state),
        audit=audit,
        damage=tuple(damage),
        queues=tuple(_queue_report(queue, loaded) for queue in contents.queues.values()),
        quarantined=sum(len(shelved.row.live) for shelved in contents.shelved()),
        file_bytes=space.file_bytes,
        free_bytes=space.free_bytes,
    )


def _queue_report(queue: Queue, loaded: Loaded) -> QueueReport:
    lives = [row.live for row in queue.rows]
    span = max(live.last for live in lives) - min(live.first for live in lives) + 1 if lives else 0
    held = queue.rows.held
    return QueueReport(
        queue=queue.queue,
        name=queue.spec.name,
        lineage=queue.lineage,
        next=queue.next,
        held=held,
        nbytes=loaded.nbytes.get(queue.key, 0),
        holes=span - held,
    )
