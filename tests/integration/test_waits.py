"""Waiting for a node: until it serves, is in sync, has stopped, or all operations so far are safe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qpidha import InDoubt, Node, NotPrimary, Role, Settle
from qpidha.errors import LocalProtocolError, NodeStopped, WaitTimeout
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores.memory import MemoryStore
from qpidha.transports import TcpTransport
from tests.support.harness import Recorder, World, run

SOON_S = 10


def fresh(name: str = "a") -> Node:
    return Node(
        name, broker=Recorder(), store=MemoryStore(), transport=TcpTransport(), records=MemoryRecordStore()
    )


def test_a_node_serves_once_its_broker_was_promoted() -> None:
    async def main(world: World) -> None:
        opened = asyncio.Event()

        class Slow(Recorder):
            async def on_promote(self, generation: int) -> None:
                await opened.wait()
                await super().on_promote(generation)

        a = await world.start("a", broker=Slow())
        waiting = asyncio.ensure_future(a.wait_serving(SOON_S))
        promoting = asyncio.ensure_future(a.promote())
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        opened.set()
        await waiting
        assert world.brokers["a"].promoted == [1]
        await promoting
        await a.wait_serving(0)

    run(main)


def test_a_backup_is_in_sync_once_the_record_lists_it() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        await a.wait_in_sync(SOON_S)
        b = await world.start("b")
        await asyncio.wait_for(b.wait_in_sync(), SOON_S)
        assert b.status().in_sync

    run(main)


def test_a_wait_ends_at_its_time_out() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        for wait in (a.wait_serving, a.wait_in_sync):
            with pytest.raises(WaitTimeout, match="'a' was not"):
                await wait(0.01)

    run(main)


def test_a_wait_ends_with_the_node() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        waiting = asyncio.ensure_future(a.wait_serving())
        stopped = asyncio.ensure_future(a.wait_stopped())
        await asyncio.sleep(0)
        await world.stop("a")
        with pytest.raises(NodeStopped, match="asked to stop"):
            await waiting
        with pytest.raises(NodeStopped):
            await a.wait_in_sync()
        assert (await stopped).error is None

    run(main)


def test_a_barrier_waits_for_all_earlier_operations() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue, other = a.declare("q"), a.declare("other", settle=Settle.IMMEDIATE)
        ops = [queue.enqueue(b"%d" % n) for n in range(100)]
        ops += [other.enqueue(b"x"), queue.dequeue(ops[0].ids), queue.move(ops[1].ids, other)]
        assert not all(op.safe for op in ops)
        assert await asyncio.wait_for(a.barrier(), SOON_S) == a.generation
        assert all(op.safe for op in ops)

    run(main)


def test_a_barrier_in_a_term_that_ends_is_in_doubt() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"safe")
        world.gates["b"].mute = True  # Nothing is acknowledged any more.
        queue.enqueue(b"pending")
        barrier = asyncio.ensure_future(a.barrier())
        await asyncio.sleep(0)
        a._runtime.replica.step_down("the test wants it")
        a._runtime.poke()
        with pytest.raises(InDoubt):
            await asyncio.wait_for(barrier, SOON_S)
        with pytest.raises(NotPrimary):
            await a.barrier()

    run(main)


STARTED: list[Callable[[Node], Awaitable[object]]] = [
    lambda node: node.wait_serving(0),
    lambda node: node.wait_in_sync(0),
    lambda node: node.barrier(),
    lambda node: node.promote(timeout_s=0.1),
    lambda node: node.demote(timeout_s=0.1),
]


async def outcome(call: Callable[[Node], Awaitable[object]], node: Node) -> type[BaseException] | None:
    try:
        await call(node)
    except Exception as error:
        return type(error)
    return None


def test_calls_that_need_a_running_node_raise_before_its_start_and_after_its_stop() -> None:
    async def main(world: World) -> None:
        assert {await outcome(call, fresh()) for call in STARTED} == {LocalProtocolError}
        a = await world.start("a")
        await world.stop("a")
        assert [await outcome(call, a) for call in STARTED] == [
            NodeStopped,
            NodeStopped,
            NotPrimary,
            LocalProtocolError,
            LocalProtocolError,
        ]

    run(main)


@pytest.mark.parametrize("when", ["before the start", "as a backup", "as primary", "after the stop"])
def test_the_state_of_a_node_can_always_be_read(when: str) -> None:
    async def main(world: World) -> None:
        if when == "before the start":
            node = fresh()
        else:
            node = await world.start("a")
            if when == "as primary":
                await node.promote()
            elif when == "after the stop":
                await world.stop("a")
        roles = {"as primary": Role.ACTIVE, "as a backup": Role.JOINING}
        assert node.role is roles.get(when, Role.STOPPED)
        assert node.status().role == node.role.value
        assert node.serving is (when == "as primary")
        assert node.generation == (1 if when == "as primary" else 0)
        assert (node.stopped is None) is (when != "after the stop")
        assert node.primary == ("a" if when == "as primary" else None)
        assert node.live == (["a"] if node.role is not Role.STOPPED else [])
        assert node.queues == []
        assert (node.id, node.client_address, node.primary_client_address) == ("a", None, None)

    run(main)
