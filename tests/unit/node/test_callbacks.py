"""Whatever the broker's callbacks do, the node goes on, another member takes over where it must, and the status says so.

Method: whole nodes in one process, with brokers that raise, end with CancelledError, never return, ignore their
cancellation, or call back into the node. Limits are short; nothing here waits for more than it must.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from qpidha import Batch, Discarded, InDoubt, Node, Role, SequenceSet
from qpidha.errors import ClusterError, LocalProtocolError, NotPrimary
from qpidha.interfaces import QueueListener
from qpidha.node import roles
from qpidha.node.callbacks import FUNCTIONS_MAX, Call, _Log, call, inside
from qpidha.node.notifier import CANCEL_S
from qpidha.promoters import PriorityPromoter
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import QUICK, Recorder, World, content, run, until

SOON_S = 10.0
"""For what is due at once: a limit for failures, never waited for otherwise."""
SHORT = replace(
    QUICK,
    promote_timeout_s=0.3,
    demote_timeout_s=0.3,
    discard_timeout_s=0.3,
    stop_timeout_s=4.0,
    unfit_delay_s=30.0,
    hand_over_timeout_s=30.0,
)
LONG = replace(SHORT, promote_timeout_s=60.0, demote_timeout_s=60.0, discard_timeout_s=60.0)


async def cancelled() -> None:
    """CancelledError, although nobody cancelled the one who awaits this."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def raises() -> None:
    raise OSError("injected")


async def hangs() -> None:
    await asyncio.Event().wait()


async def clings() -> None:
    """Goes on although it is cancelled."""
    until_at = time.monotonic() + CANCEL_S + 1.0
    while time.monotonic() < until_at:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


Fault = Callable[[], Awaitable[None]]
FAULTS: dict[str, Fault] = {"raises": raises, "cancelled": cancelled, "hangs": hangs, "clings": clings}


class Faulty(Recorder):
    """One of its methods has a fault, as long as it is set."""

    def __init__(self, method: str, fault: Fault) -> None:
        super().__init__()
        self.faults = {method: fault}
        self.running: list[str] = []
        self.overlaps: list[str] = []
        self.open = False

    async def _do(self, method: str) -> None:
        if self.running:
            self.overlaps.append(f"{method} during {self.running}")
        self.running.append(method)
        try:
            if fault := self.faults.get(method):
                await fault()
        finally:
            self.running.remove(method)

    async def on_promote(self, generation: int) -> None:
        await super().on_promote(generation)
        await self._do("on_promote")
        self.open = True

    async def on_demote(self, generation: int) -> None:
        await super().on_demote(generation)
        self.open = False
        await self._do("on_demote")

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        await self._do("on_discarded")
        await super().on_discarded(messages)


def free(world: World, name: str) -> bool:
    """The store of this node can be opened again."""
    world.stores[name].open(name)
    world.stores[name].close(clean=True)
    return True


# --- on_promote ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", FAULTS)
def test_a_primary_whose_broker_does_not_open_is_replaced(how: str) -> None:
    """Also if it is the preferred one; the other stays primary, and the status of the first says why."""

    async def main(world: World) -> None:
        broker = Faulty("on_promote", FAULTS[how])
        b = await world.start("b", promoter=PriorityPromoter(1))
        await until(lambda: b.serving)
        a = await world.start("a", broker=broker, promoter=PriorityPromoter(9))
        await until(lambda: a.status().in_sync)
        await b.demote()
        await until(lambda: broker.promoted, what="a was preferred")
        await until(lambda: b.serving and b.generation == 3, what="b takes over again")
        assert not a.serving
        status = a.status()
        assert status.broker_error is not None and "on_promote" in status.broker_error
        assert status.place_given_up is not None
        assert not a._parts.cluster.eligible
        await until(lambda: broker.demoted == broker.promoted == [2], what="what was half open is closed")
        await b.declare("q").enqueue(b"1")
        await asyncio.sleep(0.3)
        assert b.serving and b.generation == 3, "and it stays so"
        await asyncio.wait_for(world.stop("a"), SOON_S)
        assert free(world, "a")
        assert how == "clings" or not broker.overlaps

    run(main, SHORT)


