"""Disk space freed by a drained backlog is returned: at start if there is much of it, and by a command at any time."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qpidha.cli import OK, PROBLEM, UNREACHABLE, main
from qpidha.errors import StoreDirty, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import Insert
from qpidha.stores import SqliteStore, compaction, database, inspect
from qpidha.stores.saved import restore, save
from qpidha.testing.conformance.changes import QUEUE, ids, plain, remove, some_commits
from qpidha.wire.batch import Batch

KIB = 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


def worked_off(directory: Path, *, clean: bool = True) -> SqliteStore:
    """A store with some content, after 2 MiB of messages were added and removed."""
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    for first in range(1001, 1033, 4):
        store.commit([Insert(QUEUE, ids((first, first + 3)), Batch.pack([os.urandom(64 * KIB)] * 4))])
    store.commit([remove(ids((1001, 1032)))])
    store.close(clean=clean)
    return store


def content(directory: Path) -> object:
    store = SqliteStore(directory)
    found = plain(store.open("a"))
    store.close(clean=True)
    return found


def test_a_report_says_how_much_is_free(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worked_off(directory)
    report = inspect(directory)
    assert report.file_bytes == (directory / "store.db").stat().st_size > 2 * KIB * KIB
    assert 2 * KIB * KIB < report.free_bytes < report.file_bytes
    assert main(["store", "inspect", str(directory)]) == OK
    assert f"{report.file_bytes} bytes on disk, {report.free_bytes} of them free" in capsys.readouterr().out


def test_a_store_whose_directory_has_no_name_in_utf_8(tmp_path: Path) -> None:
    """A file system may have any bytes in a name; SQLite has to be told of a new file in SQL."""
    directory = tmp_path / os.fsdecode(b"store\xff")
    worked_off(directory)
    before = content(directory)
    free, left = compaction.compact(directory)
    assert left.file_bytes < free.file_bytes and content(directory) == before
    file, new = tmp_path / os.fsdecode(b"saved\xff"), tmp_path / "new"
    save(directory, file)
    restore(file, new)
    assert [queue.held for queue in inspect(new).queues] == [
        queue.held for queue in inspect(directory).queues
    ]


def test_the_command_returns_the_free_space(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worked_off(directory)
    before, epoch = content(directory), inspect(directory).status
    large = (directory / "store.db").stat()
    assert main(["store", "compact", str(directory), "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    small = (directory / "store.db").stat()
    assert small.st_size < 200 * KIB < large.st_size
    assert small.st_mode == large.st_mode and (small.st_uid, small.st_gid) == (large.st_uid, large.st_gid)
    assert (said["before"]["file_bytes"], said["after"]["file_bytes"]) == (large.st_size, small.st_size)
    assert inspect(directory).status == epoch and not inspect(directory).damage
    assert content(directory) == before
    assert not [name for name in os.listdir(directory) if ".new" in name]
    assert main(["store", "compact", str(directory)]) == OK
    assert f"{small.st_size} bytes before, " in capsys.readouterr().out


def test_a_store_that_may_not_be_compacted_is_unchanged(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreMismatch, match="no store"):
        compaction.compact(directory)
    assert main(["store", "compact", str(directory)]) == UNREACHABLE
    store = SqliteStore(directory)
    store.open("a")
    with pytest.raises(StoreLocked):
        compaction.compact(directory)
    store.close(clean=False)
    with pytest.raises(StoreDirty, match="start its node and stop it in order"):
        compaction.compact(directory)
    assert main(["store", "compact", str(directory)]) == PROBLEM
    worked_off(directory)
    with closing(sqlite3.connect(directory / "store.db", isolation_level=None)) as db:
        db.execute("DELETE FROM batches")
    before = (directory / "store.db").read_bytes()
    with pytest.raises(StoreDirty, match="does not verify, and is left as it is"):
        compaction.compact(directory)
    assert (directory / "store.db").read_bytes() == before


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


STEPS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "make": (compaction, "create_like", full),
    "mode": (compaction, "demand", full),
    "sync": (compaction, "sync_file", full),
    "rename": (Path, "rename", full),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_disk_that_is_too_full_for_the_copy(
    directory: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The command fails and says why; a start skips compaction. The copy is removed and the store is unchanged."""
    worked_off(directory)
    before = content(directory)
    inode = (directory / "store.db").stat().st_ino
    monkeypatch.setattr(compaction, "WASTED_BYTES_MIN", KIB)
    monkeypatch.setattr(*STEPS[step])  # type: ignore[arg-type]
    with pytest.raises(StoreFailed, match=r"No space left on device\. Free space"):
        compaction.compact(directory)
    store = SqliteStore(directory)
    assert plain(store.open("a")) == before
    assert (directory / "store.db").stat().st_ino == inode
    assert not [name for name in os.listdir(directory) if ".new" in name]
    monkeypatch.undo()
    store.close(clean=True)
    assert content(directory) == before


def test_a_copy_that_does_not_verify_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_off(directory)
    before = (directory / "store.db").read_bytes()
    demand = database.demand

    def spoil(db: sqlite3.Connection, *pragma: object) -> None:
        demand(db, *pragma)  # type: ignore[arg-type]
        db.execute("DELETE FROM batches WHERE key = (SELECT min(key) FROM batches)")

    monkeypatch.setattr(compaction, "demand", spoil)
    with pytest.raises(StoreFailed, match="does not verify: the disk or its memory is bad"):
        compaction.compact(directory)
    assert (directory / "store.db").read_bytes() == before


@pytest.mark.parametrize("how", ["clean", "killed", "little"])
def test_a_start_compacts_a_large_mostly_free_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Only if the store was closed cleanly and most of a large file is free."""
    if how != "little":
        monkeypatch.setattr(compaction, "WASTED_BYTES_MIN", KIB * KIB)
    worked_off(directory, clean=how != "killed")
    store = SqliteStore(directory)
    found = plain(store.open("a"))
    size = (directory / "store.db").stat().st_size
    assert (size < 200 * KIB) == (how == "clean")
    with pytest.raises(StoreLocked):
        SqliteStore(directory).open("a")
    store.verify_files()
    store.commit([remove(ids(4))])
    names = [Path("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
    held = [os.readlink(each) for each in names if os.path.lexists(each)]
    assert not [
        name for name in held if "(deleted)" in name and str(directory) in name
    ]  # A deleted file that is open keeps its disk space.
    store.close(clean=True)
    assert not inspect(directory).damage
    assert found[0] == "a"


def test_the_database_is_synced_before_it_gets_its_name(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At creation and at compaction: a power cut must not leave the durable name of a file without its content."""
    done: list[str] = []
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name}")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    for module in (database, compaction):
        for call in ("sync_file", "sync_directory"):
            sync = getattr(module, call)
            monkeypatch.setattr(
                module, call, lambda path, s=sync, c=call: (done.append(f"{c} {path.name}"), s(path))
            )
    expected = ["sync_file store.db.new", "rename store.db.new", f"sync_directory {directory.name}"]
    worked_off(directory)
    assert done[:3] == expected
    done.clear()
    compaction.compact(directory)
    assert done == expected
