"""How a node starts with the store it finds: empty, clean, dirty, of another cluster, failing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qpidha import Node, PromotionRefused, Role, Settings, Settle, StoreError
from qpidha.errors import StoreDirty, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import Change, StoreState
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import TcpTransport
from tests.support.harness import QUICK, Recorder, World, content, history, run, until


def test_a_durable_cluster_survives_a_clean_stop_and_any_start_order(tmp_path: Path) -> None:
    """H53: after a clean stop of all nodes and a start in another order, ids and messages are the same (LM7)."""

    async def main(world: World) -> None:
        for name in ("a", "b", "c"):
            await world.start(name, SqliteStore(tmp_path / name))
        a = world.nodes["a"]
        await a.promote()
        await until(lambda: len(world.members()) == 3)
        queue = a.declare("q")
        await queue.enqueue_many([b"%d" % i for i in range(100)])
        await queue.dequeue(range(1, 50))
        before = content(a)
        for name in ("a", "b", "c"):
            await world.stop(name)
        for name in ("c", "a", "b"):
            await world.start(name, SqliteStore(tmp_path / name))
        b = world.nodes["b"]
        await b.promote()
        await until(lambda: all(n.role is Role.READY for k, n in world.nodes.items() if k != "b"))
        await until(lambda: len(world.members()) == 3)  # The promotion removed a; now it is a member again.
        for node in world.nodes.values():
            assert content(node) == before
            assert node.status().resync_messages == 0
        assert (await b.queue("q").enqueue(b"next")).ids == range(101, 102)

    run(main)


def test_a_dirty_store_is_corrected_by_difference(tmp_path: Path) -> None:
    """H44, LM7: a backup killed while behind downloads, after its restart, what it lacks and drops what is settled."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        b = await world.start("b", SqliteStore(tmp_path / "b"))
        await until(lambda: len(world.members()) == 2)
        queue = a.declare("q")
        await queue.enqueue_many([b"%d" % i for i in range(1000)])
        await world.kill("b")
        await queue.dequeue(range(1, 501))
        await queue.enqueue_many([b"%d" % i for i in range(1000, 1100)])
        b = await world.start("b", SqliteStore(tmp_path / "b"))
        await until(lambda: b.status().in_sync)
        assert history(a) == history(b)
        assert b.status().resync_messages == 100

    run(main)


