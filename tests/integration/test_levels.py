"""Levels of replication on whole nodes: what each node has, what is answered when, and what a failover leaves (LC5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qpidha import (
    ArgumentError,
    InDoubt,
    Level,
    NotEnoughMembers,
    ObjectMismatch,
    Op,
    QueueMismatch,
    SequenceSet,
    SettingsError,
    Settle,
    UnknownQueue,
)
from qpidha.queues import FifoQueue
from tests.support.harness import QUICK, World, run, until

LEVELS = {"temp.*": "none", "local.*": "configuration"}


SETTINGS = replace(QUICK, replicate=LEVELS)
"""Of every node, but for one that is refused."""


def test_each_level_is_what_it_says_on_both_nodes_and_after_a_failover() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        plain, shared, own = (a.declare(name) for name in ("plain", "local.q", "temp.q"))
        assert [q.level for q in (plain, shared, own)] == [Level.MESSAGES, Level.CONFIGURATION, Level.NONE]
        for queue in (plain, shared, own):
            await queue.declared
            receipt = await queue.enqueue(b"from a")
            assert receipt.nodes == ({"a", "b"} if queue is plain else {"a"})
        await a.barrier()
        await until(lambda: [q.name for q in b.queues] == ["plain", "local.q"])
        assert list(b.queue("plain")) == [(1, b"from a")] and list(b.queue("local.q")) == []
        assert b.queue("local.q").id == shared.id and b.queue("local.q").level is Level.CONFIGURATION
        with pytest.raises(UnknownQueue):
            b.queue("temp.q")
        await a.demote()
        await b.promote()
        await b.queue("local.q").enqueue(b"from b")
        await a.wait_in_sync(10)
        await until(lambda: a.role.value == "ready")
        assert list(a.queue("local.q")) == [(1, b"from a")] and list(b.queue("local.q")) == [(1, b"from b")]
        assert list(a.queue("temp.q")) == [(1, b"from a")]
        await b.delete(b.queue("local.q"))
        await until(lambda: "local.q" not in [q.name for q in a.queues])
        assert "temp.q" in [q.name for q in a.queues] and world.brokers["a"].discarded == []

    run(main, SETTINGS)


def test_a_commit_over_all_levels_and_a_queue_that_delivers() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        plain, own, table = a.declare("plain"), a.declare("temp.q"), a.table("temp.t")
        with a.transaction() as t:
            t.enqueue(plain, b"1")
            t.enqueue(own, b"2")
            t.put(table, b"k", b"v")
            new = t.declare("temp.new")
            t.enqueue(new, b"3")
        await t.op
        assert [list(q) for q in (plain, own, new.queue)] == [[(1, b"1")], [(1, b"2")], [(1, b"3")]]
        assert table.get(b"k") == b"v"
        fifo = FifoQueue(own)
        taken = fifo.acquire()
        assert taken is not None
        await own.move(SequenceSet([1]), plain)
        assert list(plain) == [(1, b"1"), (2, b"2")]
        await a.delete(new.queue, to=own)
        assert list(own) == [(2, b"3")]
        seen: list[int] = []
        own.on_safe_upto(seen.append)
        await own.enqueue(b"4")
        assert seen[-1] == 3
        await own.purge()
        assert list(own) == []
        immediate = a.declare("temp.i", settle=Settle.IMMEDIATE)
        await immediate.enqueue(b"5")
        assert immediate.dequeue(1).safe

    run(main, SETTINGS)


def test_an_object_of_one_node_stays_there_through_failover_and_restart() -> None:
    """It is answered from that node's disk and never sent; its kind and name are refused for an object of the cluster."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        told: dict[str, list[tuple[str, str, bytes | None]]] = {"a": [], "b": []}
        for node in (a, b):
            node.configuration.on_change(lambda *what, to=told[node.id]: to.append(what))
        objects = a.configuration
        op = objects.put("link", "temp.here", b"1")
        assert (await op).nodes == {"a"}
        await objects.put("link", "everywhere", b"2")
        with a.transaction() as t:
            t.put_object("link", "temp.here", b"3")
            t.put_object("user", "ada", b"4")
            t.put_object("user", "bob", b"5", replicate=Level.NONE)
        await t.op
        with pytest.raises(ObjectMismatch):
            objects.put("user", "ada", b"", replicate=Level.NONE)
        replicated = [("link", "everywhere", b"2"), ("user", "ada", b"4")]
        own = [("link", "temp.here", b"3"), ("user", "bob", b"5")]
        assert objects.objects() == replicated + own and objects.objects(replicate=Level.NONE) == own
        await until(lambda: b.configuration.objects() == replicated)
        assert a.status().queue_count == 0 and a.queues == b.queues == []
        await a.demote()
        await b.promote()
        await b.configuration.put("user", "bob", b"6")
        await a.wait_in_sync(10)
        await until(lambda: a.configuration.get("user", "bob") == b"6")
        assert objects.get("user", "bob", replicate=Level.NONE) == b"5"
        assert objects.get("link", "temp.here") == b"3" and b.configuration.get("link", "temp.here") is None
        assert told["b"] and all(name != "temp.here" for _, name, _ in told["b"])
        assert ("user", "bob", b"6") in told["a"] and ("link", "temp.here", b"3") in told["a"]
        await world.stop("a")
        a = await world.start("a")
        await a.wait_in_sync(10)
        assert a.configuration.objects(replicate=Level.NONE) == own

    run(main, replace(QUICK, replicate={"link/temp.*": "none"}))


