"""The path of a control socket: used by one node at a time, and never removed while a process answers on it.

    control.sock        the socket
    control.sock.lock   flock, exclusive, for as long as the node answers; the pid, for the error message

A socket stays behind after a kill, so its name alone proves nothing. The lock decides; and a process that still
accepts connections on the socket keeps it, even without the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from qpidha.errors import ControlSocketInUse
from qpidha.node.ask import ShortPath
from qpidha.system import forks
from qpidha.system.ownership import make_directories, open_or_create

PEER_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid of the process that listens."""


class SocketPath:
    """The hold of one node on one path. Its methods block for microseconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self.lock_fd = -1
        self._bound: tuple[int, int] | None = None

    def take(self) -> None:
        """Make the path free, unless it is used. A socket on which no process answers is removed.

        Raises:
            ControlSocketInUse: Another node has it, or what is there is not a socket.
            OSError: The directory cannot be used.
        """
        make_directories(self._path.parent)
        self._take_lock()
        try:
            self._remove_stale()
        except BaseException:
            self.release()
            raise

    def bound(self) -> None:
        """The socket was made: from now on it is ours."""
        os.chmod(self._path, 0o600)
        found = os.lstat(self._path)
        self._bound = found.st_dev, found.st_ino

    def release(self) -> None:
        """Remove the socket if it is still the one that we made, and let go of the path. May be called twice.

        The lock file stays: removing it would let two nodes lock two files.
        """
        forks.release(self)
        bound, self._bound = self._bound, None
        with suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == bound:
                self._path.unlink()
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def forked(self) -> Iterable[int]:
        """In a child: the path and the socket are the parent's."""
        self._bound = None
        fd, self.lock_fd = self.lock_fd, -1
        return (fd,)

    def _take_lock(self) -> None:
        fd = open_or_create(self._lock_path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise self._in_use(f"process {holder}" if holder else "another process") from None
        except BaseException:
            os.close(fd)
            raise
        self.lock_fd = fd
        forks.watch(self)

    def _remove_stale(self) -> None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlSocketInUse(
                f"{self._path} exists and is not a socket: it was not changed; give another path as control"
            )
        if (holder := self._listener()) is not None:
            raise self._in_use(holder)
        self._path.unlink(missing_ok=True)

    def _listener(self) -> str | None:
        """Who accepts connections on the socket, even if it is stopped just now. None: no process."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, ShortPath(self._path) as short:
            probe.setblocking(False)
            try:
                probe.connect(short)
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                    return None
                if error.errno != errno.EAGAIN:  # EAGAIN: so many wait that it takes no more.
                    raise
                return "another process"
            if not hasattr(socket, "SO_PEERCRED"):
                return "another process"
            raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
            return f"process {PEER_CREDENTIALS.unpack(raw)[0]}"

    def _in_use(self, holder: str) -> ControlSocketInUse:
        return ControlSocketInUse(
            f"{holder} answers on the control socket {self._path}: "
            "stop that node first, or give this one another path as control"
        )
