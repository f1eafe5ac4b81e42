"""The file of the write-ahead log grows in large steps, and the room behind the last frame is never taken for damage."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from qpidha.journal import Insert
from qpidha.stores import SqliteStore, inspect, logroom
from qpidha.stores.logroom import STEP_MAX, STEP_MIN, LogRoom
from qpidha.testing.conformance.changes import CREATE, QUEUE, STATUS, ids, insert, messages
from qpidha.wire.batch import Batch

COMMITS = 60


def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE])
    return store


def content(directory: Path) -> set[int]:
    """The messages of a copy of these files, which must not be damaged."""
    assert not inspect(directory).damage
    store = SqliteStore(directory)
    found = {id for image in store.open("a").queues for id in messages(image.held)}
    store.close(clean=True)
    return found


def test_few_commits_change_the_length_of_the_log(tmp_path: Path) -> None:
    store, log = opened(tmp_path / "store"), tmp_path / "store" / "store.db-wal"
    sizes = []
    for n in range(1, COMMITS + 1):
        store.commit([insert(ids((n, n)))])
        sizes.append(log.stat().st_size)
    steps = sorted(set(sizes))
    assert steps == [STEP_MIN, *range(STEP_MAX, steps[-1] + 1, STEP_MAX)]
    assert 2 < len(steps) < COMMITS / 10


def test_a_store_killed_before_or_after_any_commit_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: with new room and nothing in it."""
    store, provide = opened(tmp_path / "store"), LogRoom.provide
    copies: list[Path] = []

    def copied() -> None:
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(tmp_path / "store", copies[-1])

    def provided(room: LogRoom, nbytes: int, size: int) -> None:
        provide(room, nbytes, size)
        copied()

    monkeypatch.setattr(LogRoom, "provide", provided)
    for n in range(1, 21):
        store.commit([insert(ids((n, n)))])
        copied()
    monkeypatch.undo()
    found = [content(copy) for copy in copies]
    assert found == [set(range(1, n + more)) for n in range(1, 21) for more in (0, 1)]


def test_no_room_on_the_disk_for_zeros_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, write = opened(tmp_path / "store"), os.pwrite
    refused = 0

    def full(fd: int, data: bytes, at: int) -> int:
        nonlocal refused
        if len(data) >= STEP_MIN:
            refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, at)

    monkeypatch.setattr(logroom.os, "pwrite", full)
    os.truncate(tmp_path / "store" / "store.db-wal", 100_000)
    assert store._files is not None
    store._files.written()
    for n in range(1, 6):
        store.commit([insert(ids((n, n)))])
    assert refused
    monkeypatch.undo()
    store.close(clean=True)
    assert content(tmp_path / "store") == set(range(1, 6))


def test_a_commit_larger_than_a_step_gets_no_room(tmp_path: Path) -> None:
    log, index = tmp_path / "log", tmp_path / "index"
    index.write_bytes(bytes(64))
    with log.open("wb") as file, index.open("rb") as head:
        for room, nbytes, size in (
            (LogRoom(file.fileno(), head.fileno()), STEP_MAX + 1, 0),
            (LogRoom(file.fileno(), -1), 1, 0),
            (LogRoom(file.fileno(), head.fileno()), STEP_MAX, STEP_MIN),
        ):
            room.provide(nbytes, size)
            assert log.stat().st_size == (0 if size == 0 else 2 * STEP_MIN)


def test_room_is_made_before_a_transaction_writes_what_its_cache_does_not_hold(tmp_path: Path) -> None:
    """Zeros that are written later would lie over its first frames, and the store would be damaged."""
    store = SqliteStore(tmp_path / "store")
    store.memory_bytes_max = 1  # So the cache of pages is small.
    store.open("a")
    store.commit([STATUS, CREATE])
    large = Batch.pack([bytes([n]) * 100_000 for n in range(15)])
    for first in (100, 200, 300):
        store.commit([Insert(QUEUE, ids((first, first + 14)), large)])
    store.close(clean=False)
    assert not inspect(tmp_path / "store").damage
