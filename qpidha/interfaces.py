"""What others implement: small Protocols, nothing to inherit.

Each docstring says who calls, from where, what may overlap, who owns the buffers, and which errors
mean what. Everything here is called from the node's event loop unless it says otherwise.

    the embedder's broker   Broker (in qpidha.broker)
    where messages live     MessageStore
    how nodes talk          Transport, Listener, Link, LinkHandler
    who is primary          RecordStore, Session, Promoter
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from qpidha.broker import Broker as Broker  # noqa: PLC0414 - passed on
from qpidha.broker import EndingBroker as EndingBroker  # noqa: PLC0414 - passed on
from qpidha.broker import EndingListener as EndingListener  # noqa: PLC0414 - passed on
from qpidha.broker import ListeningBroker as ListeningBroker  # noqa: PLC0414 - passed on
from qpidha.broker import QueueListener as QueueListener  # noqa: PLC0414 - passed on
from qpidha.events import Trouble
from qpidha.journal import Change, StoreImage
from qpidha.seq import SequenceSet
from qpidha.types import Address, BytesLike, NodeId, PeerInfo, QueueId, Record, Versioned
from qpidha.wire.batch import Batch


# --- the store -----------------------------------------------------------------------------------
class MessageStore(Protocol):
    """Where one node keeps its messages and its `StoreStatus`, in one transactional place.

    Used by one node at a time, for one life: `open`, any number of `commit`, `close`.
    """

    blocking: bool
    """True: it waits for a disk. `open`, `commit` and `close` are called in one worker thread, the same for the whole
    life of the store, one call at a time; the store is made in another thread. False: they return at once and are
    called in the event loop."""

    def open(self, node: NodeId, *, refuse_dirty: bool = False) -> StoreImage:
        """Lock, verify, load everything, and mark the store dirty on disk before returning.

        The image's status tells how the store was *left* (empty, clean, dirty). Creates an empty store,
        with a new epoch, where there is none.

        Raises:
            StoreLocked: Another process holds it.
            StoreDamaged: It fails verification.
            StoreDirty: It was not closed cleanly and ``refuse_dirty`` is set.
            StoreMismatch: Another node's store, or a format this version does not know.
            StoreFailed: The disk failed.
        """

    def commit(self, changes: Sequence[Change]) -> None:
        """Apply all changes, in order, in one transaction. Durable when it returns.

        Raises:
            ArgumentError: A change could not be opened again; nothing was applied, and the store goes on.
            StoreFailed: Nothing may be acknowledged from this store any more; only `close` may follow.
        """

    def close(self, *, clean: bool) -> None:
        """Release the store. With ``clean``, mark it clean on disk as the very last step.

        After a failed commit the store stays dirty whatever the argument says. May be called twice.
        """


@runtime_checkable
class WatchfulStore(Protocol):
    """Optional ability of a store: to check that its files are still where the next start will look for them."""

    def verify_files(self) -> None:
        """Called at every heartbeat while nothing is committed, in the thread of `commit`. Should take microseconds.

        Raises:
            StoreFailed: Files were removed, replaced, truncated, moved or made read-only, or are full or stale. As
                after a failed commit, only `close` may follow. `commit` makes the same check before it returns.
        """


@runtime_checkable
class SteppedStore(Protocol):
    """Optional ability of a store that is not ``blocking``: commit in steps, so that the loop can do other work."""

    def commit_in_steps(self, changes: Sequence[Change]) -> Iterator[None]:
        """Do the work of `MessageStore.commit` in steps. The transaction is complete only after the last one.

        Another method that is called before the last step, such as `close`, does the rest first. Raises what it raises.
        """


@runtime_checkable
class LockedStore(Protocol):
    """Optional ability of a store: to name the lock that it holds while it is open."""

    def lock_name(self) -> bytes:
        """A name that no store of another process has at the same time, on whatever machine. Empty: nothing is known.

        Called while the store is open. The next process that opens it on this machine has the same name, after this one.
        """


@runtime_checkable
class ReadableStore(Protocol):
    """Optional ability of a store: to give messages back, for a node that does not keep all of them in memory."""

    memory_bytes_max: int | None
    """Set by the node before `open`: the image has about so many bytes of messages in memory, but for those of tables and
    the configuration; others are read when it is asked for them. None: no limit."""

    def read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """These messages, at least one, in order, each committed before, and removed by no commit that has begun since.

        Called in the event loop, maybe during a commit; before the first commit also in the thread of `commit`.

        Raises:
            StoreDamaged, StoreFailed: A message does not verify or is not there; the disk failed. Only `close` follows.
        """


@runtime_checkable
class StagingStore(ReadableStore, Protocol):
    """Optional ability of a readable store: to set aside what a plan brings, until its flip (`qpidha.journal.Stage`)."""

    def read_staged(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """As `read`, of messages that a commit has set aside. If they were adopted since, they are content."""


# --- the transport -------------------------------------------------------------------------------
class LinkHandler(Protocol):
    """What a link calls. Calls never overlap; `closed` is the last one and comes exactly once."""

    def get_buffer(self, size_hint: int) -> memoryview:
        """Where the next bytes are to be put: a writable view, never empty, valid until `received`."""

    def received(self, nbytes: int) -> None:
        """This many bytes were put into the view that `get_buffer` returned last."""

    def drained(self) -> None:
        """The bytes that wait to be sent fell below the link's low mark."""

    def closed(self, error: Exception | None) -> None:
        """The link is gone. None: closed in order by either end."""


