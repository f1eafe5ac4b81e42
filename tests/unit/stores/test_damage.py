"""Damage to files is found or harmless: no crash, no wrong data, no silent loss (D3, D7)."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged, StoreError
from qpidha.journal import Insert, PutQueue, PutStatus, StoreState
from qpidha.stores import SqliteStore, inspect, read_status, sqlite
from qpidha.stores.report import Damage
from qpidha.testing.conformance.changes import (
    CLUSTER,
    CREATE,
    QUEUE,
    SPEC,
    STATUS,
    Plain,
    batch,
    ids,
    insert,
    plain,
    remove,
    some_commits,
)
from tests.support.stores import without_room

STEP_BYTES = 64


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory, if there is one: these tests open thousands of stores, and fsync costs nothing there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clean") / "store"
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    store.commit([Insert(QUEUE, ids((500, 520)), batch(ids((500, 520)))), remove(ids((510, 512)))])
    store.close(clean=True)
    return directory


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Plain]]:
    """A store killed after several commits, all still in the log; and the state after each commit."""
    directory = tmp_path_factory.mktemp("killed") / "store"
    store = SqliteStore(directory)
    store.open("a")
    states = [opened(directory, directory.parent / "s")]
    for changes in some_commits():
        store.commit(changes)
        states.append(opened(directory, directory.parent / "s"))
    copy = directory.parent / "copy"
    shutil.copytree(directory, copy)
    store.close(clean=True)
    without_room(copy)
    return copy, states


def opened(directory: Path, scratch: Path) -> Plain:
    """The content of the store after opening a copy of these files."""
    shutil.copytree(directory, scratch)
    return opened_here(scratch)


def opened_here(scratch: Path) -> Plain:
    store = SqliteStore(scratch)
    try:
        return plain(store.open("a"))
    finally:
        store.close(clean=False)
        shutil.rmtree(scratch)


def altered(
    directory: Path, name: str, change: Callable[[bytearray], object], scratch: Path, *, witness: bool = True
) -> Plain | None:
    """The content of the store after one file was changed, or None if the store refuses to open.

    ``witness``: keep the file that says how far the log was durable. It may be missing after a power cut.
    """
    shutil.copytree(directory, scratch / "copy")
    if not witness:
        (scratch / "copy" / "synced").unlink()
    raw = bytearray((directory / name).read_bytes())
    change(raw)
    (scratch / "copy" / name).write_bytes(raw)
    try:
        return opened_here(scratch / "copy")
    except StoreError:
        return None


def flip(at: int, bit: int) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[at] ^= 1 << bit

    return change


# --- bits and lengths --------------------------------------------------------------------------------


def test_flipped_bits_of_a_database(clean: Path, tmp_path: Path) -> None:
    """E16: the flipped bit is found, or it lies in an unused place."""
    expected, chance = opened(clean, tmp_path / "x"), random.Random(1)
    found = 0
    size = (clean / "store.db").stat().st_size
    for start in range(0, size, STEP_BYTES):
        at, bit = start + chance.randrange(STEP_BYTES), chance.randrange(8)
        result = altered(clean, "store.db", flip(at, bit), tmp_path)
        assert result in (None, expected), f"byte {at}, bit {bit}"
        found += result is None
    assert found > 10


def test_flipped_bits_where_the_messages_are(clean: Path, tmp_path: Path) -> None:
    """Checksums cover every byte of a payload and of a queue's row, wherever SQLite keeps the live copy."""
    expected, raw = opened(clean, tmp_path / "x"), (clean / "store.db").read_bytes()
    for words in (b"message 505", b"message 40", b"orders", b"mails", b"ring"):
        found = 0
        for place in re.finditer(words, raw):
            results = [altered(clean, "store.db", flip(at, at % 8), tmp_path) for at in range(*place.span())]
            assert all(result in (None, expected) for result in results)
            found += not any(results)
        assert found, words


def test_truncated_databases(clean: Path, tmp_path: Path) -> None:
    """A truncated file is noticed (E17), also at length 0 (E20)."""
    size = (clean / "store.db").stat().st_size
    for length in (*range(0, size, 4096), 1, 99, 100):

        def cut(raw: bytearray, length: int = length) -> None:
            del raw[length:]

        assert altered(clean, "store.db", cut, tmp_path) is None, length


