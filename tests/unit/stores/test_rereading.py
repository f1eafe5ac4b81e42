"""Messages of an open store that are read again: any of them, verified, while others are committed."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import ForkedError, StoreDamaged, StoreFailed
from qpidha.journal import DropQueue
from qpidha.stores import SqliteStore, rereading
from qpidha.testing.conformance.changes import CREATE, QUEUE, STATUS, batch, ids, insert, payload, remove

KEY = 1


def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory)
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((1, 3), (7, 9))), insert(ids(5, 12))])
    return store


def test_rows_that_lie_in_one_another_are_read_in_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.read(QUEUE, ids((1, 3), 5, (7, 9), 12)) == batch(ids((1, 3), 5, (7, 9), 12))
    assert store.read(QUEUE, ids(2, 5)) == batch(ids(2, 5))
    store.commit([remove(ids(1, 8))])
    assert store.read(QUEUE, ids(2, 3, 7, 9)) == batch(ids(2, 3, 7, 9))
    store.close(clean=True)


def test_what_is_gone_or_was_never_there_is_a_failure(tmp_path: Path) -> None:
    for n, wanted in enumerate((ids(4), ids(3, 4), ids(99))):
        store = opened(tmp_path / str(n))
        with pytest.raises(StoreFailed, match="is not in"):
            store.read(QUEUE, wanted)
        with pytest.raises(StoreFailed, match=r"an earlier commit, read .* failed: message"):
            store.commit([remove(ids(1))])
        store.close(clean=True)
        assert store.read_status().state.value == "dirty"
    store = opened(tmp_path / "dropped")
    store.commit([DropQueue(QUEUE)])
    with pytest.raises(StoreFailed, match="is not in"):
        store.read(QUEUE, ids(1))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batches SET data = zeroblob(length(data)) WHERE key = 1",
        "UPDATE batches SET data = NULL WHERE key = 1",
        "UPDATE batches SET crc = crc + 1 WHERE key = 1",
        "DELETE FROM batches WHERE key = 1",
    ],
)
def test_a_damaged_row_is_noticed_by_its_checksum(tmp_path: Path, damage: str) -> None:
    store = opened(tmp_path)
    assert store._db is not None
    store._db.execute(damage)
    with pytest.raises(StoreDamaged, match="messages 1 to 9, is missing or fails its checksum"):
        store.read(QUEUE, ids(1))
    store.close(clean=False)


def test_another_message_in_its_place_is_noticed_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store._db is not None
    store._db.execute("UPDATE batches SET data = ? WHERE key = 1", (batch(ids((2, 7))).raw,))
    with pytest.raises(StoreDamaged, match="fails its checksum"):
        store.read(QUEUE, ids(1))


def test_bytes_with_a_right_checksum_that_are_no_batch_are_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    assert store._db is not None and store._contents is not None
    row = store._contents.queues[QUEUE].rows.find(1)
    assert row is not None
    monkeypatch.setattr(rereading, "checksum", lambda *row_and_data: row.digest)
    store._db.execute("UPDATE batches SET data = x'00' WHERE key = 1")
    with pytest.raises(StoreDamaged):
        store.read(QUEUE, ids(1))


def test_a_second_reading_that_verifies_is_right(tmp_path: Path) -> None:
    store = opened(tmp_path)
    reading = store._reading
    assert reading is not None
    db, first = reading._db, [[]]

    class Failing:
        def execute(self, *asked: Any) -> Any:
            return type(
                "Rows", (), {"fetchall": lambda self: first.pop() if first else db.execute(*asked).fetchall()}
            )()

    reading._db = Failing()  # type: ignore[assignment]
    assert store.read(QUEUE, ids(1)) == batch(ids(1))


def test_a_failing_disk_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store._reading is not None

    class Failing:
        def execute(self, *asked: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

    store._reading._db = Failing()  # type: ignore[assignment]
    with pytest.raises(StoreFailed, match="disk I/O error"):
        store.read(QUEUE, ids(1))


def test_a_store_that_is_not_open_or_was_forked_reads_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreFailed, match="not open"):
        store.read(QUEUE, ids(1))
    store.forked()
    with pytest.raises(ForkedError):
        store.read(QUEUE, ids(1))


def test_reading_goes_on_while_another_thread_commits(tmp_path: Path) -> None:
    store = opened(tmp_path)
    over = threading.Event()

    def commit() -> None:
        for id in range(20, 420):
            store.commit([insert(ids(id)), remove(ids(id - 1))])
        over.set()

    thread = threading.Thread(target=commit)
    thread.start()
    while not over.is_set():
        assert store.read(QUEUE, ids(3, 5)) == batch(ids(3, 5))
    thread.join()
    assert store.read(QUEUE, ids(419)).data(0) == payload(419)
    store.close(clean=True)
    assert [list(of) for q in SqliteStore(tmp_path).open("a").queues for of, _ in q.held]


def test_a_start_with_a_limit_keeps_no_more_than_that(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close(clean=True)
    store = SqliteStore(tmp_path)
    store.memory_bytes_max = 0
    image = store.open("a")
    (queue,) = image.queues
    assert [found for _, found in queue.held._pieces] == [None, None]  # type: ignore[attr-defined]
    assert [(list(of), list(found)) for of, found in queue.held] == [
        (some, [payload(id) for id in some]) for some in ([1, 2, 3, 7, 8, 9], [5, 12])
    ]
    store.close(clean=True)
