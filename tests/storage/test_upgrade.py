"""Upgrade of a store from an earlier version: `format-1.db.gz` has the first seven commits of the workload."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qpidha.errors import StoreDamaged, StoreFailed
from qpidha.journal import StoreState
from qpidha.stores import SqliteStore, database, inspect, read_status
from qpidha.stores.schema import FORMAT
from tests.storage.crash import Effort, crash_states
from tests.storage.disk import Disk
from tests.storage.oracle import Promise, state_numbers
from tests.storage.shim import Bench
from tests.storage.test_crash_states import broken
from tests.storage.workload import image_digest

OLD = Path(__file__).with_name("format-1.db.gz")
HELD = 7


@pytest.fixture
def old(place: Path) -> Path:
    directory = place / "node" / "store"
    directory.mkdir(parents=True)
    (directory / "store.db").write_bytes(gzip.decompress(OLD.read_bytes()))
    return directory


def version(store: Path) -> int:
    with closing(sqlite3.connect(f"{(store / 'store.db').as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def number(store: Path) -> int:
    """Return the number of commits that the store shows."""
    opened = SqliteStore(store)
    shown = state_numbers()[image_digest(opened.open("a"))]
    opened.close(clean=True)
    return shown


def test_an_old_store_is_upgraded_when_it_is_opened(old: Path) -> None:
    assert version(old) == 1
    assert number(old) == HELD
    assert version(old) == FORMAT
    assert not inspect(old).damage
    assert number(old) == HELD


def test_inspecting_an_old_store_does_not_change_it(old: Path) -> None:
    raw = (old / "store.db").read_bytes()
    report = inspect(old)
    assert not report.damage and report.status is not None and report.status.state is StoreState.CLEAN
    assert read_status(old) == report.status
    assert (old / "store.db").read_bytes() == raw


def test_an_upgrade_that_fails_has_changed_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = database.upgrade

    def fail(db: sqlite3.Connection, version: int) -> None:
        upgrade(db, version)
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(database, "upgrade", fail)
        with pytest.raises(StoreFailed, match="the disk is gone"):
            SqliteStore(old).open("a")
    assert version(old) == 1
    assert number(old) == HELD


def test_damage_of_an_old_store_is_found(old: Path) -> None:
    with closing(sqlite3.connect(old / "store.db", isolation_level=None)) as db:
        db.execute("DELETE FROM queues WHERE name = 'mails'")
    with pytest.raises(StoreDamaged, match="1 queues are there, not 2"):
        SqliteStore(old).open("a")


@pytest.mark.timeout(3600)
def test_every_crash_state_of_an_upgrade(
    bench: Bench, place: Path, memory: Path, old: Path, effort: Effort
) -> None:
    disk = Disk(place)
    calls = bench.run("recover", place)
    assert bench.signal == 0 and version(old) == FORMAT
    states = crash_states(calls, disk, effort, given=Promise(HELD, HELD))
    wrong, shown = broken("recover", states, memory)
    print(f"upgrade: {len(states)} crash states")
    assert not wrong, wrong[0]
    assert shown == {HELD}
