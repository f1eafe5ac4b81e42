"""Threads use nodes through failovers: what they were told is what the next primary has, and no thread waits for ever."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from qpidha import InDoubt, Node, PromotionRefused, SyncQueue
from qpidha.bridge import LoopThread
from qpidha.errors import CallerError, ClusterError, NodeStopped, OperationError
from qpidha.records import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import MemoryNetwork, MemoryTransport
from tests.support.harness import Recorder, World
from tests.support.threads import SOON_S, Worker, nodes

OP_S = 3.0
"""A killed node answers nothing: its ops are in doubt after this time."""


class Ledger:
    """What threads were told of each message."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.published: dict[bytes, str] = {}
        self.accepted: dict[bytes, str] = {}
        self.taken: set[bytes] = set()

    def take(self, data: bytes) -> bool:
        """Whether this thread is the one that accepts the message."""
        with self.lock:
            new = data not in self.taken
            self.taken.add(data)
        return new

    def of(self, outcomes: dict[bytes, str], *wanted: str) -> set[bytes]:
        return {data for data, outcome in outcomes.items() if outcome in wanted}

    def check(self, content: list[bytes]) -> None:
        """Compare with what the last primary has."""
        have = Counter(content)
        assert [data for data, count in have.items() if count > 1] == [], "twice"
        told = self.of(self.published, "safe") - self.accepted.keys()
        assert told - have.keys() == set(), "lost"
        assert have.keys() & self.of(self.accepted, "safe") == set(), "accepted, and there again"
        assert have.keys() <= self.of(self.published, "safe", "in doubt"), "refused, and there"


