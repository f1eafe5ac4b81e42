"""E15, E16, E18: every page of a stored file flipped, zeroed, misdirected, or as it was before.

Either the damage is found or the place holds no data. A start never crashes and never shows other messages.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.cli import main
from qpidha.errors import StoreDamaged
from qpidha.journal import (
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
    Stage,
)
from qpidha.stores import SqliteStore, inspect
from qpidha.stores.schema import PAGE_BYTES
from qpidha.types import Fate, QueueSpec
from tests.storage.workload import (
    CLUSTER,
    COMMITS,
    LIVES,
    QUEUE,
    SPEC,
    batch,
    ids,
    image_digest,
    insert,
    plain,
)

HALF = PAGE_BYTES // 2
TABLES = ("status", "seal", "queues", "batches", "dead", "quarantine")
"""All tables that a node reads. The audit lines are only for operators."""
RUN = 7
"""Number of commits of the workload that are run: those after them remove the data of some pages."""


@pytest.fixture(scope="module")
def versions(memory: Path) -> list[bytes]:
    """The closed database file after each commit; the tests damage the last one."""
    directory = memory / "pages"
    found = []
    for changes in COMMITS[:RUN]:
        store = SqliteStore(directory)
        store.open("a")
        store.commit(
            [change for change in changes if not isinstance(change, Stage)]
        )  # That is removed again.
        store.close(clean=True)
        found.append((directory / "store.db").read_bytes())
    return found


@pytest.fixture(scope="module")
def store(memory: Path, versions: list[bytes]) -> Path:
    assert (memory / "pages" / "store.db").read_bytes() == versions[-1]
    return memory / "pages"


def roots(store: Path) -> dict[str, int]:
    """Return the number of the first page of each table, counted from 0."""
    with closing(sqlite3.connect(f"{(store / 'store.db').as_uri()}?mode=ro", uri=True)) as db:
        return {name: page - 1 for name, page in db.execute("SELECT name, rootpage FROM sqlite_master")}


def detected(store: Path, place: Path, raw: bytes) -> bool:
    """Whether a start refuses these bytes. If not, it must show what was stored."""
    copy = place / "copy"
    shutil.copytree(store, copy)
    (copy / "store.db").write_bytes(raw)
    try:
        report = inspect(copy)
        opened = SqliteStore(copy)
        try:
            image = opened.open("a")
        except StoreDamaged:
            assert report.damage, "the inspection must find what a start finds"
            return True
        opened.close(clean=False)
        assert not report.damage
        assert image_digest(image) == expected(store, place), plain(image)
        return False
    finally:
        shutil.rmtree(copy)


def expected(store: Path, place: Path) -> int:
    copy = place / "sound"
    shutil.copytree(store, copy)
    sound = SqliteStore(copy)
    digest = image_digest(sound.open("a"))
    sound.close(clean=False)
    shutil.rmtree(copy)
    return digest


def replaced(raw: bytes, at: int, by: bytes) -> bytes:
    return raw[:at] + by + raw[at + len(by) :]


def pages(raw: bytes) -> range:
    return range(len(raw) // PAGE_BYTES)


def page(raw: bytes, number: int) -> bytes:
    return raw[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]


@pytest.mark.timeout(3600)
def test_flipped_bits_of_every_page(store: Path, place: Path, versions: list[bytes], full: bool) -> None:
    raw, chance = versions[-1], random.Random(16)
    for number in pages(raw):
        offsets = [0, 1, 2, 3, 5, 7, 8, PAGE_BYTES - 1]  # SQLite keeps the type of the page here.
        offsets += [chance.randrange(PAGE_BYTES) for _ in range(1000 if full else 8)]
        for offset in offsets:
            at = number * PAGE_BYTES + offset
            detected(store, place, replaced(raw, at, bytes([raw[at] ^ 1 << chance.randrange(8)])))


def misdirected(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield databases with each page, or half of it, replaced by each other page, by zeros or by noise."""
    for to in pages(raw):
        for origin in pages(raw):
            if page(raw, to) != page(raw, origin):
                yield to, replaced(raw, to * PAGE_BYTES, page(raw, origin))
        yield to, replaced(raw, to * PAGE_BYTES, bytes(PAGE_BYTES))
        yield to, replaced(raw, to * PAGE_BYTES, random.Random(to).randbytes(PAGE_BYTES))
        yield to, replaced(raw, to * PAGE_BYTES + HALF, page(raw, (to + 1) % len(pages(raw)))[HALF:])


@pytest.mark.timeout(3600)
def test_misdirected_pages(store: Path, place: Path, versions: list[bytes]) -> None:
    """E15: a wrong page in the place of one that a node reads is always found."""
    found: dict[int, list[bool]] = {}
    for to, raw in misdirected(versions[-1]):
        found.setdefault(to, []).append(detected(store, place, raw))
    first = roots(store)
    for table in TABLES:
        assert any(found[first[table]]), table
    assert sum(map(sum, found.values())) > sum(map(len, found.values())) // 2


