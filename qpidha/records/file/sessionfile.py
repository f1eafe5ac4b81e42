"""Sessions as files: a lock that the kernel drops when its process dies.

    sessions/<node>.lock   locked for as long as the session lives; its mtime is the last keep-alive, so that
                           a process that is stopped, not dead, is noticed too
    sessions/<node>.info   what the node says about itself, replaced as a whole

The mtime is set to the *monotonic* clock, which the processes of a machine share: setting the wall clock
ends no session. A forked child closes its copies of the locks: otherwise a dead parent would seem alive.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qpidha.records.file import sessionlock
from qpidha.records.file.recordfile import same_file
from qpidha.system import forks
from qpidha.system.ownership import create_like
from qpidha.types import NODE_ID_BYTES_MAX, NodeId

INFO_BYTES_MAX = 64 * 1024
FILE_NAME_CHARS_MAX = 200
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
LOCK_SUFFIX, INFO_SUFFIX, TEMPORARY_SUFFIX = ".lock", ".info", ".tmp"


class SessionGoneError(Exception):
    """The lock file is not ours any more: it was removed or replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """The content of an info file."""

    node: NodeId
    ttl_s: float
    info: bytes
    asked: bool = sessionlock.OPEN_FILE_LOCKS
    """The owner has a lock that can be queried. Older versions do not write this field, and have no such lock."""

    def encode(self) -> bytes:
        """JSON: a checksum, then the content."""
        content: dict[str, object] = {
            "node": self.node,
            "ttl_s": self.ttl_s,
            "info": base64.b64encode(self.info).decode(),
        }
        if self.asked:
            content["asked"] = True
        return json.dumps([_checksum(content), content]).encode()

    @staticmethod
    def decode(data: bytes) -> SessionInfo | None:
        """None if it is damaged: the live nodes are only a hint."""
        try:
            checksum, content = json.loads(data)
            if checksum != _checksum(content):
                return None
            return SessionInfo(
                node=str(content["node"]),
                ttl_s=float(content["ttl_s"]),
                info=base64.b64decode(content["info"], validate=True),
                asked=content.get("asked") is True,
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None


class SessionFile:
    """One held session. Its methods block for microseconds and are not to be called in parallel."""

    def __init__(self, directory: Path, info: SessionInfo) -> None:
        """Take the lock and publish the info.

        Raises:
            SessionHeldError: Another session holds it.
            OSError: The disk failed.
        """
        name = escape(info.node)
        self._content = info
        self._lock = directory / (name + LOCK_SUFFIX)
        self._info = directory / (name + INFO_SUFFIX)
        self._temporary = directory / (name + TEMPORARY_SUFFIX)
        self._fd = sessionlock.take(self._lock)
        forks.watch(self)
        try:
            self._info.unlink(missing_ok=True)  # The info of a dead process must not be taken for ours.
            self.touch()
            self.publish(info.info)
        except BaseException:
            self.release()
            raise

    def touch(self) -> None:
        """Keep alive. Raises `SessionGoneError` if the file is not ours any more."""
        self._require_ours()
        now = time.monotonic_ns()
        os.utime(self._fd, ns=(now, now))

    def publish(self, info: bytes) -> None:
        """Replace the info that others see. Raises the same."""
        self._require_ours()
        content = SessionInfo(node=self._content.node, ttl_s=self._content.ttl_s, info=info)
        with open(create_like(self._temporary, self._info, os.O_WRONLY), "wb") as file:
            file.write(content.encode())
        os.replace(self._temporary, self._info)

    def release(self) -> None:
        """Drop the lock and remove the files, unless another session owns them by now. May be called twice."""
        if self._fd < 0:
            return
        try:
            if self._ours():
                self._info.unlink(missing_ok=True)
                self._lock.unlink(missing_ok=True)
        finally:
            forks.release(self)
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """A session that is not referred to any more, as after a cancelled open, holds no lock."""
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def _require_ours(self) -> None:
        if not self._ours():
            raise SessionGoneError(f"{self._lock} was removed or replaced")

    def _ours(self) -> bool:
        return self._fd >= 0 and same_file(self._fd, self._lock)

    def forked(self) -> Iterable[int]:
        """In a child process: let go without dropping the parent's lock."""
        fd, self._fd = self._fd, -1
        return (fd,)


def live_sessions(directory: Path) -> dict[NodeId, bytes]:
    """The info of every node with a live session, by looking at each lock without waiting."""
    live: dict[NodeId, bytes] = {}
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return live
    for name in names:
        if name.endswith(LOCK_SUFFIX):
            found = _look(directory / name, directory / (name.removesuffix(LOCK_SUFFIX) + INFO_SUFFIX))
            if found is not None:
                live[found.node] = found.info
    return live


def _look(lock: Path, info: Path) -> SessionInfo | None:
    """None unless a process holds this lock and has kept it alive."""
    try:
        with open(os.open(info, os.O_RDONLY | OPEN_FLAGS), "rb") as file:
            found = SessionInfo.decode(file.read(INFO_BYTES_MAX))
        if found is None:
            return None
        fd = os.open(lock, os.O_RDONLY | OPEN_FLAGS)
        try:
            held = sessionlock.is_held(fd, asked=found.asked)
            age_s = (time.monotonic_ns() - os.fstat(fd).st_mtime_ns) / 1e9
        finally:
            os.close(fd)
    except OSError:
        return None  # Gone between two looks, or never complete.
    return found if held and age_s <= found.ttl_s else None


def escape(node: NodeId) -> str:
    """A file name for a node id: percent-encoded, or its hash if that is too long. Different ids get different names."""
    if not 0 < len(node.encode()) <= NODE_ID_BYTES_MAX:
        raise ValueError(f"a node id has 1 to {NODE_ID_BYTES_MAX} bytes")
    name = quote(node, safe="")
    if len(name) <= FILE_NAME_CHARS_MAX:
        return name
    return "%hash-" + hashlib.sha256(node.encode()).hexdigest()  # No percent-encoding begins with %h.


def _checksum(content: object) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"
