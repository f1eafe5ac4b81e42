"""The methods of a table, from a thread."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, NotPrimary, UnknownQueue
from tests.support.threads import nodes


def test_put_get_and_remove() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        table = a.sync.table("t")
        table.put(b"k", b"1")
        table.put(b"l", b"2").safe()
        assert table.get(b"k") == b"1" and table.get(b"x") is None
        assert list(table) == [b"k", b"l"] and dict(table.items()) == {b"k": b"1", b"l": b"2"}
        assert len(table) == 2 and b"k" in table and b"x" not in table
        mirror = b.sync.table("t")
        assert dict(mirror.items()) == dict(table.items()) and mirror.id == table.id
        assert (table.name, table.generation, mirror.generation) == ("t", 1, 0)
        table.remove(b"k")
        table.remove(b"l").safe()
        assert len(table) == 0 and table
        assert "SyncTable of <Table 't'" in repr(table)


def test_errors_come_back_to_the_thread() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        table = a.sync.table("t")
        table.put(b"k", b"1").safe()
        with pytest.raises(ArgumentError, match="key"):
            table.put("k", b"1")  # type: ignore[arg-type]
        with pytest.raises(NotPrimary):
            b.sync.table("t").remove(b"k")
        with pytest.raises(UnknownQueue):
            b.sync.table("none")
        a.sync.delete(table).safe()
        with pytest.raises(UnknownQueue):
            table.put(b"k", b"2")
