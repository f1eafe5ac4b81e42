"""The lock of a store: one process at a time, even if its files are renamed or removed.

A lock on a file protects only as long as the file has its name: after somebody removes ``lock``, another process can
create a new file of that name and lock it. So three things are locked (flock): the file, which says who holds it; the
directory; and the database itself. To open the same messages a second time, another process needs one of them.

SQLite's locks (fcntl) are independent of these, with one exception: they belong to the whole process, and
all of them on a file are dropped when *any* descriptor of it is closed. So no code in this process may open and
close a file of a store in use; `reading` borrows the descriptor that the lock keeps open.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeAlias

from qpidha.errors import ForkedError, StoreLocked
from qpidha.stores.files import Layout
from qpidha.system import forks
from qpidha.system.ownership import open_or_create

FileId: TypeAlias = tuple[int, int]
"""Device and inode."""
READ_BYTES = 1024 * 1024
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Drawn by the kernel at each start of the machine."""
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Lock:
    """Exclusive hold on a store, dropped by the kernel when the process dies. A forked child does not have it."""

    _kept: ClassVar[dict[FileId, int]] = {}
    """Every file that a lock of this process keeps open, with its descriptor."""
    _borrowing: ClassVar[threading.RLock] = threading.RLock()
    _inherited: ClassVar[set[FileId]] = set()
    """Files that locks of the parent kept open when this process was forked: for SQLite they are still open."""

    def __init__(self, layout: Layout) -> None:
        """Take the lock, on everything but the database, which may not exist yet.

        Raises:
            StoreLocked: Another process holds it; the message names that process.
        """
        self._layout = layout
        self._ours: dict[FileId, int] = {}
        self.database = -1
        forks.watch(self)
        try:
            self.directory = self._take(layout.directory, DIRECTORY_FLAGS)
            self.file = self._take(layout.lock, None)
            os.ftruncate(self.file, 0)
            os.pwrite(self.file, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.release()
            raise

    def take_database(self) -> int:
        """Lock the database too, before it is read. Returns its descriptor; raises as the constructor does."""
        before, self.database = self.database, self._take(self._layout.database, READ_FLAGS)
        if before >= 0:
            key = file_id(before)
            del self._ours[key], self._kept[key]
            os.close(before)
        return self.database

    def retake_database(self) -> None:
        """Lock the database again, after this process has replaced the file and before SQLite opens it."""
        found = os.stat(self._layout.database)
        if (found.st_dev, found.st_ino) != file_id(self.database):
            self.take_database()

    def name(self) -> bytes:
        """A name that no lock of another process has at the same time. Empty: this system does not tell when it began.

        While this lock is held nobody else holds its file; and the file of another machine, or of this one before its
        last start, has another name.
        """
        try:
            began = BOOT_ID.read_text().strip()
        except OSError:
            return b""
        return " ".join([began, *map(str, file_id(self.file))]).encode()

    def keep(self, path: Path, *, write: bool = False) -> int:
        """Keep another file of the store open; ``write``: for writing too, and it is created if it is not there."""
        fd = open_or_create(path, os.O_RDWR) if write else os.open(path, READ_FLAGS)
        self._remember(fd)
        return fd

    def release(self) -> None:
        """May be called twice, and only when SQLite has closed its files.

        The lock file stays: removing it would let two processes lock two files.
        """
        forks.release(self)
        for key, fd in self._ours.items():
            self._kept.pop(key, None)
            with suppress(OSError):  # The lock is dropped nevertheless, and the file holds no data.
                os.close(fd)
        self._ours.clear()

    def forked(self) -> Iterable[int]:
        """In a child: every descriptor of these files, those of SQLite included."""
        files = set(self._ours)
        self._inherited.update(files)
        for key in files:
            self._kept.pop(key, None)
        held, self._ours = list(self._ours.values()), {}
        return held + _descriptors_of(files)

    def _take(self, path: Path, flags: int | None) -> int:
        """Open and lock a file. ``flags`` None: for writing, and it is created if it is not there."""
        self._require_unknown(path)
        fd = open_or_create(path, os.O_RDWR) if flags is None else os.open(path, flags)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StoreLocked(f"{self._layout.directory} is in use by {self._holder()}") from None
        except BaseException:
            os.close(fd)
            raise
        self._remember(fd)
        return fd

    def _require_unknown(self, path: Path) -> None:
        """Check that this process does not have the store open already, under this or another name."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return
        key = found.st_dev, found.st_ino
        if key in self._kept:
            raise StoreLocked(f"{self._layout.directory} is in use by this process")
        if key in self._inherited:
            raise ForkedError(
                f"{self._layout.directory} was open in the parent of this process when it was forked: "
                "open it in a process started with 'spawn' or 'forkserver'"
            )

    def _remember(self, fd: int) -> None:
        self._ours[file_id(fd)] = self._kept[file_id(fd)] = fd

    def _holder(self) -> str:
        try:
            fd = os.open(self._layout.lock, READ_FLAGS | os.O_NONBLOCK)
        except OSError:
            return "another process (its lock file is gone)"
        try:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
        return f"process {pid}" if pid else "another process"


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, without closing what SQLite has open in this process.

    Raises:
        OSError: As `open` does.
    """
    found = os.stat(path)
    with Lock._borrowing:
        kept = Lock._kept.get((found.st_dev, found.st_ino))
        if kept is not None:
            with open(kept, "rb", buffering=0, closefd=False) as file:
                file.seek(0)
                yield file
            return
    with path.open("rb", buffering=0) as file:
        yield file


def read_through(path: Path) -> None:
    """Read a whole file, if it exists, to find errors of the disk. Raises `OSError`."""
    with suppress(FileNotFoundError), reading(path) as file:
        while file.read(READ_BYTES):
            pass


def file_id(fd: int) -> FileId:
    """What identifies an open file: its device and inode."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _descriptors_of(files: set[FileId]) -> list[int]:
    """Every descriptor of this process that is open on one of these files."""
    found = []
    with suppress(OSError):  # Without /proc only our own descriptors are known.
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # That of the listing itself.
                if file_id(int(name)) in files:
                    found.append(int(name))
    return found
