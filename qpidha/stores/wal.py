"""Finds lost transactions in a write-ahead log: SQLite stops at the first bad frame and says nothing.

After a power cut the last transaction may be torn: it was never synced, nobody was told that it is durable,
and to cut it is right. Frames of the same log *behind* that transaction are proof of the opposite: they
were written after it had been synced, so what broke it is damage, and to cut it would lose messages that
were acknowledged (safety D3, scenario T36). Damage within the very last transaction cannot be told from a
torn write.

The format is SQLite's own, documented and stable ("WAL-mode File Format"): a header of 32 bytes, then
frames of 24 bytes and a page; two salts tell frames of this log from older ones. Everything is big-endian
except the words that are summed up, whose order the magic number tells.
"""

from __future__ import annotations

import struct
from pathlib import Path

from qpidha.stores.report import Damage

HEADER = struct.Struct(">8I")
"""Magic, format, page size, checkpoint number, two salts, two checksums."""
FRAME = struct.Struct(">6I")
"""Page, size of the database in pages if it ends a transaction else 0, two salts, two checksums."""
MAGIC_LITTLE, MAGIC_BIG = 0x377F0682, 0x377F0683
INDEX_FRAMES = struct.Struct("=I")
INDEX_FRAMES_AT = 16
"""Where the shared-memory index keeps the number of the last frame that SQLite accepted."""


def check_wal(wal: Path, shm: Path) -> list[Damage]:
    """What is wrong with a log that SQLite has just recovered, and still has open. Empty: nothing.

    Nothing is changed. O(frames), reading their headers only.
    """
    if not wal.exists():
        return []
    with wal.open("rb") as file:
        raw = file.read(HEADER.size)
        if len(raw) < HEADER.size:
            return []  # Never used, or torn before anything in it was durable.
        magic, _, page_bytes, _, salt1, salt2, *_ = HEADER.unpack(raw)
        if not _header_valid(raw, magic):
            # SQLite syncs the header before it writes a frame: without frames, nothing was ever in this log.
            rest_used = any(file.read(FRAME.size))
            return [Damage("wal", "the header of the write-ahead log is damaged")] if rest_used else []
        ours: list[tuple[int, bool]] = []
        number, step = 1, FRAME.size + page_bytes
        while len(head := file.read(FRAME.size)) == FRAME.size:
            _, ends, frame_salt1, frame_salt2, _, _ = FRAME.unpack(head)
            if (frame_salt1, frame_salt2) == (salt1, salt2):
                ours.append((number, ends != 0))
            file.seek(HEADER.size + number * step)
            number += 1
    accepted = _accepted(shm)
    if accepted is None:
        return []
    end_of_torn = next((n for n, ends in ours if n > accepted and ends), None)
    if end_of_torn is not None and ours[-1][0] > end_of_torn:
        return [
            Damage(
                "wal",
                f"the write-ahead log is damaged after frame {accepted}, and frames up to "
                f"{ours[-1][0]} follow: transactions that were durable cannot be read",
            )
        ]
    return []


def _header_valid(raw: bytes, magic: int) -> bool:
    """SQLite's own checksum over the first 24 bytes."""
    if magic not in (MAGIC_LITTLE, MAGIC_BIG):
        return False
    words = struct.unpack(("<" if magic == MAGIC_LITTLE else ">") + "6I", raw[:24])
    one = two = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return (one, two) == HEADER.unpack(raw)[6:]


def _accepted(shm: Path) -> int | None:
    """The last frame that SQLite accepted; None where it keeps its index elsewhere."""
    try:
        with shm.open("rb") as file:
            raw = file.read(INDEX_FRAMES_AT + INDEX_FRAMES.size)
    except FileNotFoundError:
        return None
    if len(raw) < INDEX_FRAMES_AT + INDEX_FRAMES.size:
        return None
    return int(INDEX_FRAMES.unpack_from(raw, INDEX_FRAMES_AT)[0])
