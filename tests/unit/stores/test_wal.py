"""A half-written header of the write-ahead log: SQLite restarts its log while the disk is full (E10, T36)."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged
from qpidha.journal import StoreState
from qpidha.stores import SqliteStore, inspect
from qpidha.stores.schema import PAGE_BYTES
from qpidha.stores.wal import FRAME, HEADER, MAGIC_LITTLE, MASK, running_sum
from qpidha.testing.conformance.changes import CREATE, STATUS, Plain, ids, insert, plain
from tests.support.stores import some_commits, without_room

STEP = FRAME.size + PAGE_BYTES


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Plain]:
    """A store killed before a checkpoint, the same store killed after it, and its content."""
    directory = tmp_path_factory.mktemp("life") / "store"
    before, after = directory.with_name("before"), directory.with_name("after")
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    shutil.copytree(directory, before)
    assert store._db is not None
    store._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    shutil.copytree(directory, after)
    store.close(clean=False)
    for copy in (before, after):
        without_room(copy)
    again = SqliteStore(directory)
    content = plain(again.open("a"))
    again.close(clean=False)
    return before, after, content


def next_header(raw: bytes) -> bytes:
    """The header that SQLite writes over this one when it restarts the log.

    SQLite chooses the second salt by chance. Here it is one with which the last byte differs from the old one: else a
    header that is written up to this byte would be whole.
    """
    magic, version, page_bytes, count, salt, *_ = HEADER.unpack(raw[: HEADER.size])
    for chosen in (0x01010101 * byte for byte in range(256)):
        head = HEADER.pack(magic, version, page_bytes, (count + 1) & MASK, (salt + 1) & MASK, chosen, 0, 0)[
            :24
        ]
        header = head + struct.pack(">2I", *running_sum(head, little=magic == MAGIC_LITTLE))
        if header[-1] != raw[HEADER.size - 1]:
            return header
    raise AssertionError("256 salts with one last byte")


def altered(directory: Path, to: Path, change: Callable[[bytearray], object]) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(directory, to)
    raw = bytearray((to / "store.db-wal").read_bytes())
    change(raw)
    (to / "store.db-wal").write_bytes(raw)
    return to


def half(raw: bytearray, length: int = 16) -> None:
    raw[:length] = next_header(raw)[:length]


@pytest.mark.parametrize("length", range(1, 33))
def test_a_checkpointed_log_needs_no_header(
    life: tuple[Path, Path, Plain], tmp_path: Path, length: int
) -> None:
    copy = altered(life[1], tmp_path / "copy", lambda raw: half(raw, length))
    assert not inspect(copy).damage
    store = SqliteStore(copy)
    image = store.open("a")
    assert plain(image) == life[2] and image.status.state is StoreState.DIRTY
    store.commit([insert(ids((900, 901)))])
    store.close(clean=False)
    assert not inspect(copy).damage


def test_the_disk_is_still_full_at_the_next_start(life: tuple[Path, Path, Plain], tmp_path: Path) -> None:
    """The old log is removed before anything else is written, so that no frames follow a half-written header."""
    copy = altered(life[1], tmp_path / "copy", half)
    SqliteStore(copy).open("a")
    old = (life[1] / "store.db-wal").read_bytes()
    assert old[HEADER.size : HEADER.size + FRAME.size] not in (copy / "store.db-wal").read_bytes()


@pytest.mark.parametrize("length", range(13, 32))
def test_a_log_without_a_checkpoint_needs_its_header(
    life: tuple[Path, Path, Plain], tmp_path: Path, length: int
) -> None:
    """A power cut or a full disk cannot cause this: the header was damaged, and confirmed commits depend on it."""
    copy = altered(life[0], tmp_path / "copy", lambda raw: half(raw, length))
    if length < 16 and (copy / "store.db-wal").read_bytes() == (life[0] / "store.db-wal").read_bytes():
        return  # The written bytes equal the old ones.
    assert {finding.code for finding in inspect(copy).damage} == {"wal"}
    with pytest.raises(StoreDamaged, match="header of the write-ahead log"):
        SqliteStore(copy).open("a")


def frame(number: int, at: int = 0) -> int:
    """The offset of byte `at` of a frame; frames are counted from 1."""
    return HEADER.size + (number - 1) * STEP + at


def newer_frame(raw: bytearray) -> None:
    """Append one frame of the log that the next header belongs to."""
    head = bytearray(raw[frame(1) : frame(2)])
    head[8:12] = struct.pack(">I", HEADER.unpack(raw[:32])[4] + 1)
    raw += head


DOUBTS: dict[str, Callable[[bytearray], object]] = {
    "no header": lambda raw: raw.__setitem__(slice(0, 32), bytes(32)),
    "first frame": lambda raw: raw.__setitem__(frame(1, 100), raw[frame(1, 100)] ^ 1),
    "first salt": lambda raw: raw.__setitem__(frame(1, 8), raw[frame(1, 8)] ^ 1),
    "first frame gone": lambda raw: raw.__delitem__(slice(HEADER.size + 100, None)),
    "a salt in the middle": lambda raw: raw.__setitem__(frame(3, 8), raw[frame(3, 8)] ^ 1),
    "the last frame": lambda raw: raw.__delitem__(slice(len(raw) - 1, None)),
    "a transaction without end": lambda raw: raw.__setitem__(
        slice(len(raw) - STEP + 4, len(raw) - STEP + 8), bytes(4)
    ),
    "a newer log": newer_frame,
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_any_doubt_is_damage(life: tuple[Path, Path, Plain], tmp_path: Path, doubt: str) -> None:
    """The header is half-written, and the rest of the log is not as SQLite leaves it."""

    def change(raw: bytearray) -> None:
        half(raw)
        DOUBTS[doubt](raw)

    with pytest.raises(StoreDamaged, match="header of the write-ahead log"):
        SqliteStore(altered(life[1], tmp_path / "copy", change)).open("a")


def rewritten(raw: bytearray, *, count: int | None = None, salt: int | None = None) -> None:
    """Give the log another number or first salt: the checksums of the frames are chained to that of the header."""
    magic, version, page_bytes, old_count, old_salt, second = HEADER.unpack(raw[:32])[:6]
    little = magic == MAGIC_LITTLE
    salts = old_salt if salt is None else salt, second
    head = struct.pack(">6I", magic, version, page_bytes, old_count if count is None else count, *salts)
    sums = running_sum(head, little=little)
    raw[:32] = head + struct.pack(">2I", *sums)
    for number in range(1, (len(raw) - HEADER.size) // STEP + 1):
        content = raw[frame(number) : frame(number, 8)] + raw[frame(number, 24) : frame(number + 1)]
        sums = running_sum(content, sums, little=little)
        raw[frame(number, 8) : frame(number, 24)] = struct.pack(">4I", *salts, *sums)


@pytest.mark.parametrize("count", [0, 0xFE, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF])
def test_checkpoints_are_counted_in_several_bytes(
    life: tuple[Path, Path, Plain], tmp_path: Path, count: int
) -> None:
    """The sequence number of the previous log is recovered, whichever of its bytes were overwritten."""

    def renumber(raw: bytearray, length: int) -> None:
        rewritten(raw, count=count)
        half(raw, length)

    for length in (13, 14, 15, 16):
        copy = altered(life[1], tmp_path / "copy", lambda raw, length=length: renumber(raw, length))
        store = SqliteStore(copy)
        assert plain(store.open("a")) == life[2]
        store.close(clean=False)


@pytest.mark.parametrize("salt", [1, MASK])
def test_zeros_behind_the_last_frame_are_not_of_a_later_log(
    life: tuple[Path, Path, Plain], tmp_path: Path, salt: int
) -> None:
    """The salt after the highest one is 0, as in a frame that was never written."""

    def change(raw: bytearray) -> None:
        rewritten(raw, salt=salt)
        raw += bytes(20 * STEP)

    copy = altered(life[0], tmp_path / "copy", change)
    for name in ("store.db-shm", "synced"):  # They tell of the log as it was.
        (copy / name).unlink()
    assert not inspect(copy).damage
    assert plain(SqliteStore(copy).open("a")) == life[2]


def test_an_old_header_does_not_hide_a_newer_log(tmp_path: Path) -> None:
    """E14: the old header is intact, but all old frames are gone. A power cut cannot cause this."""
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((4, 9)))])
    without_room(tmp_path / "store")
    assert store._db is not None
    store._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert store._files is not None
    store._files.written()
    log = tmp_path / "store" / "store.db-wal"
    header, length = log.read_bytes()[:32], log.stat().st_size
    for first in range(10, 30, 2):
        store.commit([insert(ids((first, first + 1)))])
    store.close(clean=False)
    raw = log.read_bytes()
    assert raw[:32] != header and len(raw) > length
    log.write_bytes(header + raw[32:])
    assert {finding.code for finding in inspect(tmp_path / "store").damage} == {"wal"}
    with pytest.raises(StoreDamaged, match="later log"):
        SqliteStore(tmp_path / "store").open("a")