class Link(Protocol):
    """One ordered, reliable byte stream to a peer, like a TCP connection."""

    peer: PeerInfo

    def write(self, chunks: Sequence[BytesLike]) -> None:
        """Send these chunks in order. Never blocks; what the peer does not take yet is buffered.

        The link may keep references to the chunks until they are sent: they must not change. Writing to a
        closed link does nothing.
        """

    @property
    def buffered(self) -> int:
        """Bytes written but not yet handed to the operating system."""

    def close(self) -> None:
        """Send what is buffered, then close. `closed(None)` follows."""

    def abort(self) -> None:
        """Close at once and forget what is buffered. `closed` follows, in a later turn of the loop."""


class Listener(Protocol):
    """An address on which links are accepted."""

    address: Address
    """The bound address, with the port that was chosen if 0 was asked for."""

    async def close(self) -> None:
        """Stop accepting. Links already open are not touched."""


LinkFactory: TypeAlias = Callable[[Link], LinkHandler]
"""Called once for every new link, before any byte is delivered."""


class Transport(Protocol):
    """Opens links. One instance may serve a node's listener and all of its outgoing links."""

    async def listen(self, address: Address, on_link: LinkFactory) -> Listener:
        """Accept links until the listener is closed.

        Raises:
            SettingsError: Plain text on an address that is not loopback, without explicit consent.
            OSError: The address cannot be bound.
        """

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        """Open a link. ``expect``: the node id the peer's certificate must carry, where there is one.

        Raises:
            qpidha.errors.LinkClosed: There is no answer, or the peer could not be verified.
        """


class ProbingTransport(Transport, Protocol):
    """A transport that can tell that a process has ended: detected by the presence of `refuses`."""

    async def refuses(self, address: Address, *, timeout_s: float) -> bool:
        """Whether the machine answers that nothing listens at this address. Sends nothing, and opens no link.

        False if something listens there, and if there is no answer in this time. Never raises for what others do.
        """


class TroubleSink(Protocol):
    """Where a part reports failures that last: each is logged once, its attempts are counted, and the status shows it."""

    def report(self, trouble: Trouble) -> None:
        """An attempt failed. Troubles with the same `Trouble.cause` are one: it lasts until it is cleared or fades."""

    def clear(self, kind: type[Trouble], subject: str = "") -> None:
        """Trouble of this kind with this `Trouble.subject` is over, if it was there at all."""


