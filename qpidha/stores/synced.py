"""How far the write-ahead log reached for certain: a witness outside the log, which costs no second fsync.

SQLite reads a log up to the first frame that does not verify. After a power cut that is right for a transaction that
was being written; damage within the very last *durable* transaction looks the same, and would cost what was
confirmed. So after each commit, when the log is synced, a small file is told how many frames that were. It is not
synced itself: after a kill it is there, for the kernel has it; after a power cut it may be older, and then claims less.
It never claims too much, because it is written after what it speaks of.

    synced    of which log (its two salts), how many frames, when the database was last written, checksum

Before the log is emptied on purpose, at a start and at a clean stop, the file is voided and that is synced.
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
        """None: nothing is claimed. So is it if the file is damaged: it is a witness, and proves nothing by itself.

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
    """A commit is durable: say so. Two system calls.

    Args:
        fd: Of the file.
        index_fd: Of the index of the log.
        database_ns: When the database was last written.
    """
    frames, salts = INDEX.unpack(os.pread(index_fd, INDEX.size, 0))
    if not frames:
        return  # Nothing was to be changed, ever since the log was emptied.
    body = RECORD.pack(salts, frames, database_ns, 0)[:-4]
    os.pwrite(fd, body + zlib.crc32(body).to_bytes(4, "big"), 0)


def void(fd: int) -> None:
    """Claim nothing any more, durably: the log is about to be emptied."""
    os.pwrite(fd, VOID, 0)
    os.ftruncate(fd, len(VOID))
    os.fsync(fd)
