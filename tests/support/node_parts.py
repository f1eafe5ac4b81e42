"""Helpers for tests of one part of a node: an event loop with virtual time, and fakes of the other parts.

The core is the real one: it has no clock and no sockets, so it needs no fake.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

from qpidha import Settings
from qpidha.core.ready import HandOver, Request
from qpidha.core.replica import Replica
from qpidha.durations import Durations
from qpidha.events import NodeEvent
from qpidha.journal import Change, StoreImage, StoreStatus
from qpidha.node.effects import NodeEffects
from qpidha.node.handles import Handles
from qpidha.node.keywatches import KeyWatches
from qpidha.node.listeners import Listeners
from qpidha.node.runtime import Flushable, Runtime
from qpidha.testing.rehearsal.loop import VirtualSelector
from qpidha.types import BytesLike, Generation, Member, NodeId, NodeInfo, PeerInfo, Record, Role, Versioned
from qpidha.wire.info import encode_info

T = TypeVar("T")
CLUSTER = UUID(int=0xC1)
CLIENTS = ("127.0.0.1", 5672)
"""Client address of node a."""
BEGIN_S = 1000.0
"""Start time of the clock; not 0, since no part may treat 0 as a special time."""


TURNS_MAX = 100
"""After this many turns at one time the clock advances a little, in case rounding put a timer just before its time."""
TICK_S = 1e-6


# --- the loop ------------------------------------------------------------------------------------


class Clock(VirtualSelector):
    """Jumps to the next timer, exactly."""

    now = BEGIN_S
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        before = self.now
        ready = super().select(timeout)
        self.turns = self.turns + 1 if self.now == before else 0
        if self.turns == TURNS_MAX:
            self.now, self.turns = self.now + TICK_S, 0
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without real waiting: when no callback is ready, the clock jumps to the next timer.

    If a task waits for an event that can no longer happen, the loop raises RuntimeError, so that no test hangs.
    """

    def __init__(self) -> None:
        self._jumps = Clock()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in a loop in which time jumps. Exceptions that reach the loop's exception handler fail the test."""
    told: list[dict[str, Any]] = []
    loop = JumpingLoop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        try:
            result = loop.run_until_complete(main)
        finally:
            loop.run_until_complete(_end_tasks())
    finally:
        loop.close()
    assert told == []
    return result


async def _end_tasks() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def turns(count: int = 5) -> None:
    """Run some turns of the loop, for callbacks that need no timer."""
    for _ in range(count):
        await asyncio.sleep(0)