def test_a_lone_primary_asks_its_broker_again_until_it_opens() -> None:
    """Nobody could take over: it stays primary, serves nobody, says so, and opens when the broker can."""

    async def main(world: World) -> None:
        broker = Faulty("on_promote", raises)
        a = await world.start("a", broker=broker, promoter=PriorityPromoter(1))
        await until(lambda: a.status().broker == "failed")
        assert a.role is Role.ACTIVE and not a.serving and a.primary_client_address is None
        with pytest.raises(NotPrimary):
            a.declare("q")
        await until(lambda: len(broker.promoted) >= 2)
        assert broker.demoted[0] == 1, "each attempt begins from nothing"
        broker.faults.clear()
        await until(lambda: a.serving and a.status().broker == "serving")
        assert broker.open and a.status().broker_error is None
        assert set(broker.promoted) == {1}, "in one generation"
        await a.declare("q").enqueue(b"1")
        assert not broker.overlaps

    run(main, SHORT)


def test_nodes_none_of_which_can_open_continue_to_try() -> None:
    """A common cause, such as a name that cannot be resolved, must not end in a cluster where nobody tries."""

    async def main(world: World) -> None:
        brokers = [Faulty("on_promote", raises) for _ in "ab"]
        for name, broker in zip("ab", brokers, strict=True):
            await world.start(name, broker=broker, promoter=PriorityPromoter(1))
        await until(lambda: all(broker.promoted for broker in brokers))
        for broker in brokers:
            broker.faults.clear()
        await until(lambda: any(broker.open for broker in brokers), timeout_s=20)

    run(main, replace(SHORT, unfit_delay_s=30.0))


