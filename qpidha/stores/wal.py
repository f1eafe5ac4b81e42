"""Finds lost transactions in a write-ahead log: SQLite stops at the first bad frame without an error.

After a power cut the last transaction may be torn: it was never synced, no caller was told that it is durable,
and it is right to drop it. Frames of the same log *behind* that transaction prove the opposite: they
were written after it had been synced, so it is damaged, and dropping it would lose messages that
were acknowledged (D3, scenario T36). For the very last transaction the proof is outside the log
(`qpidha.stores.synced`); if that file is older, as after a power cut, damage looks the same as a torn write.

A header is synced before its frames are written, so frames of a later log prove that a header was lost.
A damaged header is harmless in one case only: after a checkpoint SQLite restarts its log from the
beginning, and the disk accepts only a part of the new header. Then the database holds all of the log (`_spent`).

The format is SQLite's own, documented and stable ("WAL-mode File Format"): a header of 32 bytes, then
frames of 24 bytes and a page; two salts distinguish frames of this log from older ones. Everything is big-endian
except the words in the checksums, whose byte order the magic number gives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from qpidha.stores.files import Layout
from qpidha.stores.lock import reading
from qpidha.stores.report import Damage
from qpidha.stores.schema import PAGE_BYTES
from qpidha.stores.synced import Synced

HEADER = struct.Struct(">8I")
"""Magic, format, page size, checkpoint number, two salts, two checksums."""
FRAME = struct.Struct(">6I")
"""Page, size of the database in pages if it ends a transaction else 0, two salts, two checksums."""
MAGIC_LITTLE, MAGIC_BIG = 0x377F0682, 0x377F0683
MASK = 0xFFFFFFFF
STEP = FRAME.size + PAGE_BYTES
INDEX_FRAMES = struct.Struct("=I")
INDEX_FRAMES_AT = 16
"""Where the shared-memory index keeps the number of the last frame that SQLite accepted."""


def check_wal(layout: Layout) -> list[Damage]:
    """What is wrong with a log that SQLite has just recovered, and still has open. Empty: nothing.

    Changes nothing. O(frames); reads only their headers, unless the header of the log is damaged.
    """
    synced = Synced.read(layout.synced)
    if not layout.wal.exists():
        return []
    ours: list[Frame] = []
    with reading(layout.wal) as file:
        raw = file.read(HEADER.size)
        if len(raw) < HEADER.size:
            return _emptied(synced, layout)
        _, _, page_bytes, _, salt1, salt2, *_ = HEADER.unpack(raw)
        if not _header_valid(raw):
            # SQLite syncs the header before it writes a frame: without frames, nothing was ever in this log.
            if not any(file.read(FRAME.size)):
                return _emptied(synced, layout)
            if _spent(raw, file, layout.database):
                return []
            return [Damage("wal", "the header of the write-ahead log is damaged")]
        for number, (page, ends, frame_salt1, frame_salt2, _, _) in _frames(file, page_bytes):
            if (frame_salt1, frame_salt2) == (salt1, salt2):
                ours.append(Frame(number, page, ends != 0))
            elif frame_salt1 == (salt1 + 1) & MASK:  # Each log counts one more.
                return [
                    Damage(
                        "wal",
                        "the header of the write-ahead log is older than its frames, which are of a later log",
                    )
                ]
    accepted = _accepted(layout.shm)
    if accepted is None:
        return []
    if synced is not None and synced.salts == raw[16:24] and accepted < synced.frames:
        return [
            Damage(
                "wal",
                f"the write-ahead log can be read up to frame {accepted}, and was durable up to "
                f"{synced.frames}: its last transactions are damaged",
            )
        ]
    rest = [frame for frame in ours if frame.number > accepted]
    if _of_several_transactions(rest):
        return [
            Damage(
                "wal",
                f"the write-ahead log is damaged after frame {accepted}, and frames up to "
                f"{rest[-1].number} follow: transactions that were durable cannot be read",
            )
        ]
    return []


class Frame(NamedTuple):
    """What the head of a frame says."""

    number: int
    page: int
    ends: bool
    """It is the last one of a transaction."""


def _of_several_transactions(rest: list[Frame]) -> bool:
    """Whether these frames, none of which SQLite has accepted, are of more than one transaction.

    Then all but the last one were synced. Either a frame behind the end of a transaction shows it; or, if the broken
    frame is the one with the end, a page that occurs twice: a transaction has each page once. The frame with the end is
    an exception: it is added again if its page was written earlier for lack of memory. Every commit writes the page of
    the status.
    """
    end = next((frame.number for frame in rest if frame.ends), None)
    if end is not None and rest[-1].number > end:
        return True
    seen: set[int] = set()
    for frame in rest:
        if frame.page in seen and not frame.ends:
            return True
        seen.add(frame.page)
    return False


def _emptied(synced: Synced | None, layout: Layout) -> list[Damage]:
    """A log without a frame: was it never used or emptied in order, or has it lost what was durable?

    A process that empties it voids ``synced`` first. An older version does not, but writes to the database.
    """
    if synced is None or synced.database_ns != layout.database.stat().st_mtime_ns:
        return []
    return [
        Damage(
            "wal",
            f"the write-ahead log is empty, and had {synced.frames} frames that were durable: "
            "its transactions are gone",
        )
    ]


def _frames(file: BinaryIO, page_bytes: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The number and the head of every frame of the file, of this log or of an older one.

    Zeros are no frame: none was written there yet (`qpidha.stores.logroom`).
    """
    number, step = 0, FRAME.size + page_bytes
    while True:
        file.seek(HEADER.size + number * step)
        head = file.read(FRAME.size)
        if len(head) < FRAME.size:
            return
        number += 1
        if any(head):
            yield number, FRAME.unpack(head)


