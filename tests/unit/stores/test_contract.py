"""Both stores keep every rule of `MessageStore`: the public conformance checks are run on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.stores import MemoryStore, SqliteStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check


class Memories(dict[Path, MemoryStore]):
    """One store in memory for each directory, so that a restart finds the earlier content."""

    def __missing__(self, directory: Path) -> MemoryStore:
        return self.setdefault(directory, MemoryStore())

    def kill(self, store: MemoryStore, directory: Path) -> Path:
        store.crash()
        return directory


memories = Memories()


@pytest.mark.parametrize("check", conformance.store_checks(memories.__getitem__, kill=memories.kill), ids=str)
def test_memory_store(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.store_checks(SqliteStore), ids=str)
def test_sqlite_store(check: Check) -> None:
    check()
