"""The store watches its files: a change from outside is noticed before the next commit returns, and by `verify_files`.

Method: a store in use, one change to its files from outside, then a commit or a call of `verify_files`. Tests that need
another file system mount it if they run as root; without root, patched system calls stand in for the kernel.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qpidha.errors import StoreError, StoreFailed
from qpidha.journal import StoreState
from qpidha.stores import SqliteStore, inspect
from qpidha.stores import sqlite as sqlite_store
from qpidha.stores.files import Layout, note_damage, noted_damage
from qpidha.stores.openfiles import OpenFiles
from qpidha.stores.report import Damage
from qpidha.testing.conformance.changes import CREATE, STATUS, ids, insert, messages, remove

ROOT = os.geteuid() == 0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> SqliteStore:
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((1, 9)))])
    return store


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def rewrite(path: Path) -> None:
    """As cp does: the same file, other bytes."""
    raw = path.read_bytes()
    path.write_bytes(raw)


def replace_by_copy(path: Path) -> None:
    """As a restore or an editor does: another file under the same name."""
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def replace_by_link(path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to(kept)


def move_away(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    directory.mkdir(mode=0o700)


def restore(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    shutil.copytree(directory.with_name("moved"), directory)


TROUBLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "everything removed": (
        lambda d: [each.unlink() for each in d.iterdir()],
        "was removed while the node used it",
    ),
    "directory removed": (shutil.rmtree, r"the directory .*/store was removed while"),
    "directory replaced": (move_away, "was moved away or mounted over .* another one is in its place"),
    "directory restored": (restore, "was moved away or mounted over"),
    "directory is a file": (
        lambda d: (d.rename(d.with_name("moved")), d.touch()),
        "was moved away or mounted over",
    ),
    "parent gone": (
        lambda d: d.parent.rename(d.parent.with_name(d.parent.name + "-gone")),
        "the directory .* was removed",
    ),
    "directory read-only": (lambda d: d.chmod(0o500), r"store was made read-only \(mode 0500\)"),
    "database removed": (lambda d: (d / "store.db").unlink(), "store.db was removed while"),
    "database replaced": (lambda d: replace_by_copy(d / "store.db"), "store.db was replaced while"),
    "database linked": (lambda d: replace_by_link(d / "store.db"), "store.db was replaced while"),
    "database truncated": (
        lambda d: truncate(d / "store.db", 8192),
        "store.db was truncated from [0-9]+ to 8192",
    ),
    "database rewritten": (lambda d: rewrite(d / "store.db"), "another process wrote to .*store.db while"),
    "database read-only": (lambda d: (d / "store.db").chmod(0o400), r"made read-only \(mode 0400\)"),
    "log removed": (lambda d: (d / "store.db-wal").unlink(), "store.db-wal was removed while"),
    "log replaced": (lambda d: replace_by_copy(d / "store.db-wal"), "store.db-wal was replaced while"),
    "log truncated": (
        lambda d: truncate(d / "store.db-wal", 0),
        "store.db-wal was truncated from [0-9]+ to 0",
    ),
    "log cut": (
        lambda d: truncate(d / "store.db-wal", (d / "store.db-wal").stat().st_size - 1),
        "store.db-wal was truncated",
    ),
    "log rewritten": (lambda d: rewrite(d / "store.db-wal"), "another process wrote to .*store.db-wal while"),
    "log read-only": (lambda d: (d / "store.db-wal").chmod(0o444), "made read-only"),
    "index of the log removed": (lambda d: (d / "store.db-shm").unlink(), "store.db-shm was removed"),
    "lock removed": (lambda d: (d / "lock").unlink(), "lock was removed while"),
    "lock replaced": (lambda d: replace_by_copy(d / "lock"), "lock was replaced while"),
    "identity removed": (lambda d: (d / "identity").unlink(), "identity was removed while"),
}


@pytest.mark.parametrize("idle", [False, True], ids=["commit", "look"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_change_from_outside_is_noticed(
    directory: Path, store: SqliteStore, trouble: str, idle: bool
) -> None:
    """The commit fails, or the next `verify_files`; after that the store refuses every commit."""
    spoil, said = TROUBLES[trouble]
    store.verify_files()
    spoil(directory)
    with pytest.raises(StoreFailed, match=f"(?s){said}"):
        store.verify_files() if idle else store.commit([insert(ids((10, 12)))])
    for _ in range(2):
        with pytest.raises(StoreFailed, match="failed: "):
            store.commit([insert(ids((13, 14)))])
        with pytest.raises(StoreFailed, match="failed: "):
            store.verify_files()
    store.close(clean=True)  # Does not mark it clean: the store must not write to files that are not its own.


@pytest.mark.parametrize("trouble", TROUBLES)
def test_files_put_in_place_of_the_store_are_left_alone(
    directory: Path, store: SqliteStore, trouble: str
) -> None:
    """The store is closed without removing or changing a file that somebody put there."""
    TROUBLES[trouble][0](directory)
    with pytest.raises(StoreFailed):
        store.commit([insert(ids((10, 12)))])
    before = {path.name: path.lstat().st_ino for path in directory.iterdir()} if directory.is_dir() else None
    store.close(clean=True)
    after = {path.name: path.lstat().st_ino for path in directory.iterdir()} if directory.is_dir() else None
    assert before == after


@pytest.mark.parametrize("trouble", sorted(set(TROUBLES) - {"parent gone"}))
def test_a_clean_stop_does_not_hide_the_change(directory: Path, store: SqliteStore, trouble: str) -> None:
    TROUBLES[trouble][0](directory)
    with pytest.raises(StoreFailed):
        store.close(clean=True)
    with suppress(StoreError):  # The store may be gone.
        status = inspect(directory).status
        assert status is None or status.state is not StoreState.CLEAN


def test_the_store_opens_again_when_its_files_are_restored(directory: Path, store: SqliteStore) -> None:
    """Confirmed commits are there; the unconfirmed one may be there."""
    directory.rename(directory.with_name("moved"))
    with pytest.raises(StoreFailed, match="Restore the directory"):
        store.commit([insert(ids((10, 12)))])
    store.close(clean=False)
    directory.with_name("moved").rename(directory)
    again = SqliteStore(directory)
    held = messages(again.open("a").queues[0].held)
    assert set(range(1, 10)) <= set(held)
    again.commit([remove(ids(1))])
    again.close(clean=True)
    assert not inspect(directory).damage


def test_damage_is_noted_whatever_its_text_has(tmp_path: Path) -> None:
    note_damage(Layout(tmp_path), [Damage("integrity", os.fsdecode(b"row of /d\xff"))])
    assert noted_damage(Layout(tmp_path)) == [Damage("integrity", "row of /d\\udcff")]


def test_a_change_during_a_commit_is_noticed_by_that_commit(
    directory: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is removed between the first and the last check of the commit."""
    real = sqlite_store.write

    def removing(*arguments: object) -> int:
        (directory / "store.db").rename(directory / "gone")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_store, "write", removing)
    with pytest.raises(StoreFailed, match=r"store\.db was removed"):
        store.commit([insert(ids((10, 12)))])


