"""A receipt names the nodes that held the messages when the op completed, and the generation; never too many."""

from __future__ import annotations

import asyncio
from threading import get_ident

import pytest

from qpidha import Op, Receipt, Settle
from qpidha.errors import LocalProtocolError
from qpidha.node.home import Home
from qpidha.node.ledger import Ledger, Outcome
from tests.support.harness import World, run, until

NO_NODES: frozenset[str] = frozenset()
BOTH = frozenset({"a", "b"})


def receipt(generation: int, ids: range, nodes: frozenset[str], *, consumed: bool = False) -> Receipt:
    return Receipt(generation=generation, ids=ids, nodes=nodes, consumed=consumed)


async def told(op: Op) -> Receipt:
    return await asyncio.wait_for(_of(op), 15)


async def _of(op: Op) -> Receipt:
    return await op


def test_the_receipt_of_a_publish_that_is_consumed_first_names_no_node() -> None:
    """Only the receipt of the consumed message is empty, not those of the same turn; asking later gives the same."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q", settle=Settle.IMMEDIATE)
        await queue.enqueue(b"before")
        world.gates["b"].mute = True
        first = queue.enqueue(b"consumed")
        calls: list[Receipt] = []
        first.add_safe_callback(lambda op, error: calls.append(op.receipt()))
        accepted = queue.dequeue(first.ids)
        assert await told(accepted) == receipt(1, range(2, 3), NO_NODES)
        assert await told(first) == receipt(1, range(2, 3), NO_NODES, consumed=True)
        assert calls == [first.receipt()]
        world.gates["b"].mute = False
        both = [queue.enqueue(b"consumed too"), queue.enqueue(b"kept")]
        queue.dequeue(both[0].ids)
        assert await told(both[1]) == receipt(1, range(4, 5), BOTH)
        assert both[0].receipt() == receipt(1, range(3, 4), NO_NODES, consumed=True)
        many = queue.enqueue_many([b"1", b"2", b"3"])
        queue.dequeue(many.ids[1])
        assert (await told(many)).nodes == BOTH, "two of them are held"
        assert not many.receipt().consumed
        await until(lambda: accepted.receipt() == receipt(1, range(2, 3), BOTH))

    run(main)


def test_an_op_completes_when_its_watermark_is_reached_and_not_before() -> None:
    """Completing one position too early would confirm a message that a member does not have."""
    ledger = Ledger(1, home=Home(get_ident()))
    told_ids: list[int] = []
    ops = [Op(ledger, cover, range(cover, cover + 1), ledger.expect(cover, Outcome())) for cover in (1, 2, 3)]
    for op in reversed(ops):
        op.add_safe_callback(lambda op, error: told_ids.append(op.ids[0]))
    assert not any(op.done for op in ops)
    for upto in (1, 2, 3):
        ledger.advance(upto, BOTH)
        assert told_ids == list(range(1, upto + 1))
        assert [op.safe for op in ops] == [op.ids[0] <= upto for op in ops]


def test_the_receipt_of_a_replicated_publish_that_is_consumed_first_names_no_node() -> None:
    """The publish completes together with the dequeue, when no node holds the message."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"before")
        published = queue.enqueue(b"consumed")
        accepted = queue.dequeue(published.ids)
        assert not published.done
        with pytest.raises(LocalProtocolError, match="not known yet"):
            published.receipt()
        assert await told(accepted) == receipt(1, range(2, 3), BOTH)
        assert await told(published) == receipt(1, range(2, 3), NO_NODES, consumed=True)

    run(main)


def test_a_publish_that_is_consumed_later_keeps_its_receipt() -> None:
    """This holds also for a batch in many pieces, and for a moved message: a move is not an accept."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue, other = a.declare("q"), a.declare("other")
        large = queue.enqueue_many([bytes(1 << 20)] * 20)
        moved = queue.enqueue(b"moved")
        queue.move(moved.ids, other)
        assert await told(large) == receipt(1, range(1, 21), BOTH)
        assert await told(moved) == receipt(1, range(21, 22), BOTH)
        await queue.dequeue(large.ids)
        assert large.receipt() == receipt(1, range(1, 21), BOTH)

    run(main)


def test_a_receipt_is_fixed_when_the_op_completes() -> None:
    """Nodes that join or leave later do not change it, whether or not it was read before."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        queue = a.declare("q")
        alone = queue.enqueue(b"alone")
        gone = queue.dequeue(())
        await told(alone)
        await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        together = queue.enqueue(b"together")
        await told(together)
        assert alone.receipt() == receipt(1, range(1, 2), frozenset({"a"}))
        assert gone.receipt().nodes == frozenset({"a"})
        await world.kill("b")
        assert await told(queue.enqueue(b"alone again")) == receipt(1, range(3, 4), frozenset({"a"}))
        assert together.receipt() == receipt(1, range(2, 3), BOTH)

    run(main)


def test_an_immediate_dequeue_says_its_generation() -> None:
    """The receipt has the right generation in the second one too, and names the primary once the op is durable."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await a.declare("q", settle=Settle.IMMEDIATE).enqueue_many([b"1", b"2"])
        await b.promote()
        await until(lambda: world.members() == {"a", "b"})
        op = b.queue("q").dequeue(1)
        assert op.safe
        assert op.receipt().generation == 2
        await until(lambda: op.receipt() == receipt(2, range(1, 2), BOTH))
        nothing = b.queue("q").dequeue(1)
        assert (await told(nothing)) == receipt(2, range(1, 2), BOTH), "gone already, on both nodes"

    run(main)
