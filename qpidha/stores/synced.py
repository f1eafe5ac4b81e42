"""Records outside the write-ahead log up to which frame it was durable, without a second fsync.

SQLite reads a log up to the first frame that does not verify. After a power cut that is right for a transaction that
was being written; but damage in the very last *durable* transaction looks the same, and would lose confirmed
messages. So after each commit, when the log is synced, the number of its frames is written to a small file, which is not
synced itself. After a kill the file is complete, because the kernel has it; after a power cut it may be older, and then
covers fewer frames. It never covers too many, because it is written after the log was synced.

    synced    two salts that identify the log, number of frames, when the database was last written, checksum

Before the log is emptied on purpose, at a start and at a clean stop, the file is voided and synced.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from qpidha.stores.files import read_small

RECORD = struct.Struct(">8sIqI")
"""Salts, frames, time of change of the database in ns, CRC-32 of all that."""
VOID = bytes(RECORD.size)
INDEX = struct.Struct("=16xI12x8s")
"""The head of the index of the log, which the commit has just written: number of the last frame, salts of the log."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What is known to be durable."""

    salts: bytes
    frames: int
    database_ns: int

    @classmethod
    def read(cls, path: Path) -> Synced | None:
        """Read the file. None: it is missing, void or damaged, and so proves nothing.

        Raises:
            OSError: The disk failed.
        """
        try:
            raw = read_small(path)
        except ValueError:
            return None
        if raw is None or len(raw) != RECORD.size or raw == VOID:
            return None
        salts, frames, database_ns, crc = RECORD.unpack(raw)
        return cls(salts, frames, database_ns) if crc == zlib.crc32(raw[:-4]) else None


def note(fd: int, index_fd: int, database_ns: int) -> None:
    """Record that a commit is durable. Two system calls.

    Args:
        fd: Of the file.
        index_fd: Of the index of the log.
        database_ns: When the database was last written.
    """
    frames, salts = INDEX.unpack(os.pread(index_fd, INDEX.size, 0))
    if not frames:
        return  # Nothing was written since the log was emptied.
    body = RECORD.pack(salts, frames, database_ns, 0)[:-4]
    os.pwrite(fd, body + zlib.crc32(body).to_bytes(4, "big"), 0)


def frames_of(index_fd: int) -> int:
    """The number of frames in the log, from its index. One system call."""
    frames: int = INDEX.unpack(os.pread(index_fd, INDEX.size, 0))[0]
    return frames


def void(fd: int) -> None:
    """Void the file, durably: the log is about to be emptied."""
    os.pwrite(fd, VOID, 0)
    os.ftruncate(fd, len(VOID))
    os.fsync(fd)