def test_pages_of_an_older_version(store: Path, place: Path, versions: list[bytes]) -> None:
    """E18: one page is replaced by its version from some commits ago. The first page of a table is always found."""
    raw, first = versions[-1], roots(store)
    for older in versions[:-1]:
        for number in pages(raw):
            if page(older, number) in (b"", page(raw, number)):
                continue
            found = detected(store, place, replaced(raw, number * PAGE_BYTES, page(older, number)))
            assert found or number not in [first[table] for table in TABLES], number


KEPT = ids((900, 901))
TOUCHES: dict[str, tuple[list[Change], list[Change]]] = {
    "generation": ([PutStatus(CLUSTER, 5, False)], [PutStatus(CLUSTER, 6, False)]),
    "messages": ([Insert(QUEUE, KEPT, batch(KEPT))], [Remove(QUEUE, KEPT)]),
    "next id": ([Skip(QUEUE, 950)], [Skip(QUEUE, 960)]),
    "lineage": (
        [PutQueue(QUEUE, SPEC, ((1, 1), (3, 4)), 960)],
        [PutQueue(QUEUE, SPEC, ((1, 1), (3, 4), (4, 950)), 960)],
    ),
    "quarantine": (
        [Quarantine(QUEUE, "orders", 4, KEPT, batch(KEPT), Fate.REWOUND)],
        [Release(QUEUE, 4, KEPT)],
    ),
    "queue": ([PutQueue(UUID(int=0xA3), QueueSpec(name="more"), (), 1)], [DropQueue(UUID(int=0xA3))]),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_page_of_any_earlier_commit(store: Path, place: Path, touch: str) -> None:
    """E18, B40: each page that two commits changed is replaced by its version before or between them.

    This covers a status older than its queues, and queues older than the status. Removed messages leave no trace,
    so an undetected old page could make the node assign an id twice.
    """
    copy = place / "touched"
    shutil.copytree(store, copy)
    seen = []
    for changes in ([], *TOUCHES[touch]):
        opened = SqliteStore(copy)
        opened.open("a")
        if changes:
            opened.commit(changes)
        opened.close(clean=False)
        opened.open("a")  # Move the content from the log into the database.
        opened.close(clean=False)
        seen.append((copy / "store.db").read_bytes())
    found = 0
    for older in seen[:-1]:
        for number in pages(older):
            raw = replaced(seen[-1], number * PAGE_BYTES, page(older, number))
            if contents(raw, place) != contents(seen[-1], place):
                assert detected(copy, place, raw), number
                found += 1
    assert found > 1, "the page of the status and at least one other page make a difference"


def contents(raw: bytes, place: Path) -> list[object]:
    """Return everything that a node reads, or the error."""
    (place / "rows.db").write_bytes(raw)
    with closing(sqlite3.connect(f"{(place / 'rows.db').as_uri()}?immutable=1", uri=True)) as db:
        try:
            return [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
        except sqlite3.DatabaseError as error:
            return [str(error)]


def test_truncated_at_every_page(store: Path, place: Path, versions: list[bytes]) -> None:
    """A truncated file is detected (E17)."""
    for number in pages(versions[-1]):
        for length in (number * PAGE_BYTES, number * PAGE_BYTES + HALF):
            assert detected(store, place, versions[-1][:length])


def test_truncated_inside_a_free_page_at_the_end(place: Path) -> None:
    """SQLite finds that a whole page is missing. The rest of a free page has no content: the store goes on without it."""
    directory = place / "free" / "store"
    store = SqliteStore(directory)
    store.open("a")
    for changes in LIVES[0][:1]:
        store.commit(changes)
    store.commit([insert(4, 13, 6000)])
    store.commit([Remove(QUEUE, ids((4, 13)))])
    store.close(clean=True)
    database = directory / "store.db"
    raw = database.read_bytes()
    with closing(sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA freelist_count").fetchone()[0] > 1
    database.write_bytes(raw[:-PAGE_BYTES])
    assert inspect(directory).damage
    database.write_bytes(raw[:-HALF])
    assert not inspect(directory).damage
    store = SqliteStore(directory)
    store.open("a")
    store.commit([insert(20, 29, 6000)])  # Uses the free pages again.
    store.close(clean=True)
    report = inspect(directory)
    assert not report.damage and [q.held for q in report.queues] == [10]


def test_the_inspect_command_reports_the_damage(
    store: Path, place: Path, versions: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """`qpidha store inspect` returns the exit code for damage, for each table."""
    assert main(["store", "inspect", str(store)]) == 0
    for table in TABLES:
        copy = place / table
        shutil.copytree(store, copy)
        at = roots(store)[table] * PAGE_BYTES
        (copy / "store.db").write_bytes(replaced(versions[-1], at, bytes(PAGE_BYTES)))
        capsys.readouterr()
        assert main(["store", "inspect", str(copy)]) == 1, table
        assert "DAMAGED" in capsys.readouterr().out