def running_sum(data: bytes, sums: tuple[int, int] = (0, 0), *, little: bool) -> tuple[int, int]:
    """SQLite's checksum of a header, or of a frame, which continues the checksum before it."""
    words = struct.unpack(f"{'<' if little else '>'}{len(data) // 4}I", data)
    one, two = sums
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & MASK
        two = (two + second + one) & MASK
    return one, two


def _header_valid(raw: bytes) -> bool:
    """SQLite's own checksum over the first 24 bytes."""
    magic, *_, one, two = HEADER.unpack(raw)
    if magic not in (MAGIC_LITTLE, MAGIC_BIG):
        return False
    return running_sum(raw[:24], little=magic == MAGIC_LITTLE) == (one, two)


def _spent(raw: bytes, file: BinaryIO, database: Path) -> bool:
    """Whether the database holds everything that is in a log whose header is half overwritten.

    SQLite overwrites a header in one situation only: all frames are in the database, which was synced, and
    no frame of the new log is written before the new header is synced. So no confirmed message needs the log,
    and SQLite is right to treat it as empty. But other damage looks the same. Therefore everything is checked:

    - The first frame must verify with the previous header, whose checksum it continues. So
    no later log had a frame: its first one would be in this place.
    - The frames of that log must be its first ones, without a gap, and end a transaction.
    - The last version of each page in the log must be in the database: then a replay would change nothing.

    All other frames are of older logs.
    """
    file.seek(HEADER.size)
    head, page = file.read(FRAME.size), file.read(PAGE_BYTES)
    if len(page) < PAGE_BYTES or not _follows_older_header(raw, head, page):
        return False
    salt1, salt2 = FRAME.unpack(head)[2:4]
    latest: dict[int, int] = {}
    count = pages = 0
    for number, (of, ends, frame_salt1, frame_salt2, _, _) in _frames(file, PAGE_BYTES):
        if (frame_salt1, frame_salt2) == (salt1, salt2):
            if number > count + 1:
                return False
            latest[of], count, pages = number, number, ends
        elif frame_salt1 == (salt1 + 1) & MASK:  # The log that the new header was for.
            return False
    if not pages:
        return False
    with reading(database) as db:
        return all(
            _page(db, (of - 1) * PAGE_BYTES) == _page(file, HEADER.size + number * STEP - PAGE_BYTES)
            for of, number in latest.items()
            if of <= pages
        )


def _follows_older_header(raw: bytes, head: bytes, page: bytes) -> bool:
    """Whether the first frame verifies with the header that was there before a part of this one overwrote it.

    The checkpoint number of the new header is one higher, and some or all of its bytes are written; the frame has the old
    salts.
    """
    magic, _, _, count, *_ = HEADER.unpack(raw)
    little = magic == MAGIC_LITTLE
    for more in (0, 1, 1 << 8, 1 << 16, 1 << 24):
        older = raw[:12] + struct.pack(">I", (count - more) & MASK) + head[8:16]
        sums = running_sum(head[:8] + page, running_sum(older, little=little), little=little)
        if sums == FRAME.unpack(head)[4:]:
            return True
    return False


def _page(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(PAGE_BYTES)


def _accepted(shm: Path) -> int | None:
    """The last frame that SQLite accepted; None where it keeps its index elsewhere."""
    try:
        with reading(shm) as file:
            raw = file.read(INDEX_FRAMES_AT + INDEX_FRAMES.size)
    except FileNotFoundError:
        return None
    if len(raw) < INDEX_FRAMES_AT + INDEX_FRAMES.size:
        return None
    return int(INDEX_FRAMES.unpack_from(raw, INDEX_FRAMES_AT)[0])