def test_an_explicit_promotion_says_that_the_broker_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks now and then, and a look while ``on_promote`` goes on finds a node that serves: here it comes later."""

    async def main(world: World) -> None:
        a = await world.start("a", broker=Faulty("on_promote", raises))

        async def until_failed(_: float) -> None:
            await until(lambda: a.status().broker == "failed")

        monkeypatch.setattr(roles, "asyncio", SimpleNamespace(sleep=until_failed))
        with pytest.raises(ClusterError, match="injected"):
            await asyncio.wait_for(a.promote(timeout_s=60.0), SOON_S)

    run(main, SHORT)


def test_the_limit_counts_from_the_promotion_also_behind_another_call() -> None:
    """A broker busy with something else has not opened either."""

    async def main(world: World) -> None:
        broker = Faulty("on_demote", hangs)
        a = await world.start("a", broker=broker, promoter=PriorityPromoter(1))
        await until(lambda: a.serving)
        b = await world.start("b", promoter=PriorityPromoter(9))
        await until(lambda: b.status().in_sync)
        await a.demote()
        await until(lambda: b.serving and a.status().in_sync and a.status().broker == "demoting")
        asyncio.ensure_future(a.promote(timeout_s=0.1)).add_done_callback(lambda t: t.exception())
        await until(lambda: a._runtime.replica.primary is not None)
        await until(lambda: b.serving and b.generation == 4, what="a, which cannot open, is replaced")
        assert "has not opened" in (a.status().place_given_up or "")

    run(main, replace(LONG, promote_timeout_s=0.5))


def test_status_says_what_the_broker_does_and_since_when() -> None:
    async def main(world: World) -> None:
        broker = Faulty("on_promote", hangs)
        a = await world.start("a", broker=broker)
        assert a.status().broker == "standby"
        promoted = asyncio.ensure_future(a.promote())
        await until(lambda: a.status().broker == "promoting")
        await asyncio.sleep(0.1)
        assert 0.05 < a.status().broker_since_s < SOON_S
        await promoted
        await world.stop("a")

    run(main, LONG)


# --- on_demote -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", FAULTS)
def test_a_broker_that_does_not_close_delays_no_other_node(how: str) -> None:
    async def main(world: World) -> None:
        broker = Faulty("on_demote", FAULTS[how])
        a = await world.start("a", broker=broker, promoter=PriorityPromoter(9))
        await until(lambda: a.serving)
        b = await world.start("b", promoter=PriorityPromoter(1))
        await until(lambda: b.status().in_sync)
        await a.demote()
        await until(lambda: b.serving)
        assert not a.serving
        await until(lambda: a.status().broker == "standby" and a.status().in_sync)
        assert "on_demote" in (a.status().broker_error or "")
        if how == "clings":
            assert a._parts.notifier.stuck == ["on_demote"] and not a._parts.cluster.eligible
            await until(lambda: not a._parts.notifier.stuck)
        broker.faults.clear()
        await b.demote()
        await until(lambda: a.serving and broker.open, what="a works again")
        await asyncio.wait_for(world.stop("a"), SOON_S)
        assert a.status().broker_error is None, "it was demoted without a fault since"

    run(main, SHORT)


@pytest.mark.parametrize("method", ["on_promote", "on_demote"])
@pytest.mark.parametrize("how", FAULTS)
def test_stop_returns_in_time_whatever_the_broker_does(method: str, how: str) -> None:
    """And others need not wait for that: the session is closed first."""

    async def main(world: World) -> None:
        broker = Faulty(method, FAULTS[how])
        a = await world.start("a", broker=broker)
        await a.promote() if method == "on_demote" else asyncio.ensure_future(a.promote()).add_done_callback(
            lambda t: t.exception()
        )
        await until(lambda: broker.promoted)
        b = await world.start("b", promoter=PriorityPromoter(1))
        await until(lambda: b.status().in_sync)
        stopping = asyncio.ensure_future(world.stop("a"))
        await until(lambda: b.serving)
        began = time.monotonic()
        await asyncio.wait_for(stopping, 60)
        assert time.monotonic() - began < world.settings.stop_timeout_s + 5.0
        stopped = await a.wait_stopped()
        assert stopped.reason == "it was asked to stop" and stopped.error is None
        assert set(broker.demoted) == {1}
        # Until b is in sync, a is alone, and asks a broker that has raised again.
        assert len(broker.demoted) == (
            len(broker.promoted) if how == "raises" and method == "on_promote" else 1
        )
        assert free(world, "a")

    run(main, LONG)


# --- on_discarded --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "cancelled", "hangs"])
def test_discarded_messages_are_offered_until_they_are_taken(how: str) -> None:
    async def main(world: World) -> None:
        broker = Faulty("on_discarded", FAULTS[how])
        a = await world.start("a", broker=broker)
        await a.promote()
        b = await world.start("b")
        await until(lambda: b.status().in_sync)
        await a.declare("q").enqueue(b"1")
        world.gates["a"].mute = True
        a.queue("q").enqueue(b"nobody else has it")
        await until(lambda: len(content(a)) == 2)
        await b.promote()
        world.gates["a"].mute = False
        await until(lambda: a.role is Role.READY)
        await until(lambda: "on_discarded" in (a.status().broker_error or ""))
        assert a.status().quarantined == 1
        broker.faults.clear()
        await until(lambda: [m.data for m in broker.discarded] == [b"nobody else has it"])
        await until(lambda: a.status().quarantined == 0 and a.status().broker_error is None)

    run(main, replace(SHORT, discard_retry_s=0.1))


# --- the end of the process ----------------------------------------------------------------------


@pytest.mark.parametrize("asked", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["on_promote", "safe callback"])
def test_a_callback_may_ask_for_the_end_of_the_process(asked: BaseException, where: str) -> None:
    """It comes out of the event loop, and the node is stopped in order while that ends."""
    nodes: list[Node] = []

    async def main() -> None:
        async with World(SHORT) as world:

            async def ends() -> None:
                raise asked

            broker = Faulty("on_promote", ends) if where == "on_promote" else None
            node = await world.start("a", broker=broker)
            nodes.append(node)
            if where == "on_promote":
                await node.promote(timeout_s=60)
            else:
                await node.promote()

                def callback(*_: object) -> None:
                    raise asked

                node.declare("q").enqueue(b"1").add_safe_callback(callback)
            await hangs()

    with pytest.raises(type(asked)):
        asyncio.run(main())
    [node] = nodes
    assert node._parts.life.stopped is not None and node._parts.life.stopped.held == ()


# --- calls back into the node --------------------------------------------------------------------


class Calling(Recorder):
    """Calls its node from one of its methods."""

    node: Node

    def __init__(self, method: str, work: Callable[[Node], Awaitable[object]]) -> None:
        super().__init__()
        self.method, self.work = method, work
        self.raised: list[BaseException | None] = []

    async def _do(self, method: str) -> None:
        if method == self.method:
            try:
                await self.work(self.node)
                self.raised.append(None)
            except Exception as error:
                self.raised.append(error)

    async def on_promote(self, generation: int) -> None:
        await self._do("on_promote")
        await super().on_promote(generation)

    async def on_demote(self, generation: int) -> None:
        await self._do("on_demote")
        await super().on_demote(generation)


async def stop(node: Node) -> None:
    await node.stop()


async def stop_elsewhere(node: Node) -> None:
    """In a task of its own, as `asyncio.wait_for` did until Python 3.11."""
    await asyncio.ensure_future(node.stop())


async def demote(node: Node) -> None:
    await node.demote()


async def demote_until_done(node: Node) -> None:
    """Hand over, and return when this node is not primary any more."""
    await node.demote()
    await until(lambda: not node.role.is_primary)


async def promote(node: Node) -> None:
    await node.promote()


async def declare(node: Node) -> None:
    await node.declare("q").enqueue(b"from the callback")


@pytest.mark.parametrize("work", [stop, stop_elsewhere])
@pytest.mark.parametrize("method", ["on_promote", "on_demote"])
def test_a_broker_may_stop_its_node_from_a_callback(
    method: str, work: Callable[[Node], Awaitable[object]]
) -> None:
    async def main(world: World) -> None:
        broker = Calling(method, work)
        broker.node = await world.start("a", broker=broker)
        promoted = asyncio.ensure_future(broker.node.promote())
        await asyncio.wait([promoted])
        promoted.exception()
        if method == "on_demote":
            await broker.node.demote()
        stopped = await asyncio.wait_for(broker.node.wait_stopped(), SOON_S)
        assert stopped.reason == "it was asked to stop" and stopped.held == ()
        assert broker.raised == [None]
        assert broker.demoted == [1] and broker.promoted == [1]
        await world.stop("a")
        assert free(world, "a")

    run(main, LONG)


def test_a_broker_may_hand_over_from_on_promote() -> None:
    async def main(world: World) -> None:
        broker = Calling("on_promote", demote_until_done)
        broker.node = await world.start("a", broker=broker)
        # It serves while on_promote runs: who waits for that may see it, or not.
        with suppress(ClusterError):
            await broker.node.promote(timeout_s=1.0)
        await until(lambda: broker.raised)
        assert broker.raised == [None]
        await until(lambda: broker.demoted == [1])
        assert not broker.node.role.is_primary

    run(main, LONG)


@pytest.mark.parametrize("method", ["on_promote", "on_demote"])
def test_promote_inside_a_callback_is_refused_at_once(method: str) -> None:
    """It would wait for the very method that calls it."""

    async def main(world: World) -> None:
        broker = Calling(method, promote)
        broker.node = await world.start("a", broker=broker)
        await broker.node.promote()
        if method == "on_demote":
            await broker.node.demote()
        await until(lambda: broker.raised)
        [error] = broker.raised
        assert isinstance(error, LocalProtocolError) and method in str(error)

    run(main, LONG)


def test_on_promote_may_declare_and_publish_and_wait() -> None:
    async def main(world: World) -> None:
        broker = Calling("on_promote", declare)
        broker.node = await world.start("a", broker=broker)
        await broker.node.promote()
        await until(lambda: broker.raised)
        assert broker.raised == [None]
        assert content(broker.node) == [(1, b"from the callback")]

    run(main, LONG)


# --- plain callbacks -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError("injected"), asyncio.CancelledError()])
def test_a_plain_callback_that_fails_affects_no_other_callback(error: BaseException) -> None:
    def broken(*_: object) -> None:
        raise error

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue, told = a.declare("q"), list[object]()
        queue.on_safe_upto(broken)
        queue.on_safe_upto(told.append)
        queue.on_content(broken)
        op = queue.enqueue(b"1")
        op.add_safe_callback(broken)
        op.add_safe_callback(lambda op, error: told.append(error))
        await asyncio.wait_for(waited(op), SOON_S)
        assert set(told) == {None, 1} and len(told) == 2
        doubtful = queue.enqueue(b"2")
        doubtful.add_safe_callback(broken)
        a._runtime.replica.step_down("the test wants it")
        with pytest.raises(InDoubt):
            await asyncio.wait_for(waited(doubtful), SOON_S)
        assert a.stopped is None

    run(main, SHORT)


async def waited(op: object) -> object:
    return await op  # type: ignore[misc]


def test_a_coroutine_function_is_no_plain_callback(caplog: pytest.LogCaptureFixture) -> None:
    """It would never run; that is logged, and nothing is left unawaited."""

    async def callback() -> None: ...

    assert isinstance(call(callback), TypeError)
    assert "plain function" in caplog.text


def test_a_callback_that_always_fails_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = _Log()
    for _ in range(1000):
        log.failed("callback", ZeroDivisionError("injected"))
    assert len(caplog.records) == 1
    log._last["callback"] = (time.monotonic() - 3600, 999)
    log.failed("callback", ZeroDivisionError("injected"))
    assert "999 more since the last one" in caplog.text
    for number in range(3 * FUNCTIONS_MAX):
        log.failed(f"callback {number}", ZeroDivisionError("injected"))
    assert len(log._last) <= FUNCTIONS_MAX


def test_inside_is_only_inside_and_only_for_its_owner() -> None:
    async def main() -> None:
        seen: list[str | None] = []
        later = asyncio.Event()

        async def afterwards() -> None:
            await later.wait()
            seen.append(inside("owner"))

        tasks: list[asyncio.Task[None]] = []

        async def method(_: object) -> None:
            seen.extend([inside("owner"), inside("another")])
            tasks.append(asyncio.ensure_future(afterwards()))

        one = Call("owner", "on_promote", method, None)
        await one.task
        later.set()
        await tasks[0]
        assert seen == ["on_promote", None, None]
        assert inside("owner") is None

    asyncio.run(main())


# --- queue listeners -----------------------------------------------------------------------------


class Parsing:
    """A listener that fails at what is no number."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        for id, data in zip(ids, batch, strict=True):
            self.numbers[id] = int(data)

    def removed(self, ids: SequenceSet) -> None:
        for id in ids:
            self.numbers.pop(id, None)


