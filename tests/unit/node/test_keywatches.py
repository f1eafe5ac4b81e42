"""Who watches keys is called once for each turn in which they changed, with what they are at its end."""

from __future__ import annotations

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.keyed import CONFIGURATION, TABLE, KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.node.keywatches import KeyWatches
from qpidha.types import QueueSpec
from tests.support.node_parts import Seat, run

ID, OTHER = born(1, 1), born(1, 2)
BATCH = Batch.pack([b"v"], props=[b"k"])


def queue(kind: str = TABLE, id: object = ID) -> KeyedQueue:
    return KeyedQueue(id, QueueSpec(name="t", kind=kind), ((1, 1),), 1)  # type: ignore[arg-type]


def put(table: KeyedQueue, key: bytes, value: bytes) -> None:
    table.append(Batch.pack([value], props=[key]))


class Scene:
    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.watches = KeyWatches(self.seat.runtime)
        self.calls: list[tuple[str, tuple[bytes, ...]]] = []

    def watch(self, queue: object, name: str = "w") -> None:
        self.watches.watch(queue, lambda _, keys: self.calls.append((name, keys)))  # type: ignore[arg-type]


def test_all_watchers_are_called_once_for_a_turn_with_the_keys_in_order() -> None:
    async def main() -> None:
        scene, table = Scene(), queue()
        scene.watch(ID, "first")
        scene.watch(ID, "second")
        for key in (b"b", b"a", b"b"):
            put(table, key, b"v")
            scene.watches.changed(table)
        assert scene.seat.engine.unflushed == [scene.watches]
        scene.watches.flush()
        assert scene.calls == [], "not before the end of the turn"
        scene.seat.engine.end_turn()
        assert scene.calls == [("first", (b"b", b"a")), ("second", (b"b", b"a"))]
        scene.watches.end_of_turn()
        assert len(scene.calls) == 2

    run(main())


def test_what_a_watcher_changes_is_told_in_the_next_turn() -> None:
    async def main() -> None:
        scene, table = Scene(), queue()

        def again(_: KeyedQueue, keys: tuple[bytes, ...]) -> None:
            scene.calls.append(("w", keys))
            if keys == (b"1",):
                put(table, b"2", b"")
                scene.watches.changed(table)

        scene.watches.watch(ID, again)
        put(table, b"1", b"")
        scene.watches.changed(table)
        scene.seat.engine.end_turn()
        assert scene.calls == [("w", (b"1",))]
        scene.seat.engine.end_turn()
        assert scene.calls == [("w", (b"1",)), ("w", (b"2",))]

    run(main())


def test_a_queue_whose_keys_did_not_change_calls_nobody_and_without_watchers_its_keys_are_forgotten() -> None:
    async def main() -> None:
        scene, table = Scene(), queue()
        scene.watches.changed(table)
        scene.watch(ID)
        scene.seat.engine.end_turn()
        assert scene.calls == []
        put(other := queue(id=OTHER), b"k", b"")
        scene.watches.changed(other)
        scene.seat.engine.end_turn()
        assert (scene.calls, other.touched) == ([], {})

    run(main())


def test_the_configuration_is_watched_by_its_name() -> None:
    async def main() -> None:
        scene, objects = Scene(), queue(CONFIGURATION)
        scene.watch(CONFIGURATION)
        scene.watch(ID, "by id")
        put(objects, b"k", b"")
        scene.watches.changed(objects)
        scene.seat.engine.end_turn()
        assert scene.calls == [("w", (b"k",))]

    run(main())


def test_a_table_that_was_deleted_is_not_watched_any_more() -> None:
    async def main() -> None:
        scene, table = Scene(), queue()
        scene.watch(ID)
        put(table, b"k", b"")
        scene.watches.changed(table)
        scene.watches.forget(ID)
        scene.watches.forget(OTHER)
        scene.watches.changed(table)
        scene.seat.engine.end_turn()
        assert scene.calls == []

    run(main())


@pytest.mark.parametrize("notice", [Inserted(ID, SequenceSet([1]), BATCH), Removed(ID, SequenceSet([1]))])
def test_a_notice_of_the_core_tells_of_a_table_and_not_of_a_queue_or_of_one_that_is_gone(
    notice: Inserted | Removed,
) -> None:
    async def main() -> None:
        scene, table = Scene(), queue()
        queues = scene.seat.core.queues
        scene.watch(ID)
        scene.watches.noticed(notice)
        queues[ID] = ReplicatedQueue(ID, QueueSpec(name="q"), ((1, 1),), 1)
        scene.watches.noticed(notice)
        assert scene.seat.engine.unflushed == []
        queues[ID] = table
        put(table, b"k", b"v")
        scene.watches.noticed(notice)
        scene.seat.engine.end_turn()
        assert scene.calls == [("w", (b"k",))]

    run(main())
