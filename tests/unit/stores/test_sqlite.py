"""Properties of the store on disk: files, locks, kills, failing disks, inspection from outside."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.errors import StoreDamaged, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import Audit, Insert, StoreState
from qpidha.recovery.ranking import rank
from qpidha.stores import SqliteStore, database, inspect, read_audit, read_status
from qpidha.stores import sqlite as sqlite_store
from qpidha.stores.schema import FORMAT
from qpidha.testing.conformance.changes import (
    CREATE,
    QUEUE,
    STATUS,
    Plain,
    batch,
    ids,
    insert,
    messages,
    plain,
    remove,
    some_commits,
)
from qpidha.types import Member, Record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


def lived(directory: Path) -> SqliteStore:
    """A store in use, with `some_commits` in it."""
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    return store


def reopened(directory: Path) -> Plain:
    store = SqliteStore(directory)
    image = store.open("a")
    store.close(clean=True)
    return plain(image)


def killed_copy(directory: Path, to: Path) -> Path:
    """What a killed process leaves: every file as it is right now."""
    shutil.copytree(directory, to)
    return to


# --- files -------------------------------------------------------------------------------------------


def left(directory: Path) -> StoreState:
    """The state of the store that the next start finds."""
    store = SqliteStore(directory)
    try:
        return store.open("a").status.state
    finally:
        store.close(clean=False)


def test_only_the_owner_can_read_the_files(directory: Path) -> None:
    before = os.umask(0)
    try:
        store = lived(directory)
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == dict.fromkeys(
        ["lock", "identity", "store.db", "store.db-wal", "store.db-shm", "synced"], 0o600
    )
    store.close(clean=True)
    assert sorted(path.name for path in directory.iterdir()) == ["identity", "lock", "store.db", "synced"]


def test_symbolic_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    lived(directory).close(clean=True)
    target = tmp_path / "elsewhere.db"
    shutil.move(directory / "store.db", target)
    (directory / "store.db").symlink_to(target)
    with pytest.raises(StoreFailed):
        SqliteStore(directory).open("a")
    (directory / "lock").unlink()
    (directory / "lock").symlink_to(target)
    with pytest.raises(StoreFailed):
        SqliteStore(directory).open("a")


def test_a_crash_during_creation(directory: Path) -> None:
    directory.mkdir()
    (directory / "store.db.new").write_bytes(b"half a database")
    lived(directory).close(clean=True)
    (directory / "identity").unlink()  # Written last.
    assert reopened(directory)
    assert (directory / "identity").exists()


# --- two processes -----------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.support.stores import lived_forever
lived_forever(Path({directory!r}))
"""


@contextmanager
def another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    code = CHILD.format(path=sys.path, directory=str(directory))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "committed\n"
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.processes
def test_two_processes(directory: Path) -> None:
    """E22: the second process is refused and told who holds the store; after a kill every commit is there."""
    with another_process(directory) as child:
        with pytest.raises(StoreLocked, match=str(child.pid)):
            SqliteStore(directory).open("a")
        child.send_signal(signal.SIGKILL)
        child.wait()
    store = SqliteStore(directory)
    image = store.open("a")
    assert image.status.state is StoreState.DIRTY
    assert set(messages(image.queues[0].held)) == {4, *range(6, 14), *range(17, 21)}
    store.close(clean=True)


@pytest.mark.processes
def test_inspecting_a_store_in_use(directory: Path) -> None:
    with another_process(directory):
        report = inspect(directory)
        assert not report.damage and report.status is not None and report.status.state is StoreState.DIRTY
        assert read_status(directory) == report.status


# --- kills -------------------------------------------------------------------------------------------


def test_a_kill_after_any_commit(directory: Path, tmp_path: Path) -> None:
    """D1: after each commit the files on disk hold exactly the commits so far."""
    store, twin = SqliteStore(directory), SqliteStore(tmp_path / "twin")
    store.open("a")
    twin.open("a")
    for number, changes in enumerate(some_commits()):
        store.commit(changes)
        twin.commit(changes)
        copy = killed_copy(directory, tmp_path / f"copy{number}")
        opened, expected = SqliteStore(copy).open("a"), None
        twin.close(clean=True)
        expected = twin.open("a")
        assert opened.status.state is StoreState.DIRTY
        assert plain(opened) == plain(expected)
    store.close(clean=False)
    assert left(directory) is StoreState.DIRTY