class Following(Recorder):
    """Has a listener for each queue; ``on_queue`` may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails
        self.made: dict[str, list[Parsing]] = {}

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> QueueListener:
        if self.fails:
            raise LookupError("injected")
        self.made.setdefault(spec.name, []).append(Parsing())
        return self.made[spec.name][-1]


def causes(node: Node) -> dict[str, str]:
    return {trouble.cause: trouble.text for trouble in node.status().troubles}


def test_one_bad_message_cuts_off_its_listeners_and_stops_no_node() -> None:
    """The same input on every backup, and again at every start."""

    async def main(world: World) -> None:
        brokers = {name: Following() for name in "abc"}
        a, b, c = [await world.start(name, broker=brokers[name]) for name in "abc"]
        await a.promote()
        await until(lambda: b.status().in_sync and c.status().in_sync)
        q, other = a.declare("q"), a.declare("other")
        await q.enqueue(b"1")
        receipt = await asyncio.wait_for(waited(q.enqueue(b"bad")), SOON_S)
        assert sorted(receipt.nodes) == ["a", "b", "c"]
        await q.enqueue(b"3")
        await other.enqueue(b"4")
        for node in (b, c):
            await until(lambda node=node: node.role is Role.READY and len(content(node)) == 3)
            assert "invalid literal" in causes(node)["listener of queue q"]
            assert "listener of queue other" not in causes(node)
            [listener] = brokers[node.id].made["q"]
            assert listener.numbers == {1: 1}, "told nothing after its failure"
            await until(lambda node=node: brokers[node.id].made["other"][0].numbers == {1: 4})
        for name in "cba":
            await world.stop(name)
        broker = Following()
        a = await world.start("a", broker=broker)
        assert "listener of queue q" in causes(a)
        assert broker.made["other"][0].numbers == {1: 4}
        await a.promote()
        assert not a.renew_listener("q"), "the message is still there"
        await a.queue("q").dequeue(2)
        assert a.renew_listener("q")
        assert broker.made["q"][2].numbers == {1: 1, 3: 3}, "from the beginning"
        assert not causes(a)

    run(main)


def test_a_listener_that_is_not_one_is_cut_off() -> None:
    class Wrong(Recorder):
        def on_queue(self, queue: QueueId, spec: QueueSpec) -> object:
            return "no listener"

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        b = await world.start("b", broker=Wrong())
        await until(lambda: b.status().in_sync)
        await a.declare("q").enqueue(b"1")
        await until(lambda: "has no attribute 'inserted'" in causes(b).get("listener of queue q", ""))
        assert b.stopped is None

    run(main)


def test_a_queue_whose_on_queue_raises_works_with_true_receipts() -> None:
    async def main(world: World) -> None:
        broker = Following(fails=True)
        a = await world.start("a", broker=broker)
        await a.promote()
        queue = a.declare("q")
        receipt = await queue.enqueue(b"1")
        assert receipt.generation == 1 and receipt.nodes == {"a"} and queue.pending == 0
        assert a.declare("q") is queue
        assert "LookupError" in causes(a)["listener of queue q"]
        assert not a.renew_listener("q")
        broker.fails = False
        assert a.renew_listener("q")
        assert broker.made["q"][0].numbers == {1: 1}

    run(main)


def test_a_listener_may_use_its_node() -> None:
    """In the middle of what the node performs."""

    class Curious(Recorder):
        node: Node

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[object] = []

        def on_queue(self, queue: QueueId, spec: QueueSpec) -> QueueListener:
            return self

        def inserted(self, ids: SequenceSet, batch: Batch) -> None:
            self.seen.append((self.node.queue("q").depth, self.node.status().role))
            try:
                self.node.declare("another")
            except NotPrimary as error:
                self.seen.append(error.primary)

        def removed(self, ids: SequenceSet) -> None: ...

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        broker = Curious()
        broker.node = b = await world.start("b", broker=broker)
        await until(lambda: b.status().in_sync)
        await a.declare("q").enqueue(b"1")
        await until(lambda: broker.seen == [(1, "ready"), "a"])
        assert not causes(b)

    run(main)


# --- a blocked loop ------------------------------------------------------------------------------


def test_a_callback_that_blocks_the_loop_ends_when_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be done meanwhile; afterwards everything goes on."""
    caplog.set_level(logging.ERROR)

    class Blocking(Recorder):
        async def on_promote(self, generation: int) -> None:
            time.sleep(0.6)  # noqa: ASYNC251 - that is the subject
            await super().on_promote(generation)

    async def main(world: World) -> None:
        a = await world.start("a", broker=Blocking())
        await a.promote()
        await until(lambda: a.serving and world.brokers["a"].promoted == [1])
        await a.declare("q").enqueue(b"1")
        await asyncio.wait_for(world.stop("a"), SOON_S)
        assert not caplog.records

    run(main, SHORT)