def pause(seconds: float) -> None:
    """Advance the clock without running anything, as if the process were paused."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    loop._jumps.now += seconds


async def until(reached: Callable[[], object], *, within_s: float = 100.0, step_s: float = 0.05) -> None:
    """Let virtual time pass until the condition holds. Takes no real time."""
    for _ in range(int(within_s / step_s)):
        if reached():
            return
        await asyncio.sleep(step_s)
    raise AssertionError(f"not reached within {within_s} s")


# --- the core ------------------------------------------------------------------------------------


def member(node: NodeId) -> Member:
    """Return this node as a member. It always has the same store."""
    return Member(node, UUID(int=ord(node)))


def record(
    generation: Generation, primary: tuple[NodeId, UUID] | None, *members: NodeId, version: int
) -> Versioned:
    """Return a cluster record with this content."""
    found = Record(
        cluster=CLUSTER, generation=generation, primary=primary, members=frozenset(map(member, members))
    )
    return Versioned(found, version)


class Engine:
    """A fake engine that counts calls, and performs them when the test says so."""

    def __init__(self) -> None:
        self.pokes = 0
        self.errors: list[BaseException] = []
        self.bypasses = 0
        self.busy_s: float | None = None
        self.disk_hangs = False
        self.commits = Durations()
        self.unflushed: list[Flushable] = []

    def poke(self) -> None:
        self.pokes += 1

    def act(self) -> None:
        self.pokes += 1

    def flush_later(self, queue: Flushable) -> None:
        self.unflushed.append(queue)

    def flush(self) -> None:
        for queue in self.unflushed:
            queue.flush()

    def broken(self, error: BaseException) -> None:
        self.errors.append(error)

    def bypass(self) -> None:
        self.bypasses += 1

    def end_turn(self) -> None:
        unflushed, self.unflushed = self.unflushed, []
        for queue in unflushed:
            queue.end_of_turn()


class Seat:
    """Node a, from its core to the handles of its queues: without disk, links, broker and cluster manager."""

    def __init__(self, settings: Settings | None = None, *, id: NodeId = "a") -> None:
        self.told: list[NodeEvent] = []
        self.runtime = Runtime(id, settings or Settings(), CLIENTS, self.told.append)
        self.engine = Engine()
        self.runtime.connect(self.engine)
        status = StoreStatus(node=id, epoch=member(id).epoch, cluster=CLUSTER)
        self.core = self.runtime.replica = Replica(
            node=id, boot=self.runtime.boot, image=StoreImage(status), settings=self.runtime.settings
        )
        self.roles: list[Generation] = []
        """The role changes that the broker would have seen: each generation, and 0 for its end."""
        self.discards: list[HandOver] = []
        self.requests: list[Request] = []
        self.persisted: list[Change] = []
        self._version = 0
        self.handles = Handles(self.runtime)
        nothing = SimpleNamespace(role_changed=lambda role: None, look=lambda: None)
        self.effects = NodeEffects(
            self.runtime,
            links=SimpleNamespace(peers={}),  # type: ignore[arg-type]
            cluster=SimpleNamespace(request=self.requests.append),  # type: ignore[arg-type]
            connector=nothing,  # type: ignore[arg-type]
            prober=nothing,  # type: ignore[arg-type]
            handles=self.handles,
            listeners=Listeners(self.runtime, object()),  # type: ignore[arg-type]
            watches=KeyWatches(self.runtime),
            notifier=SimpleNamespace(role=self.roles.append, discarded=self.discards.append),  # type: ignore[arg-type]
            store_failed=self.engine.errors.append,
        )

    def enter(self) -> Seat:
        """Bind the node to the running loop, as a start does."""
        self.runtime.enter_loop()
        self.runtime.running = True
        return self

    def turn(self) -> None:
        """End a turn of the loop: publish the collected messages, then perform the effects of the core."""
        self.engine.end_turn()
        ready = self.core.ready(self.runtime.now())
        self.persisted += ready.persist
        if ready.request:
            self.effects.request(ready.request)
        for completion in ready.complete:
            self.effects.complete(completion)
        for notice in ready.notify:
            self.effects.notify(notice)
        self.core.performed(self.runtime.now())

    def see(
        self, generation: Generation, primary: NodeId | None, *members: NodeId, live: Sequence[NodeId] = ()
    ) -> Seat:
        """Show the node a record with this primary and these members. They are live, and so are the nodes of ``live``."""
        boot = self.runtime.boot if primary == self.runtime.id else UUID(int=99)
        self._version += 1
        found = record(generation, primary and (primary, boot), *members, version=self._version)
        self.core.record_seen(found, self.runtime.now())
        self.runtime.live.seen({node: encode_info(info(node)) for node in {*members, *live}})
        self.turn()
        return self

    def lead(self, *others: NodeId, generation: Generation = 1) -> Seat:
        """Become primary of this generation with these other members, and have the broker open."""
        self.see(generation, self.runtime.id, self.runtime.id, *others)
        self.runtime.broker_generation = generation
        return self

    @property
    def is_primary(self) -> bool:
        return self.core.role in (Role.ACTIVE, Role.RECOVERING)


def info(node: NodeId, score: int | None = 0) -> NodeInfo:
    """Return what this node publishes about itself."""
    return NodeInfo(
        peer=("127.0.0.1", ord(node)), client=("127.0.0.1", 5000 + ord(node)), boot=UUID(int=99), score=score
    )


# --- a link --------------------------------------------------------------------------------------


class Wire:
    """One end of a link; records what was written to it."""

    def __init__(self, address: str = "127.0.0.1:1", identity: frozenset[str] | None = None) -> None:
        self.peer = PeerInfo(address=address, identity=identity, local=True)
        self.written = bytearray()
        self.writes = 0
        self.buffered = 0
        self.closed = False
        self.aborted = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self.writes += 1
        self.written += b"".join(chunks)
        self.on_write()

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True