def test_a_kill_during_recovery(directory: Path, tmp_path: Path) -> None:
    """D2: opening can be repeated, however far the recovery came before the kill."""
    store = lived(directory)
    first = killed_copy(directory, tmp_path / "first")
    image = SqliteStore(first).open("a")  # Never closed: killed.
    second = killed_copy(first, tmp_path / "second")
    assert plain(SqliteStore(second).open("a")) == plain(image)
    store.close(clean=True)


def test_the_dirty_mark_is_in_the_database_and_not_only_in_the_log(directory: Path, tmp_path: Path) -> None:
    """D5: losing the log must not turn a killed store into a clean older one."""
    lived(directory).close(clean=True)
    store = SqliteStore(directory)
    store.open("a")
    store.commit([remove(ids(4))])
    copy = killed_copy(directory, tmp_path / "copy")
    (copy / "store.db-wal").unlink()
    (copy / "store.db-shm").unlink()
    with pytest.raises(StoreDamaged, match="log is gone"):
        SqliteStore(copy).open("a")


def test_ids_survive_many_checkpoints(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_BYTES", 100_000)
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE])
    for start in range(10, 1010, 10):
        store.commit([insert(ids((start, start + 9)))])
        if start >= 30:
            store.commit([remove(ids((start - 20, start - 12)))])
    store.close(clean=True)
    image = SqliteStore(directory).open("a")
    assert set(messages(image.queues[0].held)) == {*range(19, 990, 10), *range(990, 1010)}


# --- failing disks -----------------------------------------------------------------------------------


def test_every_commit_waits_for_the_disk(directory: Path) -> None:
    """D1. With less than 2, SQLite syncs its log at checkpoints only; `tests/storage` shows what that loses."""
    store = lived(directory)
    assert store._db is not None
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close(clean=True)


def test_a_full_disk(directory: Path) -> None:
    """T34, E12: no commit succeeds after the first failure; earlier commits are there and readable."""
    store = lived(directory)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    of = ids((100, 20_000))
    big = Insert(QUEUE, of, batch(of))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        with pytest.raises(StoreFailed):
            store.commit([big])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    with pytest.raises(StoreFailed, match="earlier commit"):
        store.commit([remove(ids(4))])
    assert not inspect(directory).damage
    store.close(clean=True)
    again = SqliteStore(directory)
    image = again.open("a")
    assert image.status.state is StoreState.DIRTY, "a failed store is never clean (D6)"
    assert set(messages(image.queues[0].held)) == {4, *range(6, 14), *range(17, 21)}
    again.commit([remove(ids(4))])


class Failing:
    """A connection whose statements of one kind fail with an I/O error."""

    def __init__(self, db: sqlite3.Connection, word: str) -> None:
        self._db, self._word = db, word

    def execute(self, sql: str, *arguments: object) -> object:
        if sql.startswith(self._word):
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(sql, *arguments)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


