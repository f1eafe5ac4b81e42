"""Who watches keys is called once for each turn in which they changed, with what they are at its end."""

from __future__ import annotations

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.node.keywatches import OBJECTS, KeyWatches, Named
from qpidha.types import QueueId, QueueSpec
from tests.support.node_parts import Seat, run

ID, OTHER = born(1, 1), born(1, 2)
BATCH = Batch.pack([b"v"], props=[b"k"])


def queue(kind: str = TABLE, id: QueueId = ID) -> KeyedQueue:
    name = "t" if kind == TABLE else kind
    return KeyedQueue(id, QueueSpec(name=name, kind=kind), ((1, 1),), 1)


def put(table: KeyedQueue, key: bytes, value: bytes) -> None:
    table.append(Batch.pack([value], props=[key]))


class Scene:
    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.watches = KeyWatches(self.seat.runtime)
        self.calls: list[tuple[str, bytes, bytes | None]] = []

    def watch(self, queue: QueueId | Named, name: str = "w") -> None:
        self.watches.watch(queue, lambda *told: self.calls.append((name, *told)))

    def watch_table(self, name: str) -> None:
        self.watches.watch_table(name, lambda *told: self.calls.append((name, *told)))

    def there(self, table: KeyedQueue) -> KeyedQueue:
        """The core tells of a table."""
        self.watches.added(table)
        return table

    def told(self) -> list[tuple[str, bytes, bytes | None]]:
        """What was told since the last call, up to the end of this turn."""
        self.seat.engine.end_turn()
        told, self.calls = self.calls, []
        return told


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
        both = [(name, key, b"v") for name in ("first", "second") for key in (b"b", b"a")]
        assert scene.told() == both
        scene.watches.end_of_turn()
        assert scene.told() == []

    run(main())


def test_what_a_watcher_changes_is_told_in_the_next_turn() -> None:
    async def main() -> None:
        scene, table = Scene(), queue()

        def again(key: bytes, value: bytes | None) -> None:
            scene.calls.append(("w", key, value))
            if key == b"1":
                put(table, b"2", b"")
                scene.watches.changed(table)

        scene.watches.watch(ID, again)
        put(table, b"1", b"")
        scene.watches.changed(table)
        assert scene.told() == [("w", b"1", b"")]
        assert scene.told() == [("w", b"2", b"")]

    run(main())


def test_a_watcher_that_raises_is_told_of_the_other_keys_and_logged_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        scene, table = Scene(), queue()

        def raises(key: bytes, value: bytes | None) -> None:
            scene.calls.append(("raises", key, value))
            raise RuntimeError("no")

        scene.watches.watch(ID, raises, name="mirror of keys")
        for key in (b"1", b"2"):
            put(table, key, b"")
        scene.watches.changed(table)
        assert scene.told() == [("raises", b"1", b""), ("raises", b"2", b"")]

    run(main())
    assert "mirror of keys" in caplog.text


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
        scene = Scene()
        scene.seat.lead()
        objects = scene.seat.runtime.replica.state.configuration
        assert objects is not None
        scene.watch(OBJECTS)
        scene.watch(OTHER, "another")
        put(objects, b"k", b"")
        scene.watches.changed(objects)
        assert scene.told() == [("w", b"k", b"")]

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
        assert scene.told() == [("w", b"k", b"v")]

    run(main())


# --- by name ---------------------------------------------------------------------------------------


def test_a_table_that_comes_later_is_followed_and_one_of_another_name_and_a_queue_are_not() -> None:
    async def main() -> None:
        scene = Scene()
        for name in ("t", "q", "absent"):
            scene.watch_table(name)
        scene.watches.added(ReplicatedQueue(OTHER, QueueSpec(name="q"), ((1, 1),), 1))
        table = scene.there(queue())
        put(table, b"k", b"v")
        scene.watches.changed(table)
        assert scene.told() == [("t", b"k", b"v")]

    run(main())


def test_the_end_of_a_table_is_told_for_each_key_also_one_that_went_in_the_same_turn() -> None:
    async def main() -> None:
        scene = Scene()
        scene.watch_table("t")
        table = scene.there(queue())
        for key in (b"1", b"2"):
            put(table, key, b"v")
        scene.watches.changed(table)
        assert len(scene.told()) == 2
        table.remove(SequenceSet([1]))
        scene.watches.changed(table)
        scene.watches.forget(ID)
        scene.watches.forget(ID)
        assert scene.told() == [("t", b"1", None), ("t", b"2", None)]
        assert scene.told() == []

    run(main())


def test_another_table_of_the_name_is_told_after_the_end_of_the_first() -> None:
    """Deleted and declared again within one turn."""

    async def main() -> None:
        scene = Scene()
        scene.watch_table("t")
        first = scene.there(queue())
        put(first, b"old", b"1")
        scene.watches.changed(first)
        assert scene.told() == [("t", b"old", b"1")]
        second = scene.there(queue(id=OTHER))
        put(second, b"new", b"2")
        scene.watches.changed(second)
        scene.watches.forget(ID)
        assert scene.told() == [("t", b"old", None), ("t", b"new", b"2")]

    run(main())
