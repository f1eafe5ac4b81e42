"""What a broker answers from reads: after a barrier no failover takes back what a client was told (Q7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qpidha import InDoubt, Node, Op, UnknownQueue
from tests.support.harness import World, run

SOON_S = 15.0


async def in_doubt(waiting: Awaitable[object]) -> None:
    with pytest.raises(InDoubt):
        await asyncio.wait_for(waiting, SOON_S)


async def waited(op: Op) -> None:
    await op


def test_a_declaration_that_is_seen_and_rewound_is_not_told() -> None:
    """Whoever finds the queue, the object or the value waits: for the handle's declaration, or for a barrier."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        world.gates["a"].mute = True  # What follows reaches no backup.
        a.declare("q")
        a.configuration.put("kind", "name", b"v")
        a.table("t").put(b"k", b"v")
        await asyncio.sleep(0)
        seen = a.declare("q")
        assert a.configuration.get("kind", "name") == a.table("t").get(b"k") == b"v"
        answers = [asyncio.ensure_future(a.barrier()), asyncio.ensure_future(waited(seen.declared))]
        await asyncio.sleep(0.05)
        assert not any(answer.done() for answer in answers)
        await b.promote()
        for answer in answers:
            await in_doubt(answer)
        with pytest.raises(UnknownQueue):
            b.queue("q")
        assert b.configuration.objects() == []
        assert b.table("t").get(b"k") is None

    run(main)


def test_a_deletion_that_is_seen_and_undone_is_not_told() -> None:
    """The answers "no such queue" and "no such key" wait for a barrier; a deletion of what is not there waits itself."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q, t = a.declare("q"), a.table("t")
        await q.enqueue(b"1")
        await t.put(b"k", b"v")
        await a.configuration.put("kind", "name", b"v")
        world.gates["a"].mute = True  # What follows reaches no backup.
        a.delete(q)
        t.remove(b"k")
        a.configuration.delete("kind", "name")
        with pytest.raises(UnknownQueue):
            a.queue("q")
        assert t.get(b"k") is a.configuration.get("kind", "name") is None
        again = [t.remove(b"k"), a.configuration.delete("kind", "name")]
        with a.transaction() as transaction:
            transaction.remove(t, b"k")
            transaction.delete_object("kind", "name")
        waiting = [asyncio.ensure_future(waited(op)) for op in (*again, transaction.op)]
        waiting.append(asyncio.ensure_future(a.barrier()))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not any(answer.done() for answer in waiting)
        await b.promote()
        for answer in waiting:
            await in_doubt(answer)
        assert [data for _, data in b.queue("q")] == [b"1"]
        assert b.table("t").get(b"k") == b.configuration.get("kind", "name") == b"v"

    run(main)


ABSENT: dict[str, Callable[[Node], Op]] = {
    "key": lambda node: node.table("t").remove(b"absent"),
    "object": lambda node: node.configuration.delete("kind", "absent"),
}


@pytest.mark.parametrize("what", ABSENT)
def test_a_deletion_of_what_is_not_there_is_safe_with_all_before_it_and_stores_nothing(what: str) -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        q = a.declare("q")
        await a.table("t").put(b"k", b"v")
        world.gates["b"].mute = True  # It acknowledges nothing.
        before = q.enqueue_many([b"1"])
        q.flush()
        deletion = ABSENT[what](a)
        primary = a._runtime.replica.primary
        assert primary is not None
        position = primary.position
        assert deletion.ids == range(0)
        await asyncio.sleep(0.05)
        assert not before.done and not deletion.done
        assert primary.position == position, "it is no operation"
        await world.stop("b")  # So it is removed, and they are complete without it.
        await asyncio.wait_for(waited(deletion), SOON_S)
        await asyncio.wait_for(waited(before), SOON_S)

    run(main)