@pytest.mark.parametrize("word", ["BEGIN", "COMMIT", "PRAGMA wal_checkpoint"])
def test_a_failing_statement_kills_the_store(
    directory: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """D6: also if a checkpoint fails, whose errors SQLite itself ignores."""
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_BYTES", 1)
    store = lived(directory)
    store._db = Failing(store._db, word)  # type: ignore[arg-type, assignment]
    with pytest.raises(StoreFailed, match="disk I/O"):
        store.commit([remove(ids(4))])
    with pytest.raises(StoreFailed, match="earlier commit"):
        store.commit([])
    store.close(clean=True)
    assert left(directory) is StoreState.DIRTY


def test_a_clean_stop_that_fails_stays_dirty(directory: Path) -> None:
    """E26: the store is released nevertheless."""
    store = lived(directory)
    store._db = Failing(store._db, "COMMIT")  # type: ignore[arg-type, assignment]
    with pytest.raises(StoreFailed):
        store.close(clean=True)
    assert left(directory) is StoreState.DIRTY


def test_an_unclean_close_without_a_free_descriptor(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite may then merge and remove its log; that is not damage."""
    store = lived(directory)

    def no_spare(_: object) -> object:
        raise OSError("too many open files")

    assert store._spare is not None
    store._spare.close()
    store._spare = None
    monkeypatch.setattr(database, "_open_spare", no_spare)
    store.close(clean=False)
    monkeypatch.undo()
    assert not inspect(directory).damage
    assert left(directory) is StoreState.DIRTY


def test_commits_come_from_another_thread(directory: Path) -> None:
    store = lived(directory)
    worker = threading.Thread(target=store.commit, args=([remove(ids((6, 9)))],))
    worker.start()
    worker.join()
    store.close(clean=True)
    assert inspect(directory).queues[0].held == 9


# --- formats and other stores ------------------------------------------------------------------------


def test_a_newer_format_is_refused(directory: Path) -> None:
    lived(directory).close(clean=True)
    with sqlite3.connect(directory / "store.db", isolation_level=None) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
        db.execute("ALTER TABLE seal ADD COLUMN more INTEGER")  # Stands for any change of a newer format.
    db.close()
    for look in (lambda: SqliteStore(directory).open("a"), lambda: inspect(directory)):
        with pytest.raises(StoreMismatch, match=f"format {FORMAT + 1}"):
            look()


def test_another_nodes_database_in_this_directory(directory: Path, tmp_path: Path) -> None:
    """T40: files of a cloned disk, mixed."""
    lived(directory).close(clean=True)
    other = SqliteStore(tmp_path / "other")
    other.open("a")
    other.close(clean=True)
    shutil.copy(tmp_path / "other" / "store.db", directory / "store.db")
    with pytest.raises(StoreDamaged, match="epoch"):
        SqliteStore(directory).open("a")


# --- from outside ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
def test_inspection_changes_nothing(directory: Path, tmp_path: Path, kill: bool) -> None:
    store = lived(directory)
    if kill:
        directory = killed_copy(directory, tmp_path / "copy")
        (directory / "store.db-shm").unlink()
    store.close(clean=True)
    names = ["store.db", "store.db-wal"] if kill else ["store.db"]
    before = {name: (directory / name).read_bytes() for name in names}
    report = inspect(directory)
    assert not report.damage and report.status is not None
    assert report.status.state is (StoreState.DIRTY if kill else StoreState.CLEAN)
    assert read_status(directory) == report.status
    assert {name: (directory / name).read_bytes() for name in names} == before
    if not kill:
        assert sorted(path.name for path in directory.iterdir()) == ["identity", "lock", "store.db", "synced"]


def test_a_report_describes_the_store(directory: Path) -> None:
    store = lived(directory)
    report = store.inspect()
    orders, mails = report.queues
    assert (orders.name, orders.lineage, orders.next, orders.held, orders.holes) == (
        "orders",
        ((1, 1), (3, 4)),
        21,
        13,
        4,
    )
    assert (mails.held, mails.holes, report.quarantined) == (3, 5, 4)
    assert orders.nbytes == len(batch(ids((4, 13))).raw) + len(batch(ids((14, 20))).raw)
    assert [(line.event, line.generation, line.queue, line.detail) for line in report.audit] == [
        ("rewound", 3, "orders", "3 messages")
    ]
    assert report.audit[0].at > 1_600_000_000
    assert store.read_status() == report.status
    assert store.audit() == report.audit


def test_the_audit_record_is_bounded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpidha.stores.writer.AUDIT_LINES_MAX", 5)
    store = lived(directory)
    for number in range(9):
        store.commit([Audit("e", 1, "q\udc80", str(number))])
    assert [line.detail for line in read_audit(directory, 100)] == ["4", "5", "6", "7", "8"]
    assert [line.detail for line in store.audit(2)] == ["7", "8"]
    assert store.audit(1)[0].queue == "q\\udc80"


def test_no_store_at_all(directory: Path) -> None:
    for look in (inspect, read_status, read_audit):
        with pytest.raises(StoreMismatch):
            look(directory)


def test_reports_can_be_ranked(directory: Path, tmp_path: Path) -> None:
    lived(directory).close(clean=True)
    behind = SqliteStore(tmp_path / "b")
    behind.open("b")
    behind.commit([STATUS, CREATE])
    behind.close(clean=True)
    reports = [inspect(tmp_path / "b"), inspect(directory)]
    first, second = rank(reports)
    assert (first.name, second.name) == (str(directory), str(tmp_path / "b"))
    status = reports[0].status
    assert status is not None
    record = Record(
        cluster=UUID(int=0xC1), generation=3, primary=None, members=frozenset({Member("b", status.epoch)})
    )
    assert rank(reports, record)[0].name == str(tmp_path / "b")
