"""No confirmed transaction is cut off the log: later frames show that one was damaged, the witness does so for the last.

Method: the files of a killed process with one fault in the log; the witness is intact, older, damaged or gone.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged
from qpidha.journal import StoreState
from qpidha.stores import SqliteStore, inspect
from qpidha.stores import sqlite as sqlite_store
from qpidha.stores.offline import unused
from qpidha.stores.schema import PAGE_BYTES
from qpidha.stores.synced import RECORD, VOID, Synced
from qpidha.stores.wal import FRAME, HEADER
from qpidha.testing.conformance.changes import CREATE, STATUS, ids, insert, messages
from tests.support.stores import without_room

STEP = FRAME.size + PAGE_BYTES
LAST = 8


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with eight commits of one message each, killed."""
    directory = tmp_path_factory.mktemp("life") / "store"
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE])
    for n in range(1, LAST + 1):
        store.commit([insert(ids((n, n)))])
    copy = directory.with_name("killed")
    shutil.copytree(directory, copy)
    store.close(clean=False)
    (copy / "store.db-shm").unlink()
    without_room(copy)
    return copy


def copied(killed: Path, to: Path, change: Callable[[bytearray], object] = lambda raw: None) -> Path:
    shutil.copytree(killed, to)
    raw = bytearray((to / "store.db-wal").read_bytes())
    change(raw)
    (to / "store.db-wal").write_bytes(raw)
    return to


def ends(raw: bytearray) -> list[int]:
    """The offset of the last frame of each transaction."""
    starts = range(HEADER.size, len(raw) - STEP + 1, STEP)
    return [at for at in starts if struct.unpack_from(">I", raw, at + 4)[0]]


def flip(at: int) -> Callable[[bytearray, int], None]:
    def change(raw: bytearray, frame: int) -> None:
        raw[frame + at] ^= 1

    return change


def zero(length: int) -> Callable[[bytearray, int], None]:
    def change(raw: bytearray, frame: int) -> None:
        raw[frame : frame + length] = bytes(length)

    return change


FAULTS: dict[str, Callable[[bytearray, int], None]] = {
    "page number": flip(3),
    "size": flip(7),
    "salt": flip(8),
    "sum": flip(16),
    "page": flip(FRAME.size + 100),
    "header gone": zero(FRAME.size),
    "frame gone": zero(STEP),
}


def opened(directory: Path) -> set[int]:
    """The messages that are there. Raises StoreDamaged."""
    store = SqliteStore(directory)
    try:
        return set(messages(store.open("a").queues[0].held))
    finally:
        store.close(clean=False)


