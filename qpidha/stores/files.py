"""The files of one store directory, besides the database, and how they are written durably.

    lock        held by the process that has the store open (`qpidha.stores.lock`); its pid, for the error message
    identity    node and epoch, written once: proves that a store was here if the database is gone
    store.db    the database, with store.db-wal and store.db-shm while it is in use or after a kill
    synced      up to which frame the log was durable (`qpidha.stores.synced`)
    damaged     the findings of a failed verification; the database itself is not changed

The directory is 0700, every file 0600. No name in it ever comes from the wire.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from qpidha.errors import StoreFailed, StoreUnsuitable
from qpidha.stores.report import Damage
from qpidha.system import mounts
from qpidha.system.ownership import create, create_like, make_directories
from qpidha.system.syncing import sync_directory
from qpidha.system.texts import plain_text
from qpidha.types import NodeId

SMALL_FILE_BYTES_MAX = 64 * 1024
"""Maximum size of an identity or a damage note; a larger file is not read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a store are."""

    directory: Path

    @property
    def lock(self) -> Path:
        """Held by the process that has the store open."""
        return self.directory / "lock"

    @property
    def identity(self) -> Path:
        """Node and epoch, written once."""
        return self.directory / "identity"

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.directory / "store.db"

    @property
    def wal(self) -> Path:
        """The write-ahead log of the database; there while the store is open, or after a crash."""
        return self.directory / "store.db-wal"

    @property
    def shm(self) -> Path:
        """The shared-memory index of the log."""
        return self.directory / "store.db-shm"

    @property
    def synced(self) -> Path:
        """Up to which frame the log was durable (`qpidha.stores.synced`)."""
        return self.directory / "synced"

    @property
    def damaged(self) -> Path:
        """The findings of a verification that failed."""
        return self.directory / "damaged"

    def prepare(self) -> None:
        """Create the directory and what is missing above it, durably."""
        for path in make_directories(self.directory):
            sync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose store this directory is."""

    node: NodeId
    epoch: UUID

    @property
    def _crc(self) -> int:
        return zlib.crc32(f"{self.node}\n{self.epoch}".encode())

    def write(self, path: Path) -> None:
        """Write it durably. Raises `OSError` if the disk failed."""
        fields = {"node": self.node, "epoch": str(self.epoch), "crc": self._crc}
        write_atomically(path, json.dumps(fields).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> Identity | None:
        """None: there is no such file.

        Raises:
            ValueError: The file is not what `write` has written.
        """
        raw = read_small(path)
        if raw is None:
            return None
        try:
            fields = json.loads(raw)
            identity = cls(str(fields["node"]), UUID(fields["epoch"]))
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
            raise ValueError(f"not an identity: {error}") from error
        if fields.get("crc") != identity._crc:
            raise ValueError("the checksum of the identity is wrong")
        return identity


def note_damage(layout: Layout, findings: list[Damage]) -> None:
    """Record that the store is damaged, if the disk accepts it; otherwise the next open finds the damage again."""
    text = "".join(f"{finding.code}\t{finding.text}\n" for finding in findings)
    with suppress(OSError):
        write_atomically(layout.damaged, plain_text(text).encode()[:SMALL_FILE_BYTES_MAX])


def noted_damage(layout: Layout) -> list[Damage]:
    """What `note_damage` has recorded. Empty: nothing."""
    raw = read_small(layout.damaged)
    if raw is None:
        return []
    pairs = [line.partition("\t") for line in raw.decode("utf-8", "replace").splitlines()]
    return [Damage(code, text) for code, _, text in pairs] or [Damage("unreadable", "declared damaged")]


def read_small(path: Path) -> bytes | None:
    """The content of a small regular file. None: there is none.

    Raises:
        ValueError: It is not a regular file, or not small.
        OSError: The disk failed, which says nothing about the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError(f"{path.name}: {error.strerror}") from error
        raise
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > SMALL_FILE_BYTES_MAX:
            raise ValueError(f"{path.name} is not a small regular file")
        return file.read()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file. After a crash it is the old one or the new one, never anything else (D4)."""
    new = path.with_name(path.name + ".new")
    fd = create_like(new, path, os.O_WRONLY)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.replace(new, path)
    sync_directory(path.parent)


def create_private(path: Path) -> None:
    """An empty file that only this user can read. SQLite gives its side files the same mode."""
    os.close(create(path, os.O_WRONLY))


def require_regular(path: Path) -> None:
    """Raises `StoreFailed` if there is something else than a regular file under this name."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        raise StoreFailed(f"{path} is not a regular file")


def require_suitable(layout: Layout) -> None:
    """Raises `StoreUnsuitable` if no store may be in this directory: locks or an fsync might promise less there."""
    if why := mounts.refusal(layout.directory):
        raise StoreUnsuitable(why)
    if (layout.directory / "record.json").exists():  # Both lock their directory as a whole.
        raise StoreUnsuitable(
            f"{layout.directory} holds a cluster record: give the store a directory of its own"
        )
