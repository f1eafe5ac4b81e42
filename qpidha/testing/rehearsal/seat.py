"""What a broker of a rehearsal is given: a name, addresses, and adapters that fail when its node does.

Each life has its own handles on the store and the record store. A killed one's handles are dead: whatever
its code still does while it is cleared away changes nothing that the next life will find.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from qpidha.errors import OutcomeUnknown, StoreFailed, Unavailable
from qpidha.interfaces import MessageStore, RecordStore, Session, Transport
from qpidha.journal import Change, StoreImage
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores.memory import MemoryStore
from qpidha.testing.rehearsal.loop import Life
from qpidha.testing.rehearsal.net import Wires
from qpidha.types import Address, NodeId, Record, Versioned

T = TypeVar("T")
MANAGER = "manager"
"""The place of the cluster manager: ``wires.cut(node, MANAGER)`` keeps a node from it."""


@dataclass(frozen=True)
class Seat:
    """Everything one life of a node is made from: hand these to `Node`."""

    id: NodeId
    number: int
    """0, 1, 2 …: for priorities and the like."""
    store: MessageStore
    records: RecordStore
    transport: Transport
    client_address: Address
    """Where this node's clients find it: the same in every life."""


class SeatStore:
    """A `MessageStore` that outlives its node, but not what the node had not committed."""

    blocking = False

    def __init__(self, disk: MemoryStore, life: Life, on_commit: Callable[[Life], str | None]) -> None:
        self._disk = disk
        self._life = life
        self._on_commit = on_commit

    def open(self, node: NodeId, *, refuse_dirty: bool = False) -> StoreImage:
        """Open the disk. Raises `StoreFailed` if the node was killed."""
        self._require_life()
        return self._disk.open(node, refuse_dirty=refuse_dirty)

    def commit(self, changes: Sequence[Change]) -> None:
        """The plug may be pulled in the middle: before it is durable, or after, but before anybody knows."""
        self._require_life()
        fate = self._on_commit(self._life)
        if fate != "lost":
            self._disk.commit(changes)
        if fate is not None:
            raise StoreFailed("killed in the middle of a commit")

    def close(self, *, clean: bool) -> None:
        """Close the disk, unless the node was killed."""
        if self._life.alive:
            self._disk.close(clean=clean)

    def _require_life(self) -> None:
        if not self._life.alive:
            raise StoreFailed("the node was killed")


class SeatRecords:
    """A `RecordStore` as one node sees it: late, out of reach, or silent about what became of a write."""

    def __init__(self, shared: MemoryRecordStore, life: Life, wires: Wires) -> None:
        self._shared = shared
        self._life = life
        self._wires = wires
        self.unsure = 0.0
        """How likely a write gets no answer."""

    async def _reach(self) -> None:
        await asyncio.sleep(self._wires.delay())
        if not self._life.alive or not self.in_reach:
            raise Unavailable("the record store is out of reach")

    @property
    def in_reach(self) -> bool:
        """Tell whether the node reaches the cluster manager."""
        return (self._life.node, MANAGER) not in self._wires.cuts

    async def _write(self, write: Callable[[], Any]) -> Any:
        await self._reach()
        unsure = self._wires.chance.random() < self.unsure
        if unsure and self._wires.chance.random() < 0.5:
            raise OutcomeUnknown("no answer from the record store")
        written = await write()
        await asyncio.sleep(self._wires.delay())
        if unsure or not self.in_reach:
            raise OutcomeUnknown("no answer from the record store")
        return written

    async def read(self) -> Versioned | None:
        """Read the record. Raises `Unavailable` out of reach."""
        await self._reach()
        return await self._shared.read()

    async def create(self, new: Record) -> Versioned:
        """Create the record. Raises `OutcomeUnknown` if no answer comes."""
        written: Versioned = await self._write(lambda: self._shared.create(new))
        return written

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        """Replace the record. Raises `OutcomeUnknown` if no answer comes."""
        written: Versioned = await self._write(
            lambda: self._shared.compare_and_set(expected, new, timeout_s=timeout_s)
        )
        return written

    def watch(self) -> AsyncIterator[Versioned | None]:
        """Watch the record; silent while out of reach."""
        return Watched(self._shared.watch(), self)

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> Session:
        """Open a session of this life. Raises `Unavailable` out of reach."""
        await self._reach()
        return SeatSession(await self._shared.open_session(node, info, ttl_s=ttl_s), self._life)

    async def live(self) -> Mapping[NodeId, bytes]:
        """Return the info of each live node. Raises `Unavailable` out of reach."""
        await self._reach()
        return await self._shared.live()

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """Watch the live nodes; silent while out of reach."""
        return Watched(self._shared.watch_live(), self)

    async def close(self) -> None:
        """The record belongs to all."""


class Watched(AsyncIterator[T]):
    """A watch that says nothing while the manager is out of reach."""

    def __init__(self, inner: AsyncIterator[T], records: SeatRecords) -> None:
        self._inner = inner
        self._records = records

    async def __anext__(self) -> T:
        value = await anext(self._inner)
        await asyncio.sleep(self._records._wires.delay())
        while not self._records.in_reach:  # noqa: ASYNC110 - a cut is no event; nobody is told of it
            await asyncio.sleep(0.1)
        return value


class SeatSession:
    """A `Session` of one life: it ends with it."""

    def __init__(self, session: Session, life: Life) -> None:
        self._session = session
        self._life = life
        self.granted_ttl_s = session.granted_ttl_s

    def deadline(self) -> float:
        """Return the virtual time in seconds at which the session may end."""
        return asyncio.get_running_loop().time() + self.granted_ttl_s

    async def update(self, info: bytes) -> None:
        """Replace the info. Raises `Unavailable` if the node was killed."""
        if not self._life.alive:
            raise Unavailable("the node was killed")
        await self._session.update(info)

    async def wait_lost(self) -> str:
        """Wait until the session is lost, and return the reason."""
        return await self._session.wait_lost()

    async def close(self) -> None:
        """Close the session, unless the node was killed."""
        if self._life.alive:
            await self._session.close()
