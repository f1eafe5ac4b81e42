"""A node that ends says so, and gives everything back in bounded time: asked, failed, hung, or while it starts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qpidha import InDoubt, Node, Role, Stopped
from qpidha.core.manager import NotSent, Unknown
from qpidha.core.ready import CompareAndSet
from qpidha.errors import (
    HandOverRefused,
    LocalProtocolError,
    NotPrimary,
    OutcomeUnknown,
    QpidhaError,
    StoreFailed,
    StoreLocked,
    Unavailable,
)
from qpidha.journal import Change
from qpidha.node.ask import ask
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.records import MemoryRecordStore
from qpidha.records.memory import MemorySession
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.system.threads import JobThread
from qpidha.transports import TcpTransport
from qpidha.types import NodeId, Versioned
from qpidha.wire.info import decode_info
from tests.support.harness import QUICK, Recorder, World, run, until

SOON_S = 10.0
"""For what is due at once: a limit for failures, never waited for otherwise."""
SHORT = replace(QUICK, stop_timeout_s=2.0, commit_timeout_s=60.0, hand_over_timeout_s=30.0)


class Failing(MemoryStore):
    """Its commits fail once it is told to."""

    fails = False

    def commit(self, changes: Sequence[Change]) -> None:
        if self.fails:
            raise StoreFailed("disk full")
        super().commit(changes)


class Hanging(MemoryStore):
    """Its commits wait for as long as the gate is closed."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.closed: list[bool] = []

    def commit(self, changes: Sequence[Change]) -> None:
        self.gate.wait()
        super().commit(changes)

    def close(self, *, clean: bool) -> None:
        self.closed.append(clean)
        super().close(clean=clean)