def test_a_log_cut_at_the_end_of_a_commit_is_noticed_by_that_commit(
    directory: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is cut after SQLite has written to it and before the commit is confirmed."""
    real = OpenFiles._require_directory

    def cutting(files: OpenFiles) -> None:
        truncate(directory / "store.db-wal", 32)
        real(files)

    monkeypatch.setattr(OpenFiles, "_require_directory", cutting)
    with pytest.raises(StoreFailed, match=r"store\.db-wal was truncated from [0-9]+ to 32"):
        store.commit([insert(ids((10, 12)))])


def test_checkpoints_of_the_store_are_not_taken_for_foreign_writes(
    directory: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_BYTES", 1)
    for first in range(10, 100, 10):
        store.commit([insert(ids((first, first + 3)))])
        store.verify_files()
    (directory / "store.db").chmod(0o600)
    os.link(directory / "store.db", directory / "a hard link, as some backups make")
    store.verify_files()
    store.close(clean=True)
    assert not inspect(directory).damage


def test_inspecting_a_store_is_not_taken_for_a_foreign_write(directory: Path, store: SqliteStore) -> None:
    for _ in range(3):
        assert not inspect(directory).damage
        subprocess.run(
            [sys.executable, "-m", "qpidha", "store", "inspect", str(directory)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        store.verify_files()
    store.commit([insert(ids((10, 12)))])


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ESTALE, "is stale, its file system was taken away"),
        (errno.EACCES, "cannot look at .* any more: Permission denied"),
        (errno.EIO, "cannot look at .* any more: Input/output error"),
        (errno.ENOTDIR, "was removed"),
    ],
)
@pytest.mark.parametrize("what", ["directory", "store.db"])
def test_a_file_system_that_fails_to_answer(
    directory: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, number: int, said: str, what: str
) -> None:
    real = os.stat

    def stat(path: object, **options: object) -> os.stat_result:
        if str(path) == (str(directory) if what == "directory" else what):
            raise OSError(number, os.strerror(number))
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(StoreFailed, match=f"{what} .*{said}|{said}"):
        store.commit([insert(ids((10, 12)))])
    monkeypatch.undo()


def test_a_read_only_file_system(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel remounts a file system read-only after a disk error, while files are open."""
    real = os.fstatvfs

    def fstatvfs(fd: int) -> os.statvfs_result:
        found = list(real(fd))
        found[8] |= os.ST_RDONLY
        return os.statvfs_result(tuple(found))

    monkeypatch.setattr(os, "fstatvfs", fstatvfs)
    with pytest.raises(StoreFailed, match="is mounted read-only by now"):
        store.verify_files()


def test_a_file_whose_owner_was_changed(
    directory: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is not root could not open the file again."""
    real, path = os.stat, "store.db"

    def stat(name: object, **options: object) -> os.stat_result:
        found = real(name, **options)  # type: ignore[arg-type]
        return os.stat_result((*found[:4], 4711, *found[5:10])) if name == path else found

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StoreFailed, match="was given to user 4711"):
        store._files.require_there()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Free space on its file system"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "raise the quota"),
        (OSError(errno.EROFS, "Read-only file system"), "see the kernel's log"),
        (OSError(errno.EMFILE, "Too many open files"), "limit of open files"),
        (OSError(errno.EIO, "Input/output error"), ""),
    ],
)
def test_a_disk_error_is_reported_with_advice(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, error: OSError, advice: str
) -> None:
    def failing(self: OpenFiles) -> None:
        raise error

    monkeypatch.setattr(OpenFiles, "require_there", failing)
    with pytest.raises(
        StoreFailed, match=f"the disk or the database failed in .*: {error.strerror}.*{advice}"
    ) as found:
        store.commit([insert(ids((10, 12)))])
    assert "Errno" not in str(found.value)


# --- real mounts -------------------------------------------------------------------------------------


needs_root = pytest.mark.skipif(not ROOT, reason="mounting needs root; tried with a made-up kernel above")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, in memory."""
    at = tmp_path / "mounted"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        for _ in range(2):
            subprocess.run(["umount", "-l", str(at)], capture_output=True, check=False)


@needs_root
def test_a_full_disk(small: Path) -> None:
    store = SqliteStore(small / "store")
    store.open("a")
    store.commit([STATUS, CREATE])
    (small / "filler").write_bytes(bytes(os.statvfs(small).f_bavail * os.statvfs(small).f_frsize))
    with pytest.raises(StoreFailed, match=r"full|No space left.*Free space on its file system"):
        for first in range(10, 2000, 10):
            store.commit([insert(ids((first, first + 9)))])
    store.close(clean=True)
    (small / "filler").unlink()
    again = SqliteStore(small / "store")
    assert again.open("a").status.state is StoreState.DIRTY
    again.close(clean=True)


@needs_root
def test_a_mount_over_the_directory(small: Path) -> None:
    """The open files stay usable under the mount, but a restart would not find them."""
    store = SqliteStore(small / "store")
    store.open("a")
    store.commit([STATUS, CREATE])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(small / "store")], check=True)
    with pytest.raises(StoreFailed, match="moved away or mounted over"):
        store.commit([insert(ids((1, 9)))])
    store.close(clean=False)
    subprocess.run(["umount", str(small / "store")], check=True)


@needs_root
def test_a_lazily_unmounted_file_system(small: Path) -> None:
    """A lazy umount: open files stay usable, but their names are gone."""
    store = SqliteStore(small / "store")
    store.open("a")
    store.commit([STATUS, CREATE])
    subprocess.run(["umount", "-l", str(small)], check=True)
    with pytest.raises(StoreFailed, match=r"the directory .* was removed"):
        store.verify_files()
    store.close(clean=False)


@needs_root
def test_a_read_only_mount_at_the_start(small: Path) -> None:
    store = SqliteStore(small / "store")
    store.open("a")
    store.close(clean=True)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    with pytest.raises(StoreFailed, match="read-only"):
        SqliteStore(small / "store").open("a")
