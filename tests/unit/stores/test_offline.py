"""The status of a store, read without opening it: invalid rows, and disks that do not answer (D3, D7)."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest

from qpidha.errors import StoreDamaged, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import StoreState, StoreStatus
from qpidha.stores import SqliteStore, database, inspect, offline, read_audit, read_status
from qpidha.stores.loader import Loaded
from qpidha.stores.offline import read_image, unused
from qpidha.stores.report import AuditLine, Damage
from qpidha.stores.schema import (
    Tally,
    Value,
    checksum,
    decode_lineage,
    lineage_fault,
    read_status_row,
    status_row,
)
from tests.support.stores import some_commits

EPOCH = UUID(int=2)
STATUS = StoreStatus(node="a", epoch=EPOCH, cluster=UUID(int=1), generation=3, state=StoreState.CLEAN)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = SqliteStore(tmp_path / "store")
    made.open("a")
    for changes in some_commits():
        made.commit(changes)
    made.close(clean=True)
    return tmp_path / "store"


# --- the row -------------------------------------------------------------------------------------------


def test_a_status_row_is_read_back() -> None:
    assert read_status_row(status_row(STATUS, Tally(2, 5, 7))) == (STATUS, Tally(2, 5, 7))


def test_a_status_of_format_1_has_no_digest_of_the_queues() -> None:
    older = (*status_row(STATUS, Tally(2, 5, 7))[:9], 7)
    assert read_status_row((*older, checksum(older))) == (STATUS, Tally(2, None, 7))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (1, 7),
        (1, b"a"),
        (2, None),
        (2, 7),
        (2, b"short"),
        (4, "3"),
        (4, None),
        (6, "fine"),
        (8, None),
        (9, b"5"),
        (9, None),
        (10, b"7"),
    ],
)
def test_a_status_with_a_value_of_a_wrong_type_is_refused(column: int, value: Value) -> None:
    """The checksum is valid: the row was written with the wrong value."""
    row = list(status_row(STATUS, Tally(2, 5, 7))[:-1])
    row[column] = value
    with pytest.raises(ValueError):  # noqa: PT011 - each check has its own message
        read_status_row((*row, checksum(tuple(row))))


@pytest.mark.parametrize("column", range(11))
def test_a_changed_value_fails_the_checksum(column: int) -> None:
    row = list(status_row(STATUS, Tally(2, 5, 7)))
    row[column] = "changed"
    with pytest.raises(ValueError, match="checksum"):
        read_status_row(tuple(row))


@pytest.mark.parametrize("entries", [["ab"], [(1, "1")], [(None, 1)], [(1, 2, 3)], 7])
def test_malformed_lineages_are_refused(entries: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode_lineage(msgpack.packb(entries))


@pytest.mark.parametrize(
    ("lineage", "fault"),
    [
        (((1, 1), (1, 2)), "its generations do not ascend"),
        (((1, 5), (2, 1)), "its first ids descend"),
        (((1, 11),), "above the next id 10"),
        (((1, 1), (4, 2)), "the status only 3"),
        (((1, 1), (3, 10)), None),
        ((), None),
    ],
)
def test_faults_of_lineages(lineage: tuple[tuple[int, int], ...], fault: str | None) -> None:
    found = lineage_fault(lineage, 10, 3)
    assert found is None if fault is None else fault in str(found)


# --- without opening it --------------------------------------------------------------------------------


def test_a_store_that_never_existed_and_one_that_was_removed(tmp_path: Path, store: Path) -> None:
    for look in (read_status, inspect, read_audit):
        with pytest.raises(StoreMismatch, match="there is no store"):
            look(tmp_path / "nowhere")
    (store / "store.db").unlink()
    for look in (read_status, read_audit):
        with pytest.raises(StoreDamaged, match="its messages are gone"):
            look(store)
    assert inspect(store).status is None
    assert [finding.code for finding in inspect(store).damage] == ["missing"]


def test_stores_that_are_inspected_together_cannot_be_started_meanwhile(tmp_path: Path, store: Path) -> None:
    """If one of several stores cannot be locked, none stays locked."""
    used = SqliteStore(store)
    with unused([store]), pytest.raises(StoreLocked):
        used.open("a")
    with (
        pytest.raises(StoreMismatch, match="there is no store in"),
        unused([store, tmp_path / "nowhere"]),
    ):
        pass
    used.open("a")
    with pytest.raises(StoreLocked), unused([store]):
        pass
    used.close(clean=True)


def test_a_database_without_a_status_is_damaged(store: Path) -> None:
    with closing(sqlite3.connect(store / "store.db")) as db:
        db.execute("DELETE FROM status")
        db.commit()
    with pytest.raises(StoreDamaged, match=r"the status of .* cannot be read"):
        read_status(store)


def test_a_disk_that_does_not_answer_is_not_called_damage(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another connection locks the database: it cannot be read, but it is not damaged."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(store / "store.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("UPDATE status SET node = node")
        for look in (read_status, inspect, read_audit):
            with pytest.raises(StoreFailed):
                look(store)
        holder.execute("ROLLBACK")
    assert not inspect(store).damage


def test_a_disk_that_fails_at_the_audit_is_not_called_damage(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(db: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_READ"
        raise error

    monkeypatch.setattr(offline, "audit_of", fail)
    with pytest.raises(StoreFailed, match="disk I/O error"):
        inspect(store)


def once(answer: Callable[..., Any], first: Callable[[Any], object]) -> Callable[..., Any]:
    """The same function, but `first` spoils its first answer as a failing disk would."""
    firsts = iter([first])

    def answered(*arguments: Any, **more: Any) -> Any:
        given = answer(*arguments, **more)
        for spoil in firsts:
            spoil(given)
        return given

    return answered


def test_damage_that_a_second_reading_does_not_find_is_a_failing_disk(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite reports "malformed" for an unreadable page: the store is not marked damaged, and the next start succeeds."""

    def malformed(loaded: Loaded) -> None:
        loaded.damage.append(Damage("unreadable", "SQLite: database disk image is malformed"))

    monkeypatch.setattr(offline, "load", once(offline.load, malformed))
    with pytest.raises(StoreFailed, match="malformed"):
        SqliteStore(store).open("a")
    assert not (store / "damaged").exists()
    SqliteStore(store).open("a")