class Ending(Recorder):
    """Wants to know of the end."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Stopped] = []

    async def on_stopped(self, stopped: Stopped) -> None:
        self.ends.append(stopped)


async def waited(op: object) -> object:
    return await op  # type: ignore[misc]


# --- a node that ends says so --------------------------------------------------------------------


def test_a_backup_whose_store_fails_reports_it_to_broker_operator_and_nodes(tmp_path: Path) -> None:
    """The broker, who waits, the operator at the control socket, the other nodes."""

    async def main(world: World) -> None:
        control = tmp_path / "control.sock"
        a = await world.start("a", promoter=PriorityPromoter(1), client_address=("127.0.0.1", 5001))
        await until(lambda: a.serving)
        store, broker = Failing(), Ending()
        b = await world.start("b", store, broker, control=control)
        await until(lambda: b.status().in_sync)
        assert b.primary_client_address == ("127.0.0.1", 5001)
        ended = asyncio.ensure_future(b.wait_stopped())
        store.fails = True
        a.declare("q").enqueue(b"1")
        stopped = await asyncio.wait_for(ended, SOON_S)
        assert stopped.reason == "failed: disk full" and stopped.held == ()
        assert isinstance(stopped.error, StoreFailed)
        await until(lambda: broker.ends == [stopped])
        assert b.stopped == stopped.reason and b.role is Role.STOPPED
        assert b.primary is None and b.primary_client_address is None and b.live == []
        answer = await ask(control, "status")
        assert answer["status"]["stopped"] == "failed: disk full" and answer["status"]["role"] == "stopped"
        for command in ("promote", "demote"):
            answer = await ask(control, command)
            assert not answer["ok"] and answer["kind"] == "LocalProtocolError"
        await until(lambda: a.live == ["a"])
        await world.stop("b")
        assert not control.exists(), "nothing is left once it was told to stop"
        assert (await b.wait_stopped()) is stopped

    run(main, SHORT)


def test_a_primary_whose_store_fails_redirects_no_client_to_itself() -> None:
    async def main(world: World) -> None:
        store, broker = Failing(), Ending()
        a = await world.start("a", store, broker, client_address=("127.0.0.1", 5001))
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"1")
        assert a.primary_client_address == ("127.0.0.1", 5001)
        store.fails = True
        with pytest.raises(InDoubt):
            await asyncio.wait_for(waited(queue.enqueue(b"2")), SOON_S)
        assert not a.serving and a.primary_client_address is None
        with pytest.raises(NotPrimary) as caught:
            queue.enqueue(b"3")
        assert caught.value.address is None
        await asyncio.wait_for(a.wait_stopped(), SOON_S)
        assert broker.demoted == [1], "it closes its port before it is told of the end"
        await until(lambda: broker.ends)

    run(main, SHORT)


def test_a_node_that_was_asked_to_stop_says_that() -> None:
    async def main(world: World) -> None:
        broker = Ending()
        a = await world.start("a", broker=broker)
        await world.stop("a")
        stopped = await a.wait_stopped()
        assert stopped == Stopped("it was asked to stop") and broker.ends == [stopped]

    run(main, SHORT)


@pytest.mark.parametrize("fault", ["raises", "hangs", "stops"])
def test_on_stopped_may_fail_like_any_other(fault: str) -> None:
    class Faulty(Ending):
        node: Node

        async def on_stopped(self, stopped: Stopped) -> None:
            await super().on_stopped(stopped)
            if fault == "raises":
                raise OSError("injected")
            if fault == "hangs":
                await asyncio.Event().wait()
            await self.node.stop()
            await self.node.wait_stopped()

    async def main(world: World) -> None:
        broker = Faulty()
        broker.node = await world.start("a", broker=broker)
        began = time.monotonic()
        await asyncio.wait_for(world.stop("a"), SOON_S)
        assert time.monotonic() - began < SHORT.stop_timeout_s + 3.0
        assert len(broker.ends) == 1

    run(main, SHORT)


# --- stop, at any time ---------------------------------------------------------------------------


def test_stop_before_the_start_is_the_end() -> None:
    async def main(world: World) -> None:
        node = unstarted(world)
        await asyncio.wait_for(node.stop(), SOON_S)
        await node.stop()
        assert (await node.wait_stopped()).reason == "it was asked to stop"
        with pytest.raises(LocalProtocolError):
            await node.start()

    run(main)


def unstarted(world: World, **options: object) -> Node:
    return Node(
        "n",
        broker=Recorder(),
        store=MemoryStore(),
        transport=TcpTransport(),
        records=world.records,
        **options,
    )  # type: ignore[arg-type]


def test_a_node_is_started_once() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        with pytest.raises(LocalProtocolError):
            await a.start()
        assert a.stopped is None
        await world.stop("a")
        with pytest.raises(LocalProtocolError):
            await a.start()

    run(main)


def test_stop_twice_and_side_by_side() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        await asyncio.wait_for(asyncio.gather(a.stop(), a.stop(), a.stop()), SOON_S)
        await a.stop()
        assert world.brokers["a"].demoted == [1]

    run(main, SHORT)


class Silent(MemoryRecordStore):
    """Does not answer any more, once it is told to; what it was asked stays open."""

    silent = False

    async def _reach(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        await super()._reach()

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> MemorySession:
        session = await super().open_session(node, info, ttl_s=ttl_s)
        close = session.close

        async def closes() -> None:
            await self._reach()
            await close()

        session.close = closes  # type: ignore[method-assign]
        return session


def test_stop_while_it_starts_ends_the_start() -> None:
    async def main(world: World) -> None:
        world.records = records = Silent()
        records.silent = True
        store = Hanging()
        node = Node("a", broker=Recorder(), store=store, transport=TcpTransport(), records=records)
        starting = asyncio.ensure_future(node.start())
        await until(lambda: node._runtime.thread and store.closed == [])
        await asyncio.sleep(0.05)
        await asyncio.wait_for(node.stop(), SOON_S)
        with pytest.raises(LocalProtocolError, match="while it was starting"):
            await starting
        assert len(store.closed) == 1
        assert (await node.wait_stopped()).reason == "it was asked to stop"

    run(main, SHORT)


def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    async def main(world: World) -> None:
        world.records = records = Silent()
        records.silent = True
        store = Hanging()
        node = Node("a", broker=Recorder(), store=store, transport=TcpTransport(), records=records)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(node.start(), 0.2)
        assert len(store.closed) == 1
        assert "CancelledError" in (await node.wait_stopped()).reason
        await asyncio.wait_for(node.stop(), SOON_S)

    run(main, SHORT)


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Store, listener and control socket are free again, and stop() may follow."""

    async def main(world: World) -> None:
        a = await world.start("a")
        store = SqliteStore(tmp_path / "b")
        b = Node(
            "b",
            broker=Recorder(),
            store=store,
            transport=TcpTransport(),
            records=world.records,
            listen=a.address or ("", 0),
            control=tmp_path / "control.sock",
        )
        with pytest.raises(OSError, match="in use"):
            await b.start()
        stopped = await b.wait_stopped()
        assert stopped.reason.startswith("it could not start: AddressUnavailable") and isinstance(
            stopped.error, OSError
        )
        await b.stop()
        assert not (tmp_path / "control.sock").exists()
        again = SqliteStore(tmp_path / "b")
        again.open("b")
        again.close(clean=True)

    run(main, SHORT)