class Threads:
    """Four threads that publish and four that accept, at whichever node is primary."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger()
        self.over = threading.Event()
        self.workers = [Worker(self._until_over(self.publisher(n))) for n in range(4)]
        self.workers += [Worker(self._until_over(self.accept)) for _ in range(4)]

    def queue(self) -> SyncQueue | None:
        """The queue at the primary, if there is one."""
        for node in list(self.world.nodes.values()):
            if node.serving:
                return node.sync.within(OP_S).queue("q")
        return None

    def _until_over(self, turn: Callable[[SyncQueue], None]) -> Callable[[], None]:
        def work() -> None:
            while not self.over.is_set():
                try:
                    queue = self.queue()
                    if queue is not None:
                        turn(queue)
                except CallerError:  # The node is no longer primary, or has stopped: nothing was done.
                    pass
                time.sleep(0.001)

        return work

    def publisher(self, n: int) -> Callable[[SyncQueue], None]:
        number = iter(range(10**6))

        def publish(queue: SyncQueue) -> None:
            data = b"%d-%d" % (n, next(number))
            self._change(self.ledger.published, data, lambda: queue.enqueue(data))

        return publish

    def accept(self, queue: SyncQueue) -> None:
        found = queue.read(1, messages_max=20)
        for id, data in zip(*found, strict=True) if found else ():
            if self.ledger.take(data):
                self._change(self.ledger.accepted, data, lambda id=id: queue.dequeue(id))  # type: ignore[misc]
                return

    def _change(self, outcomes: dict[bytes, str], data: bytes, change: Callable[[], object]) -> None:
        outcomes[data] = "in doubt"
        try:
            op = change()
        except CallerError:
            outcomes[data] = "refused"
            raise
        except OperationError:
            return
        try:
            op.safe()  # type: ignore[attr-defined]
            outcomes[data] = "safe"
        except InDoubt:
            pass

    def work_on(self) -> None:
        """Until some more messages were safely published and accepted."""
        ledger, deadline = self.ledger, time.monotonic() + SOON_S
        wanted = [len(ledger.of(found, "safe")) + 20 for found in (ledger.published, ledger.accepted)]
        while [len(ledger.of(dict(found), "safe")) for found in (ledger.published, ledger.accepted)] < wanted:
            assert time.monotonic() < deadline, "threads do not get on"
            time.sleep(0.01)

    def end(self) -> None:
        self.over.set()
        assert [worker.join() for worker in self.workers] == [None] * 8


def promote(node: Node) -> None:
    """As soon as the rules allow it."""
    deadline = time.monotonic() + SOON_S
    while not node.serving:
        try:
            node.sync.promote()
        except (PromotionRefused, ClusterError):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_eight_threads_publish_and_accept_through_failovers() -> None:
    with nodes("a", "b", "c") as (thread, world, (a, b, c)):
        a.sync.declare("q").declared.safe()
        threads = Threads(world)
        try:
            threads.work_on()
            a.sync.demote()
            promote(b)
            threads.work_on()
            thread.run(world.kill("b"), SOON_S)
            promote(c)
            threads.work_on()
            thread.run(world.start("b"), SOON_S)
            a.sync.wait_in_sync(SOON_S)
            threads.work_on()
            c.sync.demote()
            promote(a)
            threads.work_on()
        finally:
            threads.end()
        a.sync.barrier()
        threads.ledger.check([data for _, data in a.sync.queue("q")])
        world.nodes["b"].sync.wait_in_sync(SOON_S)
        assert len(threads.ledger.of(threads.ledger.published, "safe")) >= 100


def test_a_ledger_that_is_wrong_is_noticed() -> None:
    """Or the test above could not fail."""
    ledger = Ledger()
    ledger.published = {b"1": "safe", b"2": "in doubt", b"3": "refused", b"4": "safe"}
    ledger.accepted = {b"4": "safe"}
    ledger.check([b"1"])
    ledger.check([b"1", b"2"])
    for content in ([], [b"1", b"1"], [b"1", b"3"], [b"1", b"4"]):
        with pytest.raises(AssertionError):
            ledger.check(content)


def test_threads_publish_in_order_and_ids_are_not_given_twice() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        given: list[list[int]] = [[] for _ in range(8)]

        def publish(n: int) -> None:
            for _ in range(100):
                given[n].append(queue.enqueue(b"%d" % n).ids[0])

        workers = [Worker(lambda n=n: publish(n)) for n in range(8)]  # type: ignore[misc]
        assert [worker.join() for worker in workers] == [None] * 8
        assert sorted(id for ids in given for id in ids) == list(range(1, 801))
        assert all(ids == sorted(ids) for ids in given)
        owner = {id: n for n, ids in enumerate(given) for id in ids}
        assert dict(queue) == {id: b"%d" % n for id, n in owner.items()}


def test_what_threads_publish_together_is_one_operation() -> None:
    with nodes("a") as (thread, _, (a,)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        before = a.sync.status().position
        blocked, let_go = threading.Event(), threading.Event()
        thread.post(lambda: (blocked.set(), let_go.wait(SOON_S)))
        assert blocked.wait(SOON_S)
        workers = [Worker(lambda: queue.enqueue(b"x")) for _ in range(8)]
        while len(a.sync._caller._calls._waiting) < 8:
            time.sleep(0.001)
        let_go.set()
        assert [worker.join() for worker in workers] == [None] * 8
        a.sync.barrier()
        assert a.sync.status().position == before + 2, "the publishes, and the barrier (Q7)"


def test_threads_end_with_the_loop() -> None:
    """Nobody stops the nodes: the event loop ends under them, and under the threads."""
    thread = LoopThread("loop of a test")
    network, records = MemoryNetwork(), MemoryRecordStore()

    async def start(name: str) -> Node:
        node = Node(
            name,
            broker=Recorder(),
            store=MemoryStore(),
            transport=MemoryTransport(network),
            records=records,
            listen=(name, 1),
        )
        await node.start()
        return node

    a = thread.run(start("a"))
    a.sync.promote()
    b = thread.run(start("b"))
    b.sync.wait_in_sync(SOON_S)
    queue = a.sync.declare("q")
    queue.declared.safe()
    loop = a._runtime.loop
    assert loop is not None
    told: list[bytes] = []

    def publish() -> None:
        for number in range(10**6):
            told.append(b"%d" % number)
            queue.enqueue(told[-1]).safe()

    waiting = [Worker(b.sync.wait_serving), Worker(b.sync.wait_stopped), *(Worker(publish) for _ in range(4))]
    while len(told) < 20:
        time.sleep(0.001)
    thread.close()
    errors = [worker.join() for worker in waiting]
    assert [type(error) for error in errors[:2]] == [NodeStopped] * 2
    assert {type(error) for error in errors[2:]} <= {NodeStopped, InDoubt}
    for call in (lambda: queue.enqueue(b"late"), a.sync.status, a.sync.barrier, a.sync.transaction):
        with pytest.raises(NodeStopped, match="nothing was changed"):
            call()
    assert loop.is_closed()