class TellingTransport(Transport, Protocol):
    """A transport that reports troubles to the operator: detected by the presence of `tell_to`."""

    credentials: object
    """Changes when the transport begins to use other certificates: a connection that failed may succeed now."""
    certificate_days_left: float | None
    """Until this node's certificate expires; negative: since it did. None: there is none."""

    def tell_to(self, troubles: TroubleSink) -> None:
        """Report to this from now on. Called once, before `listen`."""

    def tick(self) -> None:
        """Time passed. Called every few seconds; must not block."""


# --- the cluster manager -------------------------------------------------------------------------
class Session(Protocol):
    """This node's proof of life in the cluster manager."""

    granted_ttl_s: float
    """After a silence of this long others may consider the node dead. May exceed what was asked for."""

    def deadline(self) -> float:
        """Monotonic: when the last successful keep-alive was *sent*, plus the TTL, minus a margin."""

    async def update(self, info: bytes) -> None:
        """Replace the info that others see."""

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost. Never returns while it lives."""

    async def close(self) -> None:
        """Hand over at once: others need not wait for the TTL."""


class RecordStore(Protocol):
    """One small record with linearizable compare-and-set, and the list of live nodes.

    The record *is* the election: the node that wins the compare-and-set to generation g + 1 is primary.
    Three failures, never mixed: `Conflict`, `Unavailable` (surely not sent), `OutcomeUnknown`.
    """

    async def read(self) -> Versioned | None:
        """Linearizable. None: there is no record yet."""

    async def create(self, new: Record) -> Versioned:
        """Raises `Conflict` if there is a record already."""

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        """Replace the record if its version is still ``expected`` (rule M1)."""

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change. May skip versions, never goes back."""

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> Session:
        """Raises `Conflict` (current=None) if another process holds a session of this node id (T40)."""

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session. A hint about *when* to act, never about safety."""

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """The live nodes, then each change."""

    async def close(self) -> None:
        """Release watches and files. Sessions are closed by their owners."""


class PollingRecordStore(RecordStore, Protocol):
    """A record store that has to poll for changes: detected by the presence of this method."""

    def poll_soon(self) -> None:
        """Poll for changes soon, and often for a while: a link broke or a role changed. Never blocks."""


@runtime_checkable
class SucceedingRecordStore(Protocol):
    """Optional ability of a record store: to replace the session that a process which was killed has left behind."""

    def succeed(self, lock: bytes) -> None:
        """Called before the first session is opened, with what `LockedStore.lock_name` has said.

        The first session that is then opened replaces one of the same node id that was opened with the same name: its
        process has ended. Sessions with other names are waited for, or refused, as without this call.
        """


Decision: TypeAlias = Literal["promote", "demote"]


class ClusterView(Protocol):
    """What a promoter may look at. Given by the node."""

    @property
    def node(self) -> NodeId:
        """The id of the node that the promoter works for."""

    @property
    def records(self) -> RecordStore:
        """The record store of the node."""

    @property
    def eligible(self) -> bool:
        """True while this node is a member of the record and not primary.

        False while it leaves the role of primary to others, because it was asked to hand over or cannot serve. If a
        promoter decides to promote it nevertheless, the node obeys, as it obeys an operator.
        """


class ProbingView(ClusterView, Protocol):
    """A view that knows more than the sessions say: detected by the presence of `watch_ended`."""

    def watch_ended(self) -> AsyncIterator[Mapping[NodeId, UUID]]:
        """By node, the boot id of a process that has ended though its session may still stand; then each change.

        A hint, as `RecordStore.live` is. One reader at a time.
        """


class Promoter(Protocol):
    """Decides *when* to try. *Whether* it is allowed is decided by the record (rule P1)."""

    def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        """Yields whenever this node should try to become, or cease to be, primary. Repeats if ignored."""