def test_a_caller_of_stop_that_is_cancelled_does_not_undo_it() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        caller = asyncio.ensure_future(a.stop())
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        assert (await asyncio.wait_for(a.wait_stopped(), SOON_S)).held == ()

    run(main, SHORT)


def test_a_node_stops_in_a_task_that_is_cancelled() -> None:
    """As at the end of `asyncio.run`, which cancels every task there is, the node's own as well."""

    async def main(world: World) -> None:
        broker = Ending()
        node = await world.start("a", broker=broker)
        await node.promote()
        try:
            await asyncio.Event().wait()
        finally:
            for task in asyncio.all_tasks():
                if task.get_name().startswith("qpidha"):
                    task.cancel()
            await node.stop()
            assert node._parts.life.stopped is not None and node._parts.life.stopped.held == ()
            assert broker.demoted == [1] and len(broker.ends) == 1

    async def all_of_it() -> None:
        async with World(SHORT) as world:
            await asyncio.wait_for(main(world), 1.0)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(all_of_it())


# --- stop, whatever hangs ------------------------------------------------------------------------


def test_a_disk_that_hangs_keeps_the_store_locked_and_nothing_else(tmp_path: Path) -> None:
    """The commit may still write: whoever opened the store now would read what changes behind its back."""

    class HangingSqlite(SqliteStore):
        gate = threading.Event()

        def commit(self, changes: Sequence[Change]) -> None:
            self.gate.wait()
            super().commit(changes)

    async def main(world: World) -> None:
        store = HangingSqlite(tmp_path / "a")
        store.gate.set()
        a = await world.start("a", store)
        await a.promote()
        b = await world.start("b", promoter=PriorityPromoter(1))
        await until(lambda: b.status().in_sync)
        queue = a.declare("q")
        await queue.enqueue(b"1")
        store.gate.clear()
        op = queue.enqueue(b"2")
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(world.stop("a"))
        await until(lambda: b.serving, what="others need not wait for this disk")
        began = time.monotonic()
        await asyncio.wait_for(stopping, 30)
        assert time.monotonic() - began < SHORT.stop_timeout_s + 3.0
        with pytest.raises(InDoubt):
            await asyncio.wait_for(waited(op), SOON_S)
        stopped = await a.wait_stopped()
        assert stopped.held == ("store",) and isinstance(stopped.error, StoreFailed)
        with pytest.raises(StoreLocked):
            SqliteStore(tmp_path / "a").open("a")
        store.gate.set()
        again = SqliteStore(tmp_path / "a")

        def is_free() -> bool:
            try:
                again.open("a")
            except StoreLocked:
                return False
            return True

        await until(is_free, what="the disk answered, so the store is released")
        again.close(clean=True)

    run(main, SHORT)


def test_a_record_store_that_hangs_delays_the_end_by_no_more_than_the_limit() -> None:
    async def main(world: World) -> None:
        world.records = records = Silent()
        store = Hanging()
        a = await world.start("a", store)
        await a.promote()
        records.silent = True
        began = time.monotonic()
        await asyncio.wait_for(world.stop("a"), 30)
        assert time.monotonic() - began < SHORT.stop_timeout_s + 3.0
        stopped = await a.wait_stopped()
        assert stopped.held == ("session",)
        assert store.closed == [True], "the store is in order all the same"
        records.silent = False

    run(main, SHORT)


def test_a_promoter_that_ignores_cancellation_does_not_delay_the_stop() -> None:
    class Clinging:
        async def decisions(self, view: object) -> AsyncIterator[str]:
            until_at = time.monotonic() + SHORT.stop_timeout_s + 1.0
            while time.monotonic() < until_at:
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    continue
            yield "demote"

    async def main(world: World) -> None:
        store = Hanging()
        a = await world.start("a", store, promoter=Clinging())
        await asyncio.wait_for(world.stop("a"), 30)
        assert store.closed == [True]
        assert (await a.wait_stopped()).held == ("session",)

    run(main, SHORT)


