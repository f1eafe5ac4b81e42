"""A listener is told that its queue is gone: on each node, once, last, also by a flip that takes the queue away."""

from __future__ import annotations

from functools import partial

from qpidha import Batch, SequenceSet
from qpidha.interfaces import EndingListener
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import Recorder, World, run, until


class Mirror:
    """What a listener of one queue was told."""

    def __init__(self, name: str, told: list[object]) -> None:
        self._name, self._told = name, told

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self._told.append((self._name, list(batch)))

    def removed(self, ids: SequenceSet) -> None:
        self._told.append((self._name, "removed", list(ids)))

    def deleted(self) -> None:
        self._told.append((self._name, "deleted"))


class Listening(Recorder):
    """Follows each queue."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> EndingListener:
        self.told.append((spec.name, "declared"))
        return Mirror(spec.name, self.told)


def test_listeners_on_primary_and_backups_are_told_of_a_deletion_as_their_last_call() -> None:
    async def main(world: World) -> None:
        brokers = {name: Listening() for name in "ab"}
        a = await world.start("a", broker=brokers["a"])
        await a.promote()
        await world.start("b", broker=brokers["b"])
        await until(lambda: world.members() == {"a", "b"})
        q, n = a.declare("q"), a.declare("n")
        await q.enqueue(b"1")
        deleted = a.delete(q, to=n)
        assert ("q", "deleted") not in brokers["a"].told, "not before it is durable"
        await deleted
        declared = [("q", "declared"), ("n", "declared")]
        assert brokers["a"].told == [*declared, ("q", "deleted")], "the primary knows what it does itself"
        moved = [("q", [b"1"]), ("n", [b"1"]), ("q", "removed", [1])]
        assert brokers["b"].told == [*declared, *moved, ("q", "deleted")]

    run(main)


def test_a_flip_that_takes_queues_away_tells_their_listeners() -> None:
    """One was deleted while the node was away; the declaration of the other was undone."""

    async def main(world: World) -> None:
        broker = Listening()
        await world.start("a", broker=broker)
        a = world.nodes["a"]
        await a.promote()
        b = await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        await a.declare("q").enqueue(b"1")
        world.gates["a"].mute = True  # What follows reaches no backup.
        undone = a.declare("undone")
        undone.enqueue(b"2")
        await b.promote()
        await b.delete(b.queue("q"))
        broker.told.clear()
        world.gates["a"].mute = False
        await until(lambda: a.status().in_sync)
        assert sorted(map(str, broker.told)) == sorted(map(str, [("q", "deleted"), ("undone", "deleted")]))
        await until(lambda: [each.data for each in broker.discarded] == [b"2"])

    run(main)


def test_a_listener_that_fails_at_the_last_publish_before_a_deletion_does_not_stop_the_backup() -> None:
    """Both come in one batch of effects, and the queue is not in the core any more when the publish is told."""

    class Failing(Listening):
        def on_queue(self, queue: QueueId, spec: QueueSpec) -> EndingListener:
            mirror = Mirror(spec.name, self.told)
            mirror.inserted = None  # type: ignore[method-assign,assignment]
            return mirror

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        b = await world.start("b", broker=Failing())
        await until(lambda: world.members() == {"a", "b"})
        q = a.declare("q")
        await q.declared
        q.enqueue(b"1")
        await a.delete(q)
        await a.barrier()
        assert b.stopped is None and b.status().troubles == []

    run(main)


def test_what_a_flip_brings_back_is_read_by_the_handles_that_are_asked_for_then() -> None:
    """Queue and table are deleted by a primary that no backup hears, and that returns as a backup of the next one."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q, t = a.declare("q"), a.table("t")
        await q.enqueue(b"1")
        await t.put(b"k", b"1")
        world.gates["a"].mute = True  # What follows reaches no backup.
        q.enqueue(b"pending")
        lost = a.delete(q), a.delete(t)
        await b.promote()
        await b.queue("q").enqueue_many([b"2"])
        world.gates["a"].mute = False
        await until(lambda: a.status().in_sync)
        await b.table("t").put(b"k", b"2")
        assert not any(op.safe for op in lost)
        assert [data for _, data in a.queue("q")] == [b"1", b"2"]
        assert a.table("t").get(b"k") == b"2"
        assert t.get(b"k") == b"2", "every handle of a table reads it as it is now"
        await a.promote()
        assert (await a.queue("q").enqueue(b"3")).generation == 3
        await a.table("t").put(b"k", b"3")
        await until(lambda: b.table("t").get(b"k") == b"3")

    run(main)


def test_a_backup_mirrors_a_table_that_is_declared_later_deleted_and_declared_again() -> None:
    """Also over a flip: it was away while the table was deleted and another one got its name."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        mirrors: dict[str, dict[bytes, bytes]] = {"a": {}, "b": {}}

        def mirror(of: str, key: bytes, value: bytes | None) -> None:
            if value is None:
                mirrors[of].pop(key, None)
            else:
                mirrors[of][key] = value

        for node in (a, b):
            node.watch_table("t", partial(mirror, node.id))
        table = a.table("t")
        await table.put(b"1", b"x")
        await table.put(b"2", b"y")
        await until(lambda: mirrors["a"] == mirrors["b"] == {b"1": b"x", b"2": b"y"})
        await a.delete(table)
        await until(lambda: mirrors == {"a": {}, "b": {}})
        await a.table("t").put(b"3", b"z")
        await until(lambda: mirrors["a"] == mirrors["b"] == {b"3": b"z"})
        world.gates["a"].mute = True  # What follows reaches no backup.
        a.table("t").put(b"lost", b"")
        await until(lambda: b"lost" in mirrors["a"])
        await b.promote()
        await b.delete(b.table("t"))
        await b.table("t").put(b"4", b"of b")
        world.gates["a"].mute = False
        await until(lambda: mirrors["a"] == mirrors["b"] == {b"4": b"of b"})

    run(main)
