"""The parts of a node in a rehearsal: its name, its addresses, and adapters that fail when its process is killed.

Each process has its own handles on the store and the record store. The handles of a killed process do nothing: its
code, while it is cleared away, changes nothing that the next process finds.
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
from qpidha.testing.rehearsal.loop import Process
from qpidha.testing.rehearsal.network import Network
from qpidha.types import Address, NodeId, Record, Versioned

T = TypeVar("T")
MANAGER = "manager"
"""The place of the cluster manager: ``network.cut(node, MANAGER)`` disconnects a node from it."""


@dataclass(frozen=True)
class NodeParts:
    """What one process of a node is made from: pass these to `Node`. All are valid for this process only."""

    id: NodeId
    """``a``, ``b`` and so on."""
    number: int
    """The index of the node from 0, for example for priorities."""
    store: MessageStore
    records: RecordStore
    transport: Transport
    client_address: Address
    """Where this node must listen for clients: the same in every process of it."""
    show: Callable[[Any], None]
    """Call this with the `Node` that was made from these parts: own checks get it, and a dump has its status."""


class ProcessStore:
    """A `MessageStore` on a disk that survives the process. Commits take no virtual time."""

    blocking = False

    def __init__(
        self, disk: MemoryStore, process: Process, on_commit: Callable[[Process], str | None]
    ) -> None:
        self._disk = disk
        self._process = process
        self._on_commit = on_commit

    def open(self, node: NodeId, *, refuse_dirty: bool = False) -> StoreImage:
        """Open the disk. Raises `StoreFailed` if the node was killed."""
        self._require_alive()
        return self._disk.open(node, refuse_dirty=refuse_dirty)

    def commit(self, changes: Sequence[Change]) -> None:
        """Make changes durable; the process may be killed before or after that.

        Raises:
            StoreFailed: The process was killed.
        """
        self._require_alive()
        fate = self._on_commit(self._process)
        if fate != "lost":
            self._disk.commit(changes)
        if fate is not None:
            raise StoreFailed("killed in the middle of a commit")

    def close(self, *, clean: bool) -> None:
        """Close the disk, unless the node was killed."""
        if self._process.alive:
            self._disk.close(clean=clean)

    def _require_alive(self) -> None:
        if not self._process.alive:
            raise StoreFailed("the node was killed")


class ProcessRecords:
    """A `RecordStore` as one node sees it: delayed, unreachable, or without an answer to a write."""

    def __init__(self, shared: MemoryRecordStore, process: Process, network: Network) -> None:
        self._shared = shared
        self._process = process
        self._network = network
        self.unsure = 0.0
        """Probability that a write gets no answer."""

    async def _reach(self) -> None:
        await asyncio.sleep(self._network.delay())
        if not self._process.alive or not self.in_reach:
            raise Unavailable("the record store is out of reach")

    @property
    def in_reach(self) -> bool:
        """Tell whether the node reaches the cluster manager."""
        return (self._process.node, MANAGER) not in self._network.cuts

    async def _write(self, write: Callable[[], Any]) -> Any:
        await self._reach()
        unsure = self._network.rng.random() < self.unsure
        if unsure and self._network.rng.random() < 0.5:
            raise OutcomeUnknown("no answer from the record store")
        written = await write()
        await asyncio.sleep(self._network.delay())
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
        return DelayedWatch(self._shared.watch(), self)

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> Session:
        """Open a session of this process. Raises `Unavailable` out of reach."""
        await self._reach()
        return ProcessSession(await self._shared.open_session(node, info, ttl_s=ttl_s), self._process)

    async def live(self) -> Mapping[NodeId, bytes]:
        """Return the info of each live node. Raises `Unavailable` out of reach."""
        await self._reach()
        return await self._shared.live()

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """Watch the live nodes; silent while out of reach."""
        return DelayedWatch(self._shared.watch_live(), self)

    async def close(self) -> None:
        """Do nothing: the record is shared by all nodes."""


class DelayedWatch(AsyncIterator[T]):
    """A watch that yields nothing while the cluster manager is out of reach."""

    def __init__(self, inner: AsyncIterator[T], records: ProcessRecords) -> None:
        self._inner = inner
        self._records = records

    async def __anext__(self) -> T:
        value = await anext(self._inner)
        await asyncio.sleep(self._records._network.delay())
        while not self._records.in_reach:  # noqa: ASYNC110 - a cut is no event
            await asyncio.sleep(0.1)
        return value


class ProcessSession:
    """A `Session` of one process, which ends with it."""

    def __init__(self, session: Session, process: Process) -> None:
        self._session = session
        self._process = process
        self.granted_ttl_s = session.granted_ttl_s

    def deadline(self) -> float:
        """Return the virtual time in seconds at which the session may end."""
        return asyncio.get_running_loop().time() + self.granted_ttl_s

    async def update(self, info: bytes) -> None:
        """Replace the info. Raises `Unavailable` if the node was killed."""
        if not self._process.alive:
            raise Unavailable("the node was killed")
        await self._session.update(info)

    async def wait_lost(self) -> str:
        """Wait until the session is lost, and return the reason."""
        return await self._session.wait_lost()

    async def close(self) -> None:
        """Close the session, unless the node was killed."""
        if self._process.alive:
            await self._session.close()
