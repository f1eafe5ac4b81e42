"""Lines of the conformance list in `docs/scenarios.md` about configuration, deletions and transactions.

H: checks from the high-availability tests of an older broker, applied to this library.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qpidha import Batch, InDoubt, Node, NotPrimary, Op, SequenceSet
from qpidha.interfaces import EndingListener
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import QUICK, Recorder, World, run, until

SOON_S = 15.0


def state(node: Node) -> object:
    """Everything that must be equal on all nodes."""
    queues = {queue.name: (queue.id, list(queue.messages())) for queue in node.queues}
    return queues, node.configuration.objects()


async def waited(op: Op) -> None:
    await op


async def equal(*nodes: Node) -> None:
    await until(lambda: all(state(node) == state(nodes[0]) for node in nodes))


def test_H01_H09_objects_and_queues_are_equal_whether_they_changed_before_or_after_a_backup_joined() -> None:
    """Exchanges, bindings and queues; unbinding and deletion included. An admin tool is a client of the broker."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")

        def change(prefix: str) -> list[Op]:
            queue = a.declare(f"{prefix} q")
            gone = a.declare(f"{prefix} gone")
            gone.enqueue(b"gone")
            objects = a.configuration
            ops = [objects.put("exchange", prefix, b"topic"), objects.put("binding", f"{prefix} 1", b"#")]
            ops += [objects.put("binding", f"{prefix} 2", b"#"), objects.delete("binding", f"{prefix} 1")]
            return [*ops, queue.enqueue(b"1"), queue.enqueue(b"2"), queue.dequeue(1), a.delete(gone)]

        for op in change("before"):
            await op
        b = await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        for op in change("after"):
            await op
        await equal(a, b)
        assert [(kind, name) for kind, name, _ in b.configuration.objects()] == [
            ("exchange", "before"),
            ("binding", "before 2"),
            ("exchange", "after"),
            ("binding", "after 2"),
        ]
        assert {queue.name for queue in b.queues} == {"before q", "after q"}
        await world.kill("a")
        await b.promote()
        assert [data for _, data in b.queue("after q")] == [b"2"]
        await b.configuration.delete("binding", "after 2")

    run(main)


def test_H26_two_hundred_exchanges_reach_a_late_joiner_in_chunks() -> None:
    """An alternate exchange is a part of the object's value, which is the broker's."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        ops = [
            a.configuration.put("exchange", f"e{n}", b"alternate e%d " % (n // 2) + bytes(500))
            for n in range(200)
        ]
        for op in ops:
            await op
        b = await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        await equal(a, b)
        assert len(b.configuration.objects("exchange")) == 200

    run(main, replace(QUICK, plan_chunk_bytes=4096))


def test_H33_what_was_created_again_while_a_backup_was_away_has_only_the_new_content() -> None:
    """Objects; queues are scenario A22."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q = a.declare("q")
        await q.enqueue(b"old")
        await a.configuration.put("exchange", "e", b"old")
        await a.configuration.put("binding", "e/q", b"old")
        await world.stop("b")
        await a.delete(q)
        for kind, name in (("binding", "e/q"), ("exchange", "e")):
            await a.configuration.delete(kind, name)
        await a.configuration.put("exchange", "e", b"new")
        await a.declare("q").enqueue(b"new")
        b = await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        await equal(a, b)
        assert b.configuration.objects() == [("exchange", "e", b"new")]
        assert [data for _, data in b.queue("q")] == [b"new"]
        assert world.brokers["b"].discarded == []

    run(main)


def test_H36_transactions_of_ten() -> None:
    """A thousand messages in, 990 out: all nodes hold the last ten."""

    async def main(world: World) -> None:
        nodes = a, b, c = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        data = [b"%d" % n for n in range(1, 1001)]
        ops = []
        for first in range(0, 1000, 10):
            with a.transaction() as t:
                for each in data[first : first + 10]:
                    t.enqueue(queue, each)
            ops.append(t.op)
        for op in ops:
            await op
        for first in range(1, 991, 10):
            with a.transaction() as t:
                for id in range(first, first + 10):
                    t.dequeue(queue, id)
        await t.op
        assert b is not c
        for node in nodes:
            assert [each for _, each in node.queue("q")] == data[-10:]

    run(main)