def test_a_process_ends_although_its_disks_hang() -> None:
    """Threads of the store and of the record store are left where they are, as in a crash."""
    program = textwrap.dedent(
        """
        import asyncio, threading
        from qpidha import Node, Settings
        from qpidha.records.file.worker import Worker
        from tests.unit.node.test_life import Hanging
        from tests.support.harness import QUICK, Recorder, World

        async def main():
            world, store = World(QUICK), Hanging()
            a = await world.start("a", store)
            await a.promote()
            store.gate.clear()
            a.declare("q").enqueue(b"1")
            worker = Worker("hangs")
            task = asyncio.ensure_future(worker.run(threading.Event().wait, None))
            await asyncio.sleep(0.2)
            task.cancel()
            print("over", flush=True)

        asyncio.run(main())
        """
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout == "over\n", done.stderr


def test_a_job_thread_runs_jobs_in_order_and_ends() -> None:
    thread, order = JobThread("t"), list[int]()
    futures = [thread.submit(lambda n=n: order.append(n)) for n in range(3)]
    failing = thread.submit(lambda: 1 // 0)
    futures[-1].result(SOON_S)
    assert order == [0, 1, 2]
    assert isinstance(failing.exception(SOON_S), ZeroDivisionError)
    gate = threading.Event()
    running, waiting = thread.submit(gate.wait), thread.submit(lambda: order.append(3))
    assert waiting.cancel()
    last = thread.submit(lambda: order.append(4))
    thread.close()
    thread.close()
    with pytest.raises(RuntimeError):
        thread.submit(gate.wait)
    gate.set()
    assert running.result(SOON_S)
    last.result(SOON_S)
    thread.join(SOON_S)
    assert not thread.alive and order == [0, 1, 2, 4]


# --- before the start and after the end ----------------------------------------------------------


def test_public_methods_work_or_fail_with_an_error_of_the_library() -> None:
    async def main(world: World) -> None:
        async def everything(node: Node) -> None:
            assert node.role is Role.STOPPED and not node.serving
            assert node.primary is None and node.primary_client_address is None
            assert node.live == []
            assert node.generation >= 0 and node._runtime.now() > 0
            for work in (
                node.status,
                lambda: node.queue("q"),
                lambda: node.declare("q"),
                lambda: node.renew_listener("q"),
                lambda: node.queues,
                lambda: node.address,
            ):
                try:
                    work()
                except QpidhaError:
                    continue
            for call in (node.promote, node.demote):
                with pytest.raises(LocalProtocolError):
                    await call()

        await everything(unstarted(world))
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"1")
        await world.stop("a")
        await everything(a)
        assert a.status().stopped == "it was asked to stop" and a.generation == 1
        for change in (lambda: queue.enqueue(b"2"), lambda: queue.dequeue(1), lambda: a.declare("q")):
            with pytest.raises(NotPrimary):
                change()
        failed = unstarted(world, listen=("192.0.2.1", 1))
        with pytest.raises((OSError, QpidhaError)):
            await failed.start()
        await everything(failed)
        assert failed.status().stopped

    run(main, SHORT)


# --- a hand-over lasts ---------------------------------------------------------------------------


def scores(records: MemoryRecordStore) -> dict[str, int | None]:
    live: Mapping[NodeId, bytes] = records._live.value
    return {node: info.score for node, raw in live.items() if (info := decode_info(raw)) is not None}


@pytest.mark.parametrize("priorities", [(9, 1), (0, 0)])
def test_a_node_that_handed_over_is_not_promoted_again_at_once(priorities: tuple[int, int]) -> None:
    """Although it is the preferred one: before maintenance nobody lowers priorities first."""

    async def main(world: World) -> None:
        b = await world.start("b", promoter=PriorityPromoter(priorities[0]))
        await until(lambda: b.serving)
        a = await world.start("a", promoter=PriorityPromoter(priorities[1]))
        await until(lambda: a.status().in_sync)
        for generation in (2, 4):
            await b.demote()
            await until(lambda: a.serving)
            assert a.generation == generation, "nobody was primary in between"
            await until(lambda: b.status().in_sync and scores(world.records)["b"] == priorities[0])
            await asyncio.sleep(0.3)
            assert a.serving and a.generation == generation
            await a.demote()
            await until(lambda: b.serving and a.status().in_sync)

    run(main, SHORT)


def test_the_score_is_withdrawn_until_another_primary_is_recorded() -> None:
    async def main(world: World) -> None:
        operator = OperatorPromoter()
        a = await world.start("a", promoter=PriorityPromoter(9))
        await until(lambda: a.serving)
        b = await world.start("b", promoter=operator, score=1)
        await until(lambda: b.status().in_sync)
        await a.demote()
        await until(lambda: scores(world.records) == {"a": None, "b": 1})
        assert not a._parts.cluster.eligible and a.status().place_given_up == "it was asked to hand over"
        await asyncio.sleep(0.5)
        assert a.primary is None, "the other one is alive and could"
        operator.promote()
        await until(lambda: b.serving and scores(world.records) == {"a": 9, "b": 1})
        await until(lambda: a.status().place_given_up is None and a.status().in_sync)

    run(main, SHORT)


def test_if_no_other_node_takes_over_it_becomes_primary_again() -> None:
    """After a while, or as soon as no other live member is left."""

    async def main(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(9))
        await until(lambda: a.serving)
        await world.start("b", promoter=OperatorPromoter(), score=1)
        await until(lambda: world.nodes["b"].status().in_sync)
        await a.demote()
        await until(lambda: a.serving and a.generation == 2, what="nobody came")

    run(main, replace(SHORT, hand_over_timeout_s=0.5))

    async def alone(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(9))
        await until(lambda: a.serving)
        await world.start("b", promoter=OperatorPromoter(), score=1)
        await until(lambda: world.nodes["b"].status().in_sync)
        await a.demote()
        await world.stop("b")
        await until(lambda: a.serving and a.generation == 2, what="it is alone")

    run(alone, SHORT)


def test_a_hand_over_without_a_successor_is_refused() -> None:
    """The same node would be primary again a moment later: exit code 0 would be a lie."""

    async def main(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(9))
        await until(lambda: a.serving)
        with pytest.raises(HandOverRefused, match="no other node is live"):
            await asyncio.wait_for(a.demote(timeout_s=30.0), SOON_S)
        assert a.serving and a.generation == 1
        world.gates["b"] = world.gates["a"]
        b = await world.start("b", promoter=PriorityPromoter(1))
        await asyncio.wait_for(a.demote(timeout_s=30.0), 30.0)  # Waits until b is in sync.
        await until(lambda: b.serving)

    run(main, SHORT)


def test_a_node_whose_promoter_waits_for_an_operator_may_always_be_demoted() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", promoter=OperatorPromoter())
        await a.promote()
        await a.demote()
        assert a.primary is None
        await a.promote()

    run(main, SHORT)


# --- the session ---------------------------------------------------------------------------------


def test_a_lost_session_is_opened_again_with_what_is_true_now() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(9))
        world.records.expire("a")
        await until(lambda: "session" in {t.cause for t in a.status().troubles})
        await until(lambda: scores(world.records) == {"a": 9})
        await until(lambda: "session" not in {t.cause for t in a.status().troubles})
        world.records.reachable = False
        world.records.expire("a")
        await asyncio.sleep(0.3)
        assert scores(world.records) == {}
        world.records.reachable = True
        await until(lambda: scores(world.records) == {"a": 9})

    run(main, SHORT)


