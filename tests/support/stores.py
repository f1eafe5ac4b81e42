"""Shared by the tests of the store on disk: closing stores after a test, and a process to be killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.journal import StoreImage
from qpidha.stores import SqliteStore
from qpidha.stores.wal import HEADER, STEP
from qpidha.testing.conformance.changes import some_commits


@pytest.fixture(autouse=True)
def release_stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the stores that a test leaves open: Python 3.13 warns about unclosed databases."""
    stores: list[SqliteStore] = []
    take = SqliteStore.open

    def remember(self: SqliteStore, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        stores.append(self)
        return take(self, node, refuse_dirty=refuse_dirty)

    monkeypatch.setattr(SqliteStore, "open", remember)
    yield
    for store in stores:
        store.close(clean=False)


def without_room(directory: Path) -> None:
    """Cut off the zeros where a store that was killed has made room for more frames (`qpidha.stores.logroom`)."""
    log = directory / "store.db-wal"
    with log.open("r+b") as file:
        frames = len(file.read().rstrip(b"\0")) - HEADER.size
        file.truncate(HEADER.size + -(-frames // STEP) * STEP)


def lived_forever(directory: Path) -> None:
    """Main function of another process: some commits, then waiting to be killed."""
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    sys.stdout.write("committed\n")
    sys.stdout.flush()
    time.sleep(60)
