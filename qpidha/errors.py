"""Every error this library raises on purpose, in one tree that says who is at fault.

    QpidhaError
      ├─ CallerError        the code that called us: fix the call
      ├─ PeerError          the other end of a link: its link is closed, nothing else is harmed
      ├─ StoreError         this node's disk or files: the node stops serving until an operator looks
      ├─ ClusterError       the cluster manager: retried, or the node steps down
      ├─ OperationError     the outcome of a publish or an accept, told to the client: refused for now, or in doubt
      └─ InvariantError     us: a bug, please report it

Any other exception that leaves the library is a bug too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qpidha.types import Address, NodeId, QueueSpec, Versioned


class QpidhaError(Exception):
    """Base of every error raised by this library."""


# --- the caller ----------------------------------------------------------------------------------


class CallerError(QpidhaError):
    """The embedding code asked for something that is not allowed. Nothing was changed."""


class ArgumentError(CallerError, ValueError, TypeError):
    """An argument has a wrong type or is out of range. The message names it, what was given and what is allowed."""


class SettingsError(ArgumentError):
    """A setting, or an argument of a constructor, has a wrong value, or two of them contradict each other."""


class LocalProtocolError(CallerError):
    """A method was called in a state in which it is not legal."""


class NodeStopped(LocalProtocolError):
    """The node stopped while the caller waited for it, or before. The message says why it stopped."""


class WaitTimeout(CallerError, TimeoutError):
    """The time that the caller gave for a wait is over. Nothing was changed; wait again, or allow more time."""


class AddressUnavailable(CallerError, OSError):
    """A node cannot listen on an address given as ``listen``: it is in use, or not of this machine."""


class ControlSocketInUse(SettingsError):
    """Another node answers on the path given as ``control``. Its socket was left alone."""


class ForkedError(CallerError):
    """An object of the parent process was used in a forked child. Nothing was done, here or in the parent."""


class NotPrimary(CallerError):
    """This node is not the primary. ``primary`` says who is, as far as this node knows."""

    def __init__(self, message: str, *, primary: str | None = None, address: Address | None = None) -> None:
        super().__init__(message)
        self.primary = primary
        self.address = address


class UnknownQueue(CallerError, KeyError):
    """No queue has this name or uuid."""

    def __str__(self) -> str:  # KeyError would show the repr.
        return str(self.args[0]) if self.args else "unknown queue"


class QueueMismatch(CallerError):
    """A queue of this name exists, and was declared differently. ``existing`` and ``asked`` say how."""

    def __init__(self, message: str, *, existing: QueueSpec, asked: QueueSpec) -> None:
        super().__init__(message)
        self.existing = existing
        self.asked = asked


class ObjectMismatch(CallerError):
    """An object of this kind and name exists with another level of replication. Nothing was stored."""


class MessagesGone(CallerError):
    """Messages are not held any more: accepted, moved, or their queue was deleted. Nothing was stored (TX9, U2).

    An accept outside of a commit raises it only for what was moved to another queue. ``queue`` has lost these ``ids``.
    """

    def __init__(self, message: str, *, queue: str, ids: Iterable[int]) -> None:
        super().__init__(message)
        self.queue = queue
        self.ids = ids


class UnknownProducer(CallerError):
    """No producer of this name is registered in this epoch: it was forgotten, or has registered again (EO6).

    Nothing was stored; what it was not told stays in doubt. ``epoch``: as given; ``current``: of its present owner.
    """

    def __init__(
        self, message: str, *, producer: str, epoch: tuple[int, int], current: tuple[int, int] | None
    ) -> None:
        super().__init__(message)
        self.producer = producer
        self.epoch = epoch
        self.current = current


class SequenceGap(CallerError):
    """A sequence is not the next one of its producer: publishes before it are missing, and come first (EO5).

    Nothing was stored. After a failover a producer repeats all that it was not told, in order, from ``expected`` on.
    """

    def __init__(self, message: str, *, producer: str, number: int, expected: int) -> None:
        super().__init__(message)
        self.producer = producer
        self.number = number
        self.expected = expected


class TooManyProducers(CallerError):
    """``producers_max`` producers are registered. Forget one of them, or raise the limit on all nodes."""


class QueueFull(CallerError):
    """A publish does not fit into a queue with a limit. Nothing was stored. ``queue`` is its name."""

    def __init__(self, message: str, *, queue: str) -> None:
        super().__init__(message)
        self.queue = queue


class ConsumerRefused(CallerError):
    """A queue has an exclusive consumer, or has others while an exclusive one was asked for."""


class BackupTooOld(CallerError):
    """A connected backup runs a release that does not know what was asked for. Upgrade it, then ask again."""


class StaleHandle(CallerError):
    """A change was asked of a queue handle of an earlier term, which can only be read. Nothing was changed.

    ``generation``: its term, 0 if made on a backup; ``current``: the term now. Get the queue again: ``node.queue(name)``.
    """

    def __init__(self, message: str, *, generation: int, current: int) -> None:
        super().__init__(message)
        self.generation = generation
        self.current = current


class WrongThread(LocalProtocolError):
    """A node, a queue or an op was used from another thread than that of its event loop."""


class PromotionRefused(CallerError):
    """This node may not become primary; the message says which rule forbids it."""


class HandOverRefused(CallerError):
    """The primary was asked to step down, and no other live member could take its place. It is still primary."""


class SequenceError(CallerError, ValueError):
    """Base of the errors of ``qpidha.seq``."""


class SequenceOrderError(SequenceError):
    """Two serial numbers are exactly 2**31 apart, so neither precedes the other (RFC 1982)."""


class SequenceSpanError(SequenceError):
    """The live span of a queue would reach half of the 32-bit serial space (I3)."""


class SequenceDecodeError(SequenceError):
    """Bytes that are not an encoded SequenceSet."""


# --- the peer ------------------------------------------------------------------------------------


class PeerError(QpidhaError):
    """The other end of a link misbehaved or refused. Only its own link is closed."""


class RemoteProtocolError(PeerError):
    """The peer sent something that the protocol does not allow. ``code`` travels in the closing frame."""

    code: ClassVar[int] = 1


class MalformedFrame(RemoteProtocolError):
    """Bytes that are not a frame, an event or a batch."""

    code: ClassVar[int] = 2


class FrameTooLarge(RemoteProtocolError):
    """A frame announces more bytes than the limit in force. Checked before any allocation."""

    code: ClassVar[int] = 3


class VersionMismatch(RemoteProtocolError):
    """No protocol version is spoken by both ends."""

    code: ClassVar[int] = 4


class HandshakeError(RemoteProtocolError):
    """The first frames name a wrong cluster, a wrong node or a wrong role."""

    code: ClassVar[int] = 5


class LinkClosed(PeerError):
    """The link is gone: closed by the peer, cut, or silent for too long."""


# --- the store -----------------------------------------------------------------------------------


class StoreError(QpidhaError):
    """The store of this node cannot be used. Nothing more is acknowledged from it (D6)."""


class StoreLocked(StoreError):
    """Another process holds this store."""


class StoreDamaged(StoreError):
    """The store fails verification; it never serves while another copy exists."""


class StoreDirty(StoreError):
    """The store was not closed cleanly and the settings forbid to open it."""


class StoreMismatch(StoreError):
    """The store belongs to another cluster or another node, or has a newer format."""


class StoreUnsuitable(StoreError):
    """The directory cannot hold a store: it is on a network file system, or holds a cluster record."""


class StoreFailed(StoreError):
    """A write or an fsync failed, or the files were replaced. Open and verify the store again before using it."""


# --- the cluster manager -------------------------------------------------------------------------


class ClusterError(QpidhaError):
    """The cluster manager refused or did not answer."""


class Conflict(ClusterError):
    """A compare-and-set was refused. ``current`` is the record that was found; None: there was none."""

    def __init__(self, message: str, *, current: Versioned | None) -> None:
        super().__init__(message)
        self.current = current


class Unavailable(ClusterError):
    """The cluster manager could not be reached. The request was certainly not sent, or has certainly done nothing."""


class ManagerRefused(Unavailable):
    """The cluster manager refuses, and has done nothing: wrong password, no permission, no space. See the message."""


class OutcomeUnknown(ClusterError):
    """The request was sent and no answer came: it may be applied now, later, or never (rule M2)."""


# --- the outcome of an operation -----------------------------------------------------------------


class OperationError(QpidhaError):
    """A publish or an accept did not become safe."""


class NotEnoughMembers(OperationError):
    """Fewer nodes than ``min_in_sync`` are members, so that the primary takes no operations. Nothing was stored (J4).

    Refuse the client's request, and let it try again: operations are taken once enough backups have caught up.
    ``members`` are those that there are, ``missing`` those that are not members and that this node knows of: they were
    members since its process started, or are connected.
    """

    def __init__(
        self, min_in_sync: int, *, members: tuple[NodeId, ...] = (), missing: tuple[NodeId, ...] = ()
    ) -> None:
        super().__init__(min_in_sync)
        self.min_in_sync = min_in_sync
        self.members = members
        self.missing = missing

    def __str__(self) -> str:
        who = f" ({', '.join(self.members)})" if self.members else ""
        missing = f"; missing: {', '.join(self.missing)}" if self.missing else ""
        number = len(self.members)
        return f"{number} member{'s' * (number != 1)}{who} of {self.min_in_sync} (min_in_sync){missing}"


class InDoubt(OperationError):
    """The node stepped down or stopped while the operation was pending (rule K1), or its deadline is over.

    The next primary may hold the message or not. Send it again if a duplicate is better than a loss.
    """


class CallTimeout(InDoubt, TimeoutError):
    """A call of `Node.sync` got no answer in its time, and may have been made: it is slow, or the loop is blocked."""


class OpTimeout(InDoubt, TimeoutError):
    """The deadline of an operation is over and it is not safe yet. It is still pending: await it again to learn more."""


# --- us ------------------------------------------------------------------------------------------


class InvariantError(QpidhaError):
    """An invariant of the library does not hold. This is a bug in qpidha: please report it."""


def ensure(condition: bool, invariant: str) -> None:
    """Raise `InvariantError` unless the condition holds. For O(1) checks that stay on in production."""
    if not condition:
        raise InvariantError(invariant)
