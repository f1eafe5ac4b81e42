"""The lock behind a session: held by one process, visible to all, dropped by the kernel when its owner dies.

The owner has an *open file description lock*, which others can query without taking one (F_OFD_GETLK): an observer
that is stopped while it looks prevents no node from starting (T42). The owner also has a flock, by which older versions,
and systems without such locks, detect a session; there an observer has to take it, shared, for a moment.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from qpidha.records.file.recordfile import same_file
from qpidha.system.ownership import open_or_create

OPEN_FILE_LOCKS = hasattr(fcntl, "F_OFD_GETLK")
"""True on Linux. Elsewhere there is only flock."""
LOCK_FIELDS = struct.Struct("hhqqi")
"""struct flock: kind, whence, start, length (0: all), pid."""


class SessionHeldError(Exception):
    """Another process, or another session of this one, holds the lock."""


def take(lock: Path) -> int:
    """Open the lock file, created if it is not there, and lock it. Returns its descriptor; closing it drops the lock.

    Raises:
        SessionHeldError: Another session holds it.
        OSError: The disk failed, or permission is missing.
    """
    while True:
        fd = open_or_create(lock, os.O_RDWR)
        try:
            _lock(fd)
            if same_file(fd, lock):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise SessionHeldError from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # Its last owner removed it after we had opened it.


def is_held(fd: int, *, asked: bool) -> bool:
    """Whether the lock of an open lock file is held by another process.

    Args:
        fd: The open lock file. Close it at once: without open file description locks it now has a shared flock.
        asked: The owner has an open file description lock.
    """
    return _query(fd) if asked and OPEN_FILE_LOCKS else _try(fd)


def _query(fd: int) -> bool:
    """Ask the kernel whether an open file description lock is held, without taking one."""
    question = LOCK_FIELDS.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question)
    return bool(LOCK_FIELDS.unpack(answer)[0] != fcntl.F_UNLCK)


def _try(fd: int) -> bool:
    """Find out by taking a shared flock, which the caller drops by closing the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _lock(fd: int) -> None:
    """Take both locks. Raises BlockingIOError if another owner, not only an older observer, has one."""
    if OPEN_FILE_LOCKS:
        everything = LOCK_FIELDS.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, everything)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not OPEN_FILE_LOCKS:
            raise
        # Shared with observers that are looking; an owner of an older version holds it exclusively.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