def test_an_update_that_fails_is_tried_again() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(9))
        session = a._parts.presence._session
        assert isinstance(session, MemorySession)
        update, failures = session.update, [1, 2, 3]

        async def fails(info: bytes) -> None:
            if failures:
                failures.pop()
                raise Unavailable("injected")
            await update(info)

        session.update = fails  # type: ignore[method-assign]
        a._parts.place._publish = lambda: None  # type: ignore[method-assign]
        a._parts.presence.stand(False)
        await until(lambda: scores(world.records) == {"a": None}, timeout_s=30)
        assert not failures

    run(main, SHORT)


# --- answers at a step-down ----------------------------------------------------------------------


def test_an_accept_that_is_pending_at_a_step_down_is_in_doubt() -> None:
    """Awaited or with a callback: it must not hang."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue_many([b"1", b"2"])
        world.gates["a"].mute = True
        accept = queue.dequeue(1)
        told: list[object] = []
        accept.add_safe_callback(lambda op, error: told.append(error))
        awaiting = asyncio.ensure_future(waited(accept))
        await asyncio.sleep(0.05)
        assert not accept.done
        a._runtime.replica.step_down("the test wants it")
        a._runtime.poke()
        with pytest.raises(InDoubt):
            await asyncio.wait_for(awaiting, SOON_S)
        [error] = told
        assert isinstance(error, InDoubt)
        assert accept.done and not accept.safe

    run(main, SHORT)


def test_publishes_collected_in_the_turn_of_a_step_down_are_dropped() -> None:
    """It is in doubt; it must not be published, nor counted, in a later generation."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"safe")
        op = queue.enqueue(b"too late")
        a._runtime.replica.step_down("the test wants it")
        a._parts.engine.driver.run()  # type: ignore[union-attr]
        assert a.queue("q").depth == 1 and queue.depth == 1
        with pytest.raises(InDoubt):
            await asyncio.wait_for(waited(op), SOON_S)
        await a.promote()
        again = a.queue("q")
        receipt = await again.enqueue(b"new")
        assert receipt.ids == range(2, 3)
        assert [data for _, data in again] == [b"safe", b"new"]

    run(main, SHORT)


