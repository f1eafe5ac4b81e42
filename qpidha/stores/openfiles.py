"""Whether the files of a store in use are still the ones that were opened, and as this process has left them.

Data written to a file that was removed, or whose directory was replaced, is lost when the process ends, without an
error. Therefore every commit checks, before it is reported as durable:

1. each name, of the directory and of the files in it, leads to the same file as when the store was opened;
2. none of them was made read-only;
3. between two commits neither the database nor the log changed its length or its time of change: only this process
writes to them, and to the database only at checkpoints;
4. the log is not shorter than after the previous commit.

About ten system calls, 20 to 30 µs together. Not detected: bytes changed without the file system, which the checksums
find at the next start, and a change that is undone before the next check.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from qpidha.errors import StoreFailed
from qpidha.stores.files import Layout
from qpidha.stores.lock import Lock, file_id
from qpidha.stores.logroom import LogRoom
from qpidha.stores.synced import note

WHAT_TO_DO = (
    "nothing more is confirmed from this store. Restore the directory as it was and start the node again, or give "
    "it an empty directory: the primary fills it"
)


@dataclass(slots=True)
class OpenFile:
    """One file of the store."""

    name: str
    fd: int
    id: tuple[int, int]
    owner: int
    size: int = 0
    changed_ns: int = 0

    def differs(self, found: os.stat_result) -> bool:
        """Whether size or time of change are not those that were noted."""
        return (found.st_size, found.st_mtime_ns) != (self.size, self.changed_ns)

    def note(self, found: os.stat_result) -> None:
        """Note size and time of change."""
        self.size, self.changed_ns = found.st_size, found.st_mtime_ns


class OpenFiles:
    """The files of one store, from the moment they are all there. One thread at a time."""

    def __init__(self, layout: Layout, lock: Lock, synced_fd: int) -> None:
        """Note the state of the files now. The lock owns the descriptors."""
        self._layout = layout
        self._directory = layout.directory
        self._directory_fd = lock.directory
        self._directory_id = file_id(lock.directory)
        self._database = _opened(layout.database, lock.database)
        self._log = _opened(layout.wal, lock.keep(layout.wal, write=True))
        self._others = [
            _opened(layout.lock, lock.file),
            _opened(layout.synced, synced_fd),
            *(_opened(path, lock.keep(path)) for path in (layout.identity, layout.shm) if path.exists()),
        ]
        self._synced_fd = synced_fd
        self._index_fd = next((file.fd for file in self._others if file.name == layout.shm.name), -1)
        self._room = LogRoom(self._log.fd, self._index_fd)
        self.written()

    def provide_room(self, nbytes: int) -> None:
        """Make room in the log for a commit of about so many bytes, which `require_there` must follow."""
        self._room.provide(nbytes, self._log.size)

    def written(self) -> None:
        """Note the state of both files after this process has written to the database."""
        for file in (self._database, self._log):
            file.note(os.fstat(file.fd))

    def require_untouched(self) -> None:
        """Check that no other process has written, before the next commit hides the change. Two system calls.

        Raises:
            StoreFailed: Says what was done, and to which file.
        """
        for file in (self._database, self._log):
            self._require_untouched(file, os.fstat(file.fd))

    def require_there(self) -> None:
        """Check, after a commit, that it was written to files that the next start will find.

        Raises:
            StoreFailed: The same.
        """
        self._require_directory()
        log = self._look(self._log)
        if log.st_size < self._log.size:
            raise self._truncated(self._log, log)
        self._log.note(log)
        self._require_untouched(self._database, self._look(self._database))
        for file in self._others:
            self._look(file)

    def note_synced(self) -> None:
        """Record for the next start that the last commit is durable."""
        if self._index_fd >= 0:
            note(self._synced_fd, self._index_fd, self._database.changed_ns)

    def verify(self) -> None:
        """Make both checks between commits. Raises `StoreFailed`."""
        self.require_untouched()
        self.require_there()

    def _require_directory(self) -> None:
        try:
            found = os.stat(self._directory)
            flags = os.fstatvfs(self._directory_fd).f_flag
        except OSError as error:
            raise self._lost("the directory", self._directory, error) from error
        if (found.st_dev, found.st_ino) != self._directory_id:
            raise StoreFailed(
                f"the directory {self._directory} was moved away or mounted over while the node used it, and "
                f"another one is in its place: {WHAT_TO_DO}"
            )
        if not found.st_mode & stat.S_IWUSR:
            raise self._read_only(self._directory, found.st_mode)
        if flags & os.ST_RDONLY:
            raise StoreFailed(
                f"the file system of {self._directory} is mounted read-only by now, as after an error of its disk: "
                "see the kernel's log; nothing more is confirmed from this store until the node is started again"
            )

    def _look(self, file: OpenFile) -> os.stat_result:
        """What `os.stat` says of the file with this name."""
        try:
            found = os.stat(file.name, dir_fd=self._directory_fd, follow_symlinks=False)
        except OSError as error:
            raise self._lost("the file", self._directory / file.name, error) from error
        if (found.st_dev, found.st_ino) != file.id:
            path = self._directory / file.name
            raise StoreFailed(f"the file {path} was replaced while the node used it: {WHAT_TO_DO}")
        if not found.st_mode & stat.S_IWUSR:
            raise self._read_only(self._directory / file.name, found.st_mode)
        if found.st_uid != file.owner and os.geteuid() != 0:
            raise StoreFailed(
                f"{self._directory / file.name} was given to user {found.st_uid} while the node used it, "
                f"and cannot be opened again: chown it to user {file.owner} and start the node again"
            )
        return found

    @staticmethod
    def _read_only(path: Path, mode: int) -> StoreFailed:
        return StoreFailed(
            f"{path} was made read-only (mode {stat.S_IMODE(mode):04o}) while the node used it: "
            "make it writable for its owner and start the node again"
        )

    def _require_untouched(self, file: OpenFile, found: os.stat_result) -> None:
        if not file.differs(found):
            return
        if found.st_size < file.size:
            raise self._truncated(file, found)
        raise StoreFailed(
            f"another process wrote to {self._directory / file.name} while the node used it "
            f"({file.size} bytes then, {found.st_size} now): {WHAT_TO_DO}"
        )

    def _truncated(self, file: OpenFile, found: os.stat_result) -> StoreFailed:
        return StoreFailed(
            f"the file {self._directory / file.name} was truncated from {file.size} to {found.st_size} bytes "
            f"while the node used it: {WHAT_TO_DO}"
        )

    def _lost(self, what: str, path: Path, error: OSError) -> StoreFailed:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return StoreFailed(f"{what} {path} was removed while the node used it: {WHAT_TO_DO}")
        if error.errno == errno.ESTALE:
            return StoreFailed(f"{what} {path} is stale, its file system was taken away: {WHAT_TO_DO}")
        return StoreFailed(f"cannot look at {what} {path} any more: {error.strerror}: {WHAT_TO_DO}")


def _opened(path: Path, fd: int) -> OpenFile:
    found = os.fstat(fd)
    return OpenFile(path.name, fd, (found.st_dev, found.st_ino), found.st_uid)