def test_the_strict_rule_refuses_a_dirty_store(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        await world.start("a", SqliteStore(tmp_path / "a"))
        await world.nodes["a"].promote()
        await world.kill("a")
        with pytest.raises(StoreDirty):
            await world.start("a", SqliteStore(tmp_path / "a"))
        world.nodes.pop("a", None)

    run(main, Settings(dirty_start="refuse"))


def test_a_store_of_another_cluster_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    """The store is neither served nor wiped (H55, D7)."""

    async def found(world: World) -> None:
        await world.start("a", SqliteStore(tmp_path / "a"))
        await world.nodes["a"].promote()
        world.nodes["a"].declare("q").enqueue(b"theirs")

    async def main(world: World) -> None:
        b = await world.start("b")
        await b.promote()
        with pytest.raises(StoreMismatch):
            await world.start("a", SqliteStore(tmp_path / "a"))
        status = SqliteStore(tmp_path / "a").read_status()
        assert status.cluster is not None and status.cluster != b._runtime.replica.cluster
        assert status.state is StoreState.CLEAN

    run(found)
    run(main)


def test_an_empty_store_joins_as_a_new_member_and_erases_no_other_store() -> None:
    """T16: after the loss of its store the old primary may not be primary, and its backups keep everything."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        await a.declare("q").enqueue_many([b"1", b"2", b"3"])
        await world.kill("a")
        again = await world.start("a", MemoryStore())
        with pytest.raises(PromotionRefused):
            await again.promote()
        await b.promote()
        await until(lambda: world.members() == {"a", "b", "c"})
        assert [d for _, d in content(again)] == [b"1", b"2", b"3"] == [d for _, d in content(c)]

    run(main)


def test_two_nodes_on_one_store(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        await world.start("a", SqliteStore(tmp_path / "a"))
        with pytest.raises(StoreLocked):
            SqliteStore(tmp_path / "a").open("a")

    run(main)


def test_a_reset_manager_is_refused() -> None:
    """T31: the record is gone but the store is not."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        a.declare("q")
        await world.stop("a")
        stores = world.stores
        async with World(QUICK) as other:
            other.stores = stores
            with pytest.raises(StoreError):
                await other.start("a")

    run(main)


class BrokenStore(MemoryStore):
    """A store that fails every commit after the test has broken it."""

    broken = False

    def commit(self, changes: list[Change]) -> None:  # type: ignore[override]
        if self.broken:
            raise StoreFailed("injected")
        super().commit(changes)


def test_a_failed_commit_acknowledges_nothing_and_another_node_takes_over() -> None:
    """D6, T35: when the primary's store fails, what is not acknowledged is in doubt: a backup may have it (O4)."""

    async def main(world: World) -> None:
        store = BrokenStore()
        a = await world.start("a", store)
        await a.promote()
        b = await world.start("b")
        await until(lambda: len(world.members()) == 2)
        queue = a.declare("q", settle=Settle.REPLICATED)
        await queue.enqueue(b"safe")
        store.broken = True
        op = queue.enqueue(b"in doubt")
        outcomes: list[object] = []
        op.add_safe_callback(lambda _, error: outcomes.append(error))
        await until(lambda: a.status().store_error)
        await until(lambda: world.brokers["a"].demoted == [1])
        assert len(outcomes) == 1 and outcomes[0] is not None
        assert a.role is Role.STOPPED
        assert (await a.wait_stopped()).held == (), "its store is closed"
        await b.promote()
        assert [d for _, d in content(b)] == [b"safe", b"in doubt"]
        assert store.open("a").status.state is StoreState.DIRTY
        store.close(clean=False)

    run(main)


def test_a_backup_whose_store_fails_leaves_the_record_before_publishes_go_on() -> None:
    """T34: a store that failed sends no acknowledgement."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        store = BrokenStore()
        b = await world.start("b", store)
        await until(lambda: len(world.members()) == 2)
        queue = a.declare("q")
        await queue.enqueue(b"both")
        store.broken = True
        receipt = await asyncio.wait_for(_publish(queue), 15)
        assert receipt == {"a"}
        assert b.status().store_error and world.members() == {"a"}

    run(main)


async def _publish(queue: object) -> frozenset[str]:
    return (await queue.enqueue(b"alone")).nodes  # type: ignore[attr-defined, no-any-return]


class BrokenRecords(MemoryRecordStore):
    """A record store with a bug that affects nodes that join later."""

    for_newcomers = broken = False

    async def watch(self):  # type: ignore[no-untyped-def]
        newcomer = self.for_newcomers
        async for current in super().watch():
            if self.broken and newcomer:
                raise ZeroDivisionError
            yield current


def test_a_node_whose_adapter_has_a_bug_stops_instead_of_looking_alive() -> None:
    async def main(world: World) -> None:
        records = world.records = BrokenRecords()
        a = await world.start("a")
        await a.promote()
        records.for_newcomers = True
        b = await world.start("b")
        records.broken = True
        await until(lambda: b.role is Role.STOPPED)
        assert isinstance(b._runtime.store_error, ZeroDivisionError)
        await until(lambda: "b" not in a.live)

    run(main)


def test_a_node_that_has_not_started_knows_no_primary() -> None:
    """A broker may open its client port before the node has started: clients are told that there is no primary."""
    node = Node(
        "a", broker=Recorder(), store=MemoryStore(), transport=TcpTransport(), records=MemoryRecordStore()
    )
    assert node.primary is None
    assert node.primary_client_address is None
    assert not node.serving