class Events(Recorder):
    """Notes when queues come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> EndingListener:
        events = self.told
        events.append(("declared", spec.name))

        class Listener:
            def inserted(self, ids: SequenceSet, batch: Batch) -> None: ...

            def removed(self, ids: SequenceSet) -> None: ...

            def deleted(self) -> None:
                events.append(("deleted", spec.name))

        return Listener()


def test_H37_creations_and_deletions_of_racing_clients_are_told_in_their_real_order() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        events = Events()
        await world.start("b", broker=events)
        await until(lambda: world.members() == {"a", "b"})
        real: list[tuple[str, str]] = []

        async def client(number: int) -> None:
            """Declares and deletes queues, of names that the other client uses as well."""
            for n in range(40):
                name = f"q{(n + number) % 3}"
                if name in {queue.name for queue in a.queues}:
                    op = a.delete(a.queue(name))
                    real.append(("deleted", name))
                else:
                    op = a.declare(name).declared
                    real.append(("declared", name))
                if n % 3 == number:
                    await op
                else:
                    await asyncio.sleep(0)

        await asyncio.gather(client(0), client(1))
        await a.barrier()
        assert len(real) == 80
        assert events.told == real

    run(main)


def test_H45_H46_before_a_commit_and_after_a_rollback_backups_are_unchanged() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q, dlq = a.declare("q"), a.declare("dlq")
        await q.enqueue(b"1")
        before = state(b)
        for end in ("rollback", "commit"):
            t = a.transaction()
            t.dequeue(q, 1)
            t.enqueue(dlq, b"2")
            t.put_object("binding", "new", b"#")
            await q.declared
            assert state(a) == state(b) == before
            getattr(t, end)()
        await t.op
        await equal(a, b)
        assert list(b.queue("q")) == [] and list(b.queue("dlq")) == [(1, b"2")]
        assert b.configuration.get("binding", "new") == b"#"

    run(main)


@pytest.mark.parametrize("committed", [False, True])
def test_H47_a_failover_inside_a_transaction_aborts_it_or_leaves_it_in_doubt(committed: bool) -> None:
    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        q = a.declare("q")
        await q.enqueue(b"1")
        before = state(a)
        t = a.transaction()
        t.dequeue(q, 1)
        t.put_object("binding", "new", b"#")
        world.gates["a"].mute = True  # What follows reaches no backup.
        if committed:
            t.commit()
        await b.promote()
        if committed:
            with pytest.raises(InDoubt):
                await asyncio.wait_for(waited(t.op), SOON_S)
        else:
            with pytest.raises(NotPrimary):
                t.commit()
        world.gates["a"].mute = False
        await until(lambda: world.members() == {"a", "b", "c"})
        await b.barrier()
        await equal(a, b, c)
        assert state(b) == before

    run(main)


def test_H49_commits_that_wait_do_not_block_the_loop() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        q = a.declare("q")
        await q.enqueue(b"1")
        world.gates["b"].mute = True  # It acknowledges nothing.
        ops = []
        for n in range(10):
            with a.transaction() as t:
                t.enqueue(q, b"%d" % n)
                t.put_object("number", str(n), b"")
            ops.append(t.op)
        waiting = [asyncio.ensure_future(waited(op)) for op in ops]
        for _ in range(100):
            await asyncio.sleep(0)
        assert q.depth == 11, "what reads is answered"
        assert not any(each.done() for each in waiting)
        await world.stop("b")  # So it is removed, and they are complete without it.
        await asyncio.wait_for(asyncio.gather(*waiting), SOON_S)

    run(main)