@pytest.mark.parametrize("witness", [True, False], ids=["witness", "no witness"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("back", [2, 3, 5])
def test_a_broken_commit_frame_before_other_transactions_is_damage(
    killed: Path, tmp_path: Path, back: int, fault: str, witness: bool
) -> None:
    """Each fault of the commit frame is damage, because transactions follow it."""
    copy = copied(killed, tmp_path / "copy", lambda raw: FAULTS[fault](raw, ends(raw)[-back]))
    if not witness:
        (copy / "synced").unlink()
    assert [finding.code for finding in inspect(copy).damage] == ["wal"]
    with pytest.raises(StoreDamaged, match="the write-ahead log"):
        opened(copy)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_witness_shows_damage_of_the_last_transaction(killed: Path, tmp_path: Path, fault: str) -> None:
    """Inspecting the store does not hide the damage, although each inspection rebuilds SQLite's index of the log."""
    copy = copied(killed, tmp_path / "copy", lambda raw: FAULTS[fault](raw, ends(raw)[-1]))
    for _ in range(2):
        assert [finding.code for finding in inspect(copy).damage] == ["wal"]
    with pytest.raises(StoreDamaged, match=r"was durable up to [0-9]+: its last transactions are damaged"):
        opened(copy)


def cut(raw: bytearray) -> None:
    del raw[ends(raw)[-2] + STEP :]


@pytest.mark.parametrize("length", [0, 10, HEADER.size, HEADER.size + STEP])
def test_the_witness_shows_that_the_log_was_cut(killed: Path, tmp_path: Path, length: int) -> None:
    copy = copied(killed, tmp_path / "copy", lambda raw: raw.__delitem__(slice(length, None)))
    with pytest.raises(StoreDamaged, match=r"the write-ahead log (is empty, and had|can be read up to)"):
        opened(copy)


def older(path: Path) -> None:
    """As after a power cut: the witness itself is not synced."""
    raw = path.read_bytes()
    salts, frames, changed, _ = RECORD.unpack(raw)
    body = RECORD.pack(salts, frames - 3, changed, 0)[:-4]
    path.write_bytes(body + __import__("zlib").crc32(body).to_bytes(4, "big"))


WITNESSES: dict[str, Callable[[Path], object]] = {
    "older": older,
    "gone": lambda path: path.unlink(),
    "void": lambda path: path.write_bytes(VOID),
    "damaged": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "long": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "huge": lambda path: path.write_bytes(bytes(100_000)),
    "a link": lambda path: (path.rename(path.with_name("kept")), path.symlink_to("kept")),
}


@pytest.mark.parametrize("witness", sorted(set(WITNESSES) - {"a link"}))
@pytest.mark.parametrize("change", [cut, *(lambda raw, f=f: f(raw, ends(raw)[-1]) for f in FAULTS.values())])
def test_without_a_witness_a_torn_end_is_cut(
    killed: Path, tmp_path: Path, witness: str, change: Callable[[bytearray], None]
) -> None:
    """A power cut may leave a torn end, and the store must open without help. A damaged witness proves nothing."""
    copy = copied(killed, tmp_path / "copy", change)
    WITNESSES[witness](copy / "synced")
    assert opened(copy) == set(range(1, LAST))


@pytest.mark.parametrize("witness", WITNESSES)
def test_a_bad_witness_of_an_intact_log_is_not_damage(killed: Path, tmp_path: Path, witness: str) -> None:
    copy = copied(killed, tmp_path / "copy")
    WITNESSES[witness](copy / "synced")
    assert not inspect(copy).damage
    if witness != "a link":  # A link is never followed for writing, so the store does not open.
        assert opened(copy) == set(range(1, LAST + 1))


def test_a_witness_of_a_log_emptied_in_order_is_not_damage(tmp_path: Path) -> None:
    """The witness of an earlier log proves nothing, for example if an older version has opened the store since."""
    directory = tmp_path / "store"
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((1, 9)))])
    kept = (directory / "synced").read_bytes()
    store.close(clean=True)
    assert (directory / "synced").read_bytes() == VOID
    store.open("a")
    assert Synced.read(directory / "synced") is None
    store.close(clean=False)
    (directory / "synced").write_bytes(kept)
    assert not inspect(directory).damage
    assert opened(directory) == set(range(1, 10))


def test_the_witness_follows_the_log_through_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each commit, a kill leaves a witness that matches the readable part of the log."""
    monkeypatch.setattr(sqlite_store, "CHECKPOINT_BYTES", 100_000)
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    store.commit([STATUS, CREATE])
    for n in range(1, 16):
        store.commit([insert(ids((n, n)))])
        raw = (tmp_path / "store" / "store.db-wal").read_bytes()
        found = Synced.read(tmp_path / "store" / "synced")
        assert found is not None and found.salts == raw[16:24]
        copy = tmp_path / f"copy-{n}"
        shutil.copytree(tmp_path / "store", copy)
        assert opened(copy) == set(range(1, n + 1))
    store.close(clean=True)
    assert left(tmp_path / "store") is StoreState.CLEAN


def test_an_empty_commit_writes_no_witness(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    store.commit([STATUS, CREATE])
    store.close(clean=True)
    store.open("a")
    store.commit([])
    assert Synced.read(tmp_path / "store" / "synced") is None
    store.close(clean=False)
    assert not inspect(tmp_path / "store").damage


def left(directory: Path) -> StoreState | None:
    status = inspect(directory).status
    return None if status is None else status.state


def test_the_witness_is_voided_before_the_log_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The void is synced first; otherwise a power cut could leave a witness of a log that was emptied on purpose."""
    done: list[str] = []
    void, checkpoint, fsync = sqlite_store.void, sqlite_store.checkpoint, os.fsync

    def say(what: str, call: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments: (done.append(what), call(*arguments))[1]

    monkeypatch.setattr(sqlite_store, "void", say("void", void))
    monkeypatch.setattr(sqlite_store, "checkpoint", say("empty", checkpoint))
    monkeypatch.setattr(os, "fsync", say("sync", fsync))
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    assert done.index("void") < done.index("empty")
    assert "sync" in done[done.index("void") : done.index("empty")]
    store.commit([STATUS, CREATE])
    done.clear()
    store.close(clean=True)
    assert done == ["void", "sync", "empty", "empty"]


def test_a_directory_without_a_database_can_be_locked(tmp_path: Path) -> None:
    """A start was interrupted before it created the database."""
    (tmp_path / "lock").touch()
    with unused([tmp_path]):
        pass
