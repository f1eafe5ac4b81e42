"""Tables: changed in their term, read by every handle, watched until they are deleted."""

from __future__ import annotations

import pytest

from qpidha import Settings
from qpidha.errors import ArgumentError, NotPrimary, StaleHandle, UnknownQueue
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_keys_are_put_replaced_read_and_removed() -> None:
    async def main() -> None:
        room = Room().lead()
        table = room.table("t")
        assert (len(table), bool(table), list(table)) == (0, True, [])
        ops = [table.put(b"a", b"1"), table.put(bytearray(b"b"), b"2"), table.put(b"a", b"3")]
        room.turn()
        assert all(op.safe for op in ops)
        assert list(table.items()) == [(b"b", b"2"), (b"a", b"3")]
        assert list(table) == [b"b", b"a"]
        assert (table.get(b"a"), table.get(b"c"), len(table)) == (b"3", None, 2)
        assert b"a" in table and b"c" not in table and "a" not in table
        gone, absent = table.remove(b"a"), table.remove(b"a")
        room.turn()
        assert gone.safe and absent.safe
        assert list(table.items()) == [(b"b", b"2")]
        assert (table.name, table.generation, table.id) == ("t", 1, room.table("t").id)
        assert repr(table) == "<Table 't' of node 'a', generation 1>"

    run(main())


def test_items_are_those_of_the_call() -> None:
    async def main() -> None:
        table = Room().lead().table("t")
        table.put(b"a", b"1")
        items = table.items()
        table.remove(b"a")
        assert list(items) == [(b"a", b"1")]

    run(main())


def test_a_watcher_is_told_once_a_turn_and_not_after_the_deletion() -> None:
    async def main() -> None:
        room = Room().lead()
        table, seen = room.table("t"), []
        table.on_change(lambda *told: seen.append(told))
        table.put(b"a", b"1")
        table.put(b"a", b"2")
        table.put(b"b", b"")
        table.remove(b"b")
        room.turn()
        assert seen == [(b"a", b"2"), (b"b", None)]
        table.put(b"a", b"3")
        room.delete(table)
        room.turn()
        assert len(seen) == 2
        with pytest.raises(UnknownQueue, match="table 't' was deleted"):
            table.put(b"a", b"4")

    run(main())


def test_a_watcher_that_raises_is_told_of_the_other_keys_and_the_other_watchers_are_called() -> None:
    async def main() -> None:
        room = Room().lead()
        table, first, second = room.table("t"), list[bytes](), list[bytes]()

        def raises(key: bytes, value: bytes | None) -> None:
            first.append(key)
            raise RuntimeError(value)

        table.on_change(raises)
        table.on_change(lambda key, value: second.append(key))
        table.put(b"a", b"1")
        table.put(b"b", b"2")
        room.turn()
        assert first == second == [b"a", b"b"]

    run(main())


def test_a_handle_of_an_earlier_term_only_reads() -> None:
    async def main() -> None:
        room = Room().lead()
        old = room.table("t")
        old.put(b"a", b"1")
        room.turn()
        room.follow()
        as_backup = room.table("t")
        assert as_backup is not old and as_backup.generation == 0
        with pytest.raises(NotPrimary):
            as_backup.put(b"a", b"2")
        assert list(old.items()) == [(b"a", b"1")]

    run(main())


@pytest.mark.parametrize(
    ("generation", "made"), [(7, "in generation 7"), (0, "while this node was a backup")]
)
def test_a_handle_of_another_term_is_stale_on_a_primary(generation: int, made: str) -> None:
    async def main() -> None:
        room = Room().lead()
        handle = room.table("t")
        handle.generation = generation
        with pytest.raises(
            StaleHandle, match=rf"'t' was made {made}, .* generation 1: get a new one"
        ) as caught:
            handle.remove(b"a")
        assert (caught.value.generation, caught.value.current) == (generation, 1)

    run(main())


def test_bad_arguments_are_refused_and_nothing_is_stored() -> None:
    async def main() -> None:
        room = Room(Settings(message_bytes_max=10)).lead()
        table = room.table("t")
        room.turn()
        before = room.stored()
        with pytest.raises(ArgumentError, match="key must be bytes"):
            table.put("k", b"")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="value must be bytes"):
            table.put(b"k", None)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="key must be bytes"):
            table.remove(1)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="key must be bytes"):
            table.get("k")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="callback must be"):
            table.on_change(3)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="10 bytes"):
            table.put(b"12345", b"123456")
        room.turn()
        assert (room.stored(), len(table)) == (before, 0)

    run(main())