@pytest.mark.parametrize("witness", [True, False])
def test_flipped_bits_of_a_log(killed: tuple[Path, list[Plain]], tmp_path: Path, witness: bool) -> None:
    """T36: without a witness the last commit may be cut as a torn write; commits synced before it are never cut."""
    directory, states = killed
    allowed = (None, states[-1]) if witness else (None, *states[-2:])
    size, chance = (directory / "store.db-wal").stat().st_size, random.Random(2)
    refused = 0
    for start in range(0, size, size // 300):
        at = min(start + chance.randrange(STEP_BYTES), size - 1)
        change = flip(at, chance.randrange(8))
        result = altered(directory, "store.db-wal", change, tmp_path, witness=witness)
        assert result in allowed, f"byte {at}"
        refused += result is None
    assert refused > 100
    for at in range(32):  # The header: if it is damaged, SQLite takes the whole log as empty.
        result = altered(directory, "store.db-wal", flip(at, 3), tmp_path, witness=witness)
        assert result in (None, states[-1])


def test_a_truncated_log_is_refused_or_gives_an_earlier_commit(
    killed: tuple[Path, list[Plain]], tmp_path: Path
) -> None:
    """E17: a log without its tail is refused or gives the state after an earlier commit, never a mixture of states."""
    directory, states = killed
    size = (directory / "store.db-wal").stat().st_size
    for length in range(0, size, 4001):

        def cut(raw: bytearray, length: int = length) -> None:
            del raw[length:]

        assert altered(directory, "store.db-wal", cut, tmp_path, witness=False) in states
        assert altered(directory, "store.db-wal", cut, tmp_path) in (None, states[-1])


def test_a_log_that_was_never_written(killed: tuple[Path, list[Plain]], tmp_path: Path) -> None:
    """E05: the log was extended with zeros. E04: its header is torn."""
    directory, states = killed
    for zeros in (20, 32, 20_000):

        def blank(raw: bytearray, zeros: int = zeros) -> None:
            raw[:] = bytes(zeros)

        assert altered(directory, "store.db-wal", blank, tmp_path, witness=False) == states[0]
        assert altered(directory, "store.db-wal", blank, tmp_path) is None


@pytest.mark.parametrize("name", ["identity", "lock", "synced"])
def test_flipped_bits_of_the_small_files(clean: Path, tmp_path: Path, name: str) -> None:
    expected = opened(clean, tmp_path / "x")
    for at in range((clean / name).stat().st_size):
        result = altered(clean, name, flip(at, at % 8), tmp_path)
        assert result in (None, expected)


# --- rows --------------------------------------------------------------------------------------------

ROWS = [
    ("DELETE FROM batches WHERE key = 1", "digest"),
    ("DELETE FROM queues WHERE name = 'orders'", "digest"),
    ("DELETE FROM dead", "digest"),
    ("DELETE FROM quarantine", "digest"),
    ("DELETE FROM status", "status"),
    ("UPDATE status SET state = 'clean', generation = 99", "status"),
    ("UPDATE queues SET next = next - 1", "queue"),
    ("UPDATE batches SET first = first + 1", "batch"),
    ("UPDATE batches SET queue = 3 - queue", "batch"),
    ("UPDATE batches SET data = (SELECT data FROM batches WHERE key = 2) WHERE key = 1", "batch"),
    ("UPDATE batches SET data = 7", "batch"),
    ("UPDATE dead SET ids = x'00'", "dead"),
    ("UPDATE quarantine SET generation = 9", "quarantine"),
    ("INSERT INTO dead SELECT 999, ids, crc FROM dead LIMIT 1", "dead"),
    ("DROP TABLE batches", "unreadable"),
    ("PRAGMA application_id = 1", "unreadable"),
    ("PRAGMA user_version = 0", "unreadable"),
    ("PRAGMA user_version = 18", "unreadable"),
]


@pytest.mark.parametrize(("sql", "code"), ROWS, ids=[sql[:30] for sql, _ in ROWS])
def test_changed_and_missing_rows(clean: Path, tmp_path: Path, sql: str, code: str) -> None:
    """E15, E18, T29: found even if SQLite itself reports no error."""
    copy = shutil.copytree(clean, tmp_path / "copy")
    db = sqlite3.connect(copy / "store.db", isolation_level=None)
    db.execute(sql)
    db.close()
    codes = {finding.code for finding in inspect(copy).damage}
    assert code in codes
    with pytest.raises(StoreDamaged):
        SqliteStore(copy).open("a")


@pytest.mark.parametrize(("words", "instead"), [(b"one = 1", b"oje = 1"), (b"detail TEXT", b"detail TUXT")])
def test_a_table_with_a_changed_definition(clean: Path, tmp_path: Path, words: bytes, instead: bytes) -> None:
    """Found at open, even if SQLite would notice it only at a write or not at all."""
    copy = shutil.copytree(clean, tmp_path / "copy")
    raw = (copy / "store.db").read_bytes()
    assert words in raw
    (copy / "store.db").write_bytes(raw.replace(words, instead))
    assert "unreadable" in {finding.code for finding in inspect(copy).damage}
    with pytest.raises(StoreDamaged):
        SqliteStore(copy).open("a")


def test_findings_name_the_messages(clean: Path, tmp_path: Path) -> None:
    """D3: the report names the queue and the range of message ids."""
    copy = shutil.copytree(clean, tmp_path / "copy")
    db = sqlite3.connect(copy / "store.db", isolation_level=None)
    db.execute("UPDATE batches SET data = zeroblob(20) WHERE first = 500")
    db.close()
    with pytest.raises(StoreDamaged, match="batch 7 of queue 'orders', 21 messages from id 500"):
        SqliteStore(copy).open("a")


# --- files that are gone -----------------------------------------------------------------------------


@pytest.mark.parametrize(("gone", "code"), [(["store.db"], "missing"), (["store.db", "identity"], None)])
def test_missing_files(clean: Path, tmp_path: Path, gone: list[str], code: str | None) -> None:
    """E21: an identity without a database is not an empty store."""
    copy = shutil.copytree(clean, tmp_path / "copy")
    for name in gone:
        (copy / name).unlink()
    if code is None:  # Nothing shows that there was a store.
        assert SqliteStore(copy).open("a").status.state is StoreState.EMPTY
        return
    assert [finding.code for finding in inspect(copy).damage] == [code]
    for look in (lambda: SqliteStore(copy).open("a"), lambda: read_status(copy)):
        with pytest.raises(StoreDamaged):
            look()


def test_a_log_without_its_database(killed: tuple[Path, list[Plain]], tmp_path: Path) -> None:
    copy = shutil.copytree(killed[0], tmp_path / "copy")
    (copy / "store.db").unlink()
    (copy / "identity").unlink()
    with pytest.raises(StoreDamaged, match="log is there"):
        SqliteStore(copy).open("a")


@pytest.mark.parametrize("content", [b"", b"random bytes " * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_files_that_are_not_databases(clean: Path, tmp_path: Path, content: bytes) -> None:
    """E20, B40: missing status with data around it is damage, not an empty store."""
    copy = shutil.copytree(clean, tmp_path / "copy")
    (copy / "store.db").write_bytes(content)
    with pytest.raises(StoreDamaged):
        SqliteStore(copy).open("a")
    assert inspect(copy).damage and inspect(copy).status is None
    with pytest.raises(StoreDamaged):
        read_status(copy)


def test_damage_is_remembered_and_the_evidence_kept(killed: tuple[Path, list[Plain]], tmp_path: Path) -> None:
    copy = shutil.copytree(killed[0], tmp_path / "copy")
    raw = bytearray((copy / "store.db-wal").read_bytes())
    raw[40_000] ^= 1
    (copy / "store.db-wal").write_bytes(raw)
    with pytest.raises(StoreDamaged):
        SqliteStore(copy).open("a")
    assert (copy / "store.db-wal").read_bytes() == raw
    (copy / "store.db-wal").write_bytes((killed[0] / "store.db-wal").read_bytes())
    with pytest.raises(StoreDamaged):
        SqliteStore(copy).open("a")
    status = read_status(copy)
    assert status.state is StoreState.DAMAGED
    report = inspect(copy)
    assert report.status == status and {finding.code for finding in report.damage} == {"wal"}
    (copy / "damaged").unlink()  # As an operator does to override the mark.
    assert plain(SqliteStore(copy).open("a")) == killed[1][-1]


def test_findings_are_formatted_with_their_code() -> None:
    assert str(Damage("digest", "2 queues were stored")) == "2 queues were stored [digest]"


def test_an_impossible_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "check_changes", lambda changes: None)
    for lineage, next in ((((2, 1), (1, 5)), 9), (((1, 5), (2, 4)), 9), (((1, 10),), 9), (((7, 1),), 9)):
        directory = tmp_path / f"{lineage}"
        store = SqliteStore(directory)
        store.open("a")
        store.commit([PutStatus(CLUSTER, 5, False), PutQueue(QUEUE, SPEC, lineage, next)])
        store.close(clean=True)
        assert [finding.code for finding in inspect(directory).damage] == ["lineage"]


def test_ids_above_next(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s")
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((4, 9)))])
    store.commit([PutQueue(QUEUE, SPEC, (), 8)])
    store.close(clean=True)
    assert "next" in {finding.code for finding in inspect(tmp_path / "s").damage}
