"""Any value in any column of any table: SQLite does not hold a column to its type, least of all in a damaged file.

A start and an inspection say so, or the place is one that no node reads. Compiled modules refuse a value of another
type than their annotations say, so what reads a row must be ready for all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged
from qpidha.stores import SqliteStore, inspect
from qpidha.stores.schema import checksum
from tests.storage.workload import COMMITS

RUN = 7
"""So many commits of the workload leave rows in all tables; later ones remove some."""
VALUES = (None, -1, 0, 2**63 - 1, 1.5, float("inf"), "text", b"", b"bytes")
HEADS = {
    "queues": "key, queue, name, settle, kind, lineage, next, held, digest",
    "batches": "key, queue, first, count, ids",
    "dead": "key, ids",
    "quarantine": "key, queue, name, generation, fate, ids",
}
"""What the checksum of a row covers, besides its messages."""
KEYED = (*HEADS, "status", "seal")


@pytest.fixture(scope="module")
def sound(memory: Path) -> bytes:
    """The database of a store with rows in all of these tables."""
    directory = memory / "values"
    store = SqliteStore(directory)
    store.open("a")
    for changes in COMMITS[:RUN]:
        store.commit(changes)
    store.close(clean=True)
    return (directory / "store.db").read_bytes()


def opened(place: Path, sound: bytes, change: Callable[[sqlite3.Connection], None]) -> bool:
    """Whether a store opens after this change. If not, the inspection finds why, too."""
    (place / "store.db").write_bytes(sound)
    with closing(sqlite3.connect(place / "store.db")) as db:
        change(db)
        db.commit()
    report = inspect(place)
    store = SqliteStore(place)
    try:
        store.open("a")
    except StoreDamaged:
        assert report.damage
        return False
    store.close(clean=False)
    assert not report.damage
    return True


def columns(table: str, sound: bytes, place: Path) -> list[str]:
    (place / "store.db").write_bytes(sound)
    with closing(sqlite3.connect(place / "store.db")) as db:
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0], (
            f"the workload leaves no row in {table}"
        )
        return [column[1] for column in db.execute(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("table", KEYED)
def test_a_key_that_is_none(place: Path, sound: bytes, table: str) -> None:
    """One flipped bit of its definition makes an ordinary column of the key of a table: SQLite has no value of it."""

    def flip(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA writable_schema = ON")
        changed = db.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'INTEGER PRIMARY', 'INTEGER QRIMARY') WHERE name = ?",
            [table],
        )
        assert changed.rowcount == 1

    assert not opened(place, sound, flip)


@pytest.mark.parametrize("table", HEADS)
@pytest.mark.parametrize("sealed", [False, True], ids=["", "with its checksum"])
def test_values_of_any_kind(place: Path, sound: bytes, table: str, sealed: bool) -> None:
    """With its checksum: as if a version that this one does not know had written the row."""
    refused = 0
    for column in columns(table, sound, place):
        for value in VALUES:

            def change(db: sqlite3.Connection, column: str = column, value: object = value) -> None:
                if column == "key" and type(value) is not int:
                    return  # SQLite itself holds a key to its type.
                (key,) = db.execute(f"SELECT min(key) FROM {table}").fetchone()
                db.execute(f"UPDATE {table} SET {column} = ? WHERE key = ?", (value, key))
                if sealed and column != "crc":
                    seal(db, table, value if column == "key" else key)

            refused += not opened(place, sound, change)
    assert refused > 20


def seal(db: sqlite3.Connection, table: str, key: object) -> None:
    """Give a row the checksum of the values it has."""
    has_data = table in ("batches", "quarantine")
    data = "data" if has_data else "x''"
    (*head, body) = db.execute(f"SELECT {HEADS[table]}, {data} FROM {table} WHERE key = ?", [key]).fetchone()
    if isinstance(body, bytes):
        db.execute(f"UPDATE {table} SET crc = ? WHERE key = ?", (checksum(tuple(head), body), key))


@pytest.mark.parametrize("table", HEADS)
def test_a_checksum_that_is_the_same_number_but_no_integer(place: Path, sound: bytes, table: str) -> None:
    """Equal numbers of two types: Python calls them equal, compiled modules do not."""

    def change(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'crc INTEGER', 'crc REAL') WHERE name = ?", [table]
        )

    assert not opened(place, sound, change)