def test_damage_on_a_disk_that_cannot_be_read_is_a_failing_disk(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(store / "store.db")) as db:
        db.execute("DELETE FROM status")
        db.commit()

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(offline, "read_through", fail)
        for look in (SqliteStore(store).open, lambda node: inspect(store), lambda node: read_status(store)):
            with pytest.raises(StoreFailed, match="Input/output error"):
                look("a")
    assert not (store / "damaged").exists()
    with pytest.raises(StoreDamaged):
        SqliteStore(store).open("a")
    assert (store / "damaged").exists()


def test_a_status_is_read_again_after_an_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def malformed(found: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(offline, "stored_status", once(offline.stored_status, malformed))
    assert read_status(store).state is StoreState.CLEAN


def test_an_audit_record_that_cannot_be_read_hides_nothing_else(store: Path) -> None:
    with closing(sqlite3.connect(store / "store.db")) as db:
        db.execute("DROP TABLE audit")
        db.commit()
    report = inspect(store)
    assert report.audit == ()
    assert [queue.name for queue in report.queues] == ["orders", "mails"]
    with pytest.raises(StoreFailed, match="no such table"):
        read_audit(store)


@pytest.mark.parametrize("column", ["at", "event", "generation", "queue", "detail"])
@pytest.mark.parametrize("value", ["NULL", "x'ff'", "CAST(x'ff' AS TEXT)", "9e999", "-1"])
def test_a_damaged_line_of_the_audit_record_is_shown_as_such(store: Path, column: str, value: str) -> None:
    """No checksum covers it, so any value may be there. A number in a column of text is text for SQLite."""
    with closing(sqlite3.connect(store / "store.db")) as db:
        db.execute(f"UPDATE audit SET {column} = {value} WHERE line = (SELECT max(line) FROM audit)")
        db.commit()
    *before, line = read_audit(store)
    assert all(whole.event != "unreadable" for whole in before)
    if value in DAMAGED[column]:
        assert line == AuditLine(0.0, "unreadable", 0, "", "")
    else:
        assert line.event != "unreadable"
    assert inspect(store).audit == (*before, line)


TEXT_DAMAGED = ("NULL", "x'ff'")
DAMAGED = {
    "at": ("NULL", "x'ff'", "CAST(x'ff' AS TEXT)", "9e999", "-1"),
    "event": TEXT_DAMAGED,
    "generation": ("NULL", "x'ff'", "CAST(x'ff' AS TEXT)", "9e999"),
    "queue": TEXT_DAMAGED,
    "detail": TEXT_DAMAGED,
}
"""The values that a column cannot have."""


def test_a_database_message_with_an_undecodable_name(store: Path) -> None:
    """SQLite quotes the name in its message, and Python cannot decode it."""
    path = store / "store.db"
    path.write_bytes(
        path.read_bytes().replace(b"tableaudit", b"tableaud\xfft")
    )  # Changes the stored name, not the CREATE statement.
    assert [finding.text for finding in inspect(store).damage] == [
        "SQLite: a message that quotes a damaged name"
    ]
    with pytest.raises(StoreFailed):
        read_audit(store)


# --- the whole content ---------------------------------------------------------------------------------


def test_the_content_of_a_closed_store_is_what_it_starts_with(store: Path) -> None:
    found = read_image(store)
    opened = SqliteStore(store)
    image = opened.open("a")
    try:
        assert found.status.state is StoreState.CLEAN
        assert [(q.queue, q.spec, q.lineage, q.next, q.held) for q in found.queues] == [
            (q.queue, q.spec, q.lineage, q.next, q.held) for q in image.queues
        ]
        assert list(found.quarantine) == list(image.quarantine)
        assert read_image(store).status.state is StoreState.DIRTY, "in use"
    finally:
        opened.close(clean=True)


def test_the_content_of_a_store_that_does_not_verify_is_not_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def malformed(loaded: Loaded) -> None:
        loaded.damage.append(Damage("unreadable", "SQLite: database disk image is malformed"))

    with monkeypatch.context() as patch:
        patch.setattr(offline, "load", once(offline.load, malformed))
        assert read_image(store).queues, "a second reading finds no damage"
    with closing(sqlite3.connect(store / "store.db")) as db:
        db.execute("DELETE FROM status")
        db.commit()
    with pytest.raises(StoreDamaged, match="status"):
        read_image(store)
    (store / "store.db").unlink()
    with pytest.raises(StoreDamaged, match="its messages are gone"):
        read_image(store)
    with pytest.raises(StoreMismatch):
        read_image(tmp_path / "nothing")