def test_nothing_waits_for_a_backup_that_does_not_answer() -> None:
    """Also with too few members: no member gets these messages (LV5)."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        plain, own, shared = a.declare("plain"), a.declare("temp.q"), a.declare("local.q")
        await a.barrier()
        await world.stop("b")
        plain.enqueue(b"pending")
        await until(lambda: a.status().below_min_in_sync)
        with pytest.raises(NotEnoughMembers):
            plain.enqueue(b"x")
        for queue in (own, shared):
            await queue.enqueue(b"1")
            await queue.dequeue(1)
            assert list(queue) == []
        late = a.declare("local.late")
        op: Op = late.enqueue(b"2")
        await asyncio.sleep(0.05)
        assert not op.safe, "its declaration waits for members"
        await world.stop("a")
        with pytest.raises(InDoubt):
            await op

    run(main, replace(SETTINGS, min_in_sync=2))


def test_a_level_is_asked_for_or_found() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        own = a.declare("x", replicate=Level.NONE)
        assert a.declare("x") is own and a.declare("x", replicate=Level.NONE) is own
        with pytest.raises(QueueMismatch, match="level NONE; it cannot be declared with level MESSAGES"):
            a.declare("x", replicate=Level.MESSAGES)
        with pytest.raises(QueueMismatch, match="'x' is a queue, no table"):
            a.table("x")
        table = a.table("t", replicate=Level.CONFIGURATION)
        assert a.table("t") is table
        with pytest.raises(QueueMismatch, match="level CONFIGURATION"):
            a.table("t", replicate=Level.NONE)
        assert a.declare("temp.q", replicate=Level.MESSAGES).level is Level.MESSAGES
        await table.put(b"k", b"v")
        assert a.status().queue_count == 2

    run(main, SETTINGS)


def test_nodes_with_other_patterns_are_refused_and_both_say_why(caplog: pytest.LogCaptureFixture) -> None:
    """Of a cluster that has patterns now: the node that was restarted without them does not follow."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        world.settings = QUICK
        b = await world.start("b")
        why = f"replicate of backup 'b' is {{}}, of primary 'a' {LEVELS!r}"
        for node in ("a", "b"):
            await until(lambda node=node: f"node {node}: " in caplog.text and told(node, why))
        assert not b.status().in_sync and b.queues == []

    def told(node: str, why: str) -> bool:
        return any(f"node {node}:" in line and why in line for line in caplog.messages)

    caplog.set_level("INFO", logger="qpidha")
    run(main, SETTINGS)


def test_H19_nothing_is_replicated_by_default_if_the_patterns_say_so() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        own, shared = a.declare("orders"), a.declare("kept", replicate=Level.MESSAGES)
        await own.enqueue(b"1")
        await shared.enqueue(b"2")
        assert [q.name for q in b.queues] == ["kept"]

    run(main, replace(QUICK, replicate={"*": "none"}))


def test_H20_a_binding_that_is_not_replicated_is_in_a_table_of_this_node() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await a.table("temp.bindings").put(b"logs/here", b"#")
        await a.configuration.put("binding", "logs/everywhere", b"#")
        assert b.configuration.objects() == [("binding", "logs/everywhere", b"#")]
        with pytest.raises(UnknownQueue):
            b.table("temp.bindings")

    run(main, SETTINGS)


def test_H21_a_bad_level_is_refused() -> None:
    with pytest.raises(SettingsError, match="replicate must be a dict of patterns to 'none'"):
        replace(QUICK, replicate={"*": "all"})

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        with pytest.raises(ArgumentError, match=r"replicate must be Level\.NONE"):
            a.declare("q", replicate="none")  # type: ignore[arg-type]
        assert a.queues == []

    run(main, SETTINGS)
