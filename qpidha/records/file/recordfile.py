"""The record file and its lock. Everything here blocks, for less than a millisecond on a healthy disk.

    record.lock   flock, exclusive, for a write; and the same on the directory itself, which is still the same
                  for all processes when the lock file is removed
    record.json   replaced as a whole: write beside it, fsync, rename, fsync the directory (T33)

Readers take no lock: all processes read all the time, and one that is stopped while it reads must not prevent
the others from electing another primary (T42).

Nothing here waits for the lock: `LockHeldError` is raised, and the caller may try again. So a request that times out
before it has the lock was certainly not sent; after that it may have been.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qpidha.errors import ClusterError, Conflict, OutcomeUnknown, Unavailable
from qpidha.records.format import decode_record, encode_record
from qpidha.system.ownership import create_like, open_or_create
from qpidha.system.syncing import sync_directory
from qpidha.types import Record, Versioned

RECORD_BYTES_MAX = 1024 * 1024
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW

YOUNG_S = 0.1
"""Two writes within this time may get the same time stamp, and the second file the inode of the first."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What `os.stat` says of a file: enough to see that it changed, without reading it."""

    inode: int
    modified_ns: int
    size: int

    @property
    def settled(self) -> bool:
        """Whether an equal signature later means the same content. False while the file is young."""
        return not 0 <= time.time_ns() - self.modified_ns <= YOUNG_S * 1e9


class LockHeldError(Exception):
    """Another process holds the lock. Nothing was done."""


class RecordFile:
    """The record of one cluster, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "record.json"
        self._directory = directory
        self._lock = directory / "record.lock"
        self._temporary = directory / "record.json.tmp"
        self._guard = threading.Lock()
        self._durable_version = 0
        """The newest version known to survive a power cut; also the newest version ever returned."""

    def signature(self) -> Signature | None:
        """None: no file. A change says that it is time to read; the write may not be finished."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"cannot look at {self.path}: {error.strerror}") from error
        return Signature(found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self) -> Versioned | None:
        """The record; what is returned is durable.

        Raises:
            Unavailable: The disk failed.
            ClusterError: The file is damaged, newer than this library, or older than it was.
        """
        found = self._load()
        if found is not None and found.version > self._durable_version:
            self._make_durable(found.version)  # Its writer may not have synced it yet, or was killed before.
        return found

    def write(self, expected: int | None, new: Record) -> Versioned:
        """Replace the record if its version is this one; None: if there is no record.

        Raises:
            LockHeldError: Another process is writing. Nothing was done.
            Conflict: There is another version, and it is not this very record.
            Unavailable: The disk failed before anything was changed.
            OutcomeUnknown: The disk failed afterwards: others may see the change, and it may be lost in a power cut.
            ClusterError: As for `read`.
        """
        with self._locked() as directory:
            current = self._load()
            version = None if current is None else current.version
            if version == expected:
                return self._replace(Versioned(new, (version or 0) + 1), directory)
            if current is not None and new.nonce and current.record == new:
                self._make_durable(current.version)  # Our earlier write: its answer was lost (M2).
                return current
            raise Conflict(f"the record has version {version}, not {expected}", current=current)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock, so that no other process writes meanwhile. Yields the directory, open."""
        with ExitStack() as held:
            directory = self._lock_file(held, self._directory, os.O_RDONLY | os.O_DIRECTORY)
            lock = self._lock_file(held, self._lock, os.O_RDWR)
            if not self._is_in_place(directory) or not leads_to(lock, self._lock):
                raise LockHeldError  # Removed or replaced since it was opened: others lock another file.
            yield directory

    @staticmethod
    def _lock_file(held: ExitStack, path: Path, flags: int) -> int:
        try:
            create = not flags & os.O_DIRECTORY
            fd = open_or_create(path, flags) if create else os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"cannot open {path}: {error.strerror}") from error
        held.callback(_close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError from None
        except OSError as error:
            raise Unavailable(f"cannot lock {path}: {error.strerror}") from error
        return fd

    def _load(self) -> Versioned | None:
        known = self._durable_version  # Before the file: another thread may read or write a newer one.
        found = load(self.path)
        version = 0 if found is None else found.version
        if version < known:
            raise ClusterError(
                f"{self.path} went back from version {known} to {version}: "
                "it was removed or restored from a copy"
            )
        return found

    def _replace(self, written: Versioned, directory: int) -> Versioned:
        try:
            self._write_temporary(encode_record(written))
        except OSError as error:
            raise Unavailable(f"cannot write {self._temporary}: {error.strerror}") from error
        if not self._is_in_place(directory):
            raise Unavailable(f"{self._directory} was moved or replaced while the record was written")
        try:
            os.replace(self._temporary, self.path)
            sync_directory(self._directory)
        except OSError as error:
            raise OutcomeUnknown(f"cannot replace {self.path}: {error.strerror}") from error
        self._is_durable(written.version)
        return written

    def _is_in_place(self, directory: int) -> bool:
        return leads_to(directory, self._directory, follow=True)

    def _write_temporary(self, data: bytes) -> None:
        with open(create_like(self._temporary, self.path, os.O_WRONLY), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _make_durable(self, version: int) -> None:
        try:
            sync_directory(self._directory)
        except OSError as error:
            raise Unavailable(f"cannot make {self.path} durable: {error.strerror}") from error
        self._is_durable(version)

    def _is_durable(self, version: int) -> None:
        with self._guard:
            self._durable_version = max(self._durable_version, version)


def same_file(fd: int, path: Path, *, follow: bool = False) -> bool:
    """Whether this path still leads to the file or directory that is open here. ``follow``: also through links.

    Raises:
        OSError: The disk failed, or the path may not be looked at.
    """
    try:
        there, here = os.stat(path, follow_symlinks=follow), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def leads_to(fd: int, path: Path, *, follow: bool = False) -> bool:
    """As `same_file`. Raises `Unavailable` if the disk failed."""
    try:
        return same_file(fd, path, follow=follow)
    except OSError as error:
        raise Unavailable(f"cannot look at {path}: {error.strerror}") from error


def _close(fd: int) -> None:
    with suppress(OSError):  # Nothing was written to it, and its lock is dropped in any case.
        os.close(fd)


def load(path: Path) -> Versioned | None:
    """The record in this file; None if there is no file. Never a part of it, even without the lock.

    Raises:
        Unavailable: The disk failed.
        ClusterError: The file is damaged, newer than this library, or not a regular file.
    """
    try:
        # A pipe of this name would block until another process writes into it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | OPEN_FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ClusterError(f"{path} is not a regular file")
            data = file.read(RECORD_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise ClusterError(f"{path} is not a regular file") from error
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    return decode_record(data, str(path))