def test_a_task_that_awaits_an_op_may_be_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Others that await it, and the node, do not notice; and no callback is said to have failed."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"1")
        world.gates["b"].mute = True
        op = queue.enqueue(b"2")
        impatient, patient = asyncio.ensure_future(waited(op)), asyncio.ensure_future(waited(op))
        await asyncio.sleep(0.05)
        impatient.cancel()
        await asyncio.wait([impatient])
        world.gates["b"].mute = False
        assert sorted((await asyncio.wait_for(patient, SOON_S)).nodes)  # type: ignore[attr-defined]
        assert impatient.cancelled() and a.stopped is None
        assert not [r for r in caplog.records if r.levelname == "ERROR"]

    run(main, SHORT)


def test_demote_returns_although_the_node_is_primary_again_meanwhile() -> None:
    """As it does where the next primary cannot serve: this node ceased to be primary, whatever it is now."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        look = a._roles._until

        async def look_late(reached: Callable[[], bool], timeout_s: float, what: str) -> None:
            a._roles._until = look  # type: ignore[method-assign]
            await until(lambda: a._runtime.replica.primary is None)
            await b.promote()
            await until(lambda: a.status().in_sync)
            await a.promote()
            await look(reached, timeout_s, what)

        a._roles._until = look_late  # type: ignore[method-assign]
        await a.demote(timeout_s=5.0)
        assert a.serving and a.generation == 3

    run(main, SHORT)


# --- the cluster manager, and who is at the other end ----------------------------------------------


def test_a_time_out_is_an_unknown_outcome_and_not_a_request_that_was_never_sent() -> None:
    """M2: what was asked for may still be applied."""

    async def main(world: World) -> None:
        records = world.records
        a = await world.start("a")
        await a.promote()
        record = a._runtime.replica.record
        assert record is not None and a._runtime.replica.manager.known is not None
        request = CompareAndSet(a._runtime.replica.manager.known.version, replace(record, nonce=b"n"))

        async def answer(error: BaseException) -> object:
            async def fails(*_: object, **__: object) -> Versioned:
                raise error

            records.compare_and_set = fails  # type: ignore[method-assign]
            try:
                return await a._parts.cluster._ask(request)
            finally:
                del records.compare_and_set

        assert await answer(asyncio.TimeoutError()) == Unknown()
        assert await answer(OutcomeUnknown("no answer")) == Unknown()
        assert await answer(Unavailable("not reachable")) == NotSent()

    run(main, SHORT)


def test_a_backup_says_which_node_it_expects_at_the_other_end() -> None:
    """Else a certificate of any node of the authority would do."""

    class Asking(TcpTransport):
        def __init__(self) -> None:
            super().__init__()
            self.expected: list[str | None] = []

        async def connect(self, address, on_link, *, timeout_s, expect=None):  # type: ignore[no-untyped-def]
            self.expected.append(expect)
            return await super().connect(address, on_link, timeout_s=timeout_s, expect=expect)

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        transport = Asking()
        b = Node("b", broker=Recorder(), store=MemoryStore(), transport=transport, records=world.records)
        await b.start()
        await until(lambda: b.status().in_sync)
        assert set(transport.expected) == {"a"}
        await b.stop()

    run(main, SHORT)
