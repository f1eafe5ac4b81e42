"""The nouns that every layer shares: identities, the cluster record, roles, receipts.

Words follow Qpid (primary, backup, replicating subscription) and PacificA (the *record* kept by
the cluster manager, changed only by compare-and-set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TypeAlias
from uuid import UUID, SafeUUID

BytesLike: TypeAlias = bytes | bytearray | memoryview
Address: TypeAlias = tuple[str, int]
NodeId: TypeAlias = str
"""The name of a node: stable over restarts, never reused for another machine."""
QueueId: TypeAlias = UUID
"""A queue that is deleted and created again under the same name is another queue."""
Generation: TypeAlias = int
"""Raised by one at every promotion. 0: never had a primary."""
MessageId: TypeAlias = int
"""64-bit, given out by the primary in enqueue order, from 1, never reused within a generation."""
Position: TypeAlias = int
"""Counts the operations of one generation on its primary. 1 is the activation itself (rule P3)."""
Entry: TypeAlias = tuple[Generation, MessageId]
"""One entry of a lineage: this generation began to give out ids at this id."""

GENERATION_MAX = 2**63 - 1
MESSAGE_ID_MAX = 2**64 - 2
NODE_ID_BYTES_MAX = 255
QUEUE_NAME_BYTES_MAX = 32_767
QUEUE_KIND_BYTES_MAX = 255


def _frozen(given: object) -> object:
    """A set, list or tuple as a frozenset. What is none stays as it is: whoever gets it says so."""
    if not isinstance(given, (set, list, tuple)):
        return given
    try:
        return frozenset(given)
    except TypeError:  # One cannot be in a set.
        return given


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A node together with one life of its store: a wiped store is a different member (rule J3)."""

    node: NodeId
    epoch: UUID

    def __hash__(self) -> int:
        """Hash of the node id only: that is cheap, and two lives of one store are rarely in the same set."""
        return hash(self.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the cluster manager keeps: one small value, changed only by compare-and-set (M1).

    A primary acknowledges only what every member has made durable; only a member can be promoted.
    """

    cluster: UUID
    generation: Generation
    primary: tuple[NodeId, UUID] | None
    """Node id and *boot id*: a restarted process is never primary without a new promotion (P2)."""
    members: frozenset[Member]
    nonce: bytes = b""
    """Random, fresh for each write: tells a writer whose answer was lost that the value is its own."""

    def __post_init__(self) -> None:
        """A record store may give the members in any collection."""
        if type(self.members) is not frozenset:
            object.__setattr__(self, "members", _frozen(self.members))

    def member(self, node: NodeId) -> Member | None:
        """The member entry of this node, or None."""
        return next((m for m in self.members if m.node == node), None)


@dataclass(frozen=True, slots=True)
class Versioned:
    """A record as read, with the opaque version token that a compare-and-set must present."""

    record: Record
    version: int
    """Grows with every write; the token of rule M1."""


class Role(Enum):
    """What a node is doing, in the words of the base design."""

    JOINING = "joining"
    """A backup without a session."""
    CATCH_UP = "catch-up"
    """A backup that has subscribed and stages the primary's plan."""
    READY = "ready"
    """A backup that has flipped to the plan and follows operations in order."""
    RECOVERING = "recovering"
    """A primary whose generation is not yet established (rule W2)."""
    ACTIVE = "active"
    """A primary all of whose members have acknowledged the plan of this generation."""
    STOPPED = "stopped"
    """Not serving: not started, stopped, or its store failed."""

    @property
    def is_primary(self) -> bool:
        """Whether this is the role of a primary."""
        return self in (Role.RECOVERING, Role.ACTIVE)


class Settle(IntEnum):
    """When a consumer is told that its accept is done (rule O6)."""

    IMMEDIATE = 0
    """At once. A failover may deliver the message again: the documented duplicate."""
    REPLICATED = 1
    """When every member has made the dequeue durable: never delivered again by a later primary."""


class Level(IntEnum):
    """How much of an object every node has (Qpid's ``qpid.replicate``)."""

    NONE = 0
    """Nothing: the object is this node's own affair."""
    CONFIGURATION = 1
    """The object, without messages."""
    MESSAGES = 2
    """The object with its messages."""


def level_of(queue: QueueId) -> Level:
    """How much of a queue is replicated: its id tells it, wherever the queue is found.

    The two bits in the middle, the 65th and the 66th, are 11 in the id of a queue of level none, and 10 in a random id
    (RFC 4122), of a release without a configuration. Else the id is a birth (`qpidha.core.births`): its first bit is set
    if the level is configuration.
    """
    value = queue.int
    if (value >> 62) & 3 == 3:
        return Level.NONE
    return Level.CONFIGURATION if value >> 127 and not (value >> 63) & 1 else Level.MESSAGES


def uuid_of(value: int) -> UUID:
    """The UUID with this value, below 2**128. Takes half the time of the constructor.

    >>> uuid_of(5) == UUID(int=5)
    True
    """
    made = UUID.__new__(UUID)
    _set(made, "int", value)
    _set(made, "is_safe", SafeUUID.unknown)
    return made


_set = object.__setattr__  # A UUID refuses to be changed; its constructor does the same.


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What is fixed when a queue is declared, and replicated with it."""

    name: str
    settle: Settle = Settle.REPLICATED
    kind: str = "fifo"
    """The name of the queue type. Only the embedder's adapter gives it a meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the publish of a moved message was given: its identity in the queue that it left first (rule O3)."""

    queue: QueueId
    generation: Generation
    id: MessageId


@dataclass(frozen=True, slots=True)
class ProducerSequence:
    """The number that a producer gave to one publish or commit of its own; it is used once (rules EO5, EO8).

    A batch of n messages has n numbers, of which this is the first.
    """

    producer: str
    """Its name."""
    epoch: Entry
    """Its registration: the identity of an object of the configuration (EO6). Compare it; it has no other meaning."""
    number: int
    """From 1 on, without gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the completion of an operation promises: which nodes have it durably, and in which generation.

    It states what was known when the operation completed.
    """

    generation: Generation
    ids: range
    nodes: frozenset[NodeId]
    """Every node that had made it durable: the primary and all members of the record at that moment.

    Empty if all its messages were consumed first. Also empty for a dequeue with `Settle.IMMEDIATE` that completed
    before every member had made it durable.
    """
    consumed: bool = False
    """All its messages had been consumed before the publish was complete (rule O6): no node needs to hold them."""


class Fate(Enum):
    """What became of a message that a flip discarded, according to the established history (rules W1, W2)."""

    REWOUND = "rewound"
    """That history never had it: a publish that was never confirmed. If it was moved, its publish was undone with
    its move, and no other copy of it is left."""
    UNDONE_MOVE = "undone-move"
    """The copy that a move made; only the move was undone. The message itself is in the queue that it was published
    to, in one that it was moved to since, or was settled."""
    SEQUENCE_USED = "sequence-used"
    """It was published with a sequence, which that history has: its producer published it there, or gave it up (EO7)."""
    UNKNOWN = "unknown"
    """It cannot be determined: the message is older than the primary's trimmed lineage (rule G1), or it was moved and
    the queue that it was published to no longer exists, or its producer was forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """One message that a rewind removed from a queue, as it is handed over to the embedder."""

    queue: QueueId
    queue_name: str
    generation: Generation
    id: MessageId
    fate: Fate
    data: bytes
    props: bytes = b""
    origin: Origin | None = None
    """Of a message that was moved, or published with a sequence; None otherwise."""
    sequence: ProducerSequence | None = None
    """Of a message that was published with a sequence, if the history that holds now knows its producer. Publish it again
    with this sequence: its producer repeats it, too (EO7)."""
    in_commit: bool = False
    """It was published in a transaction, or to several queues at once: the sequence is that of the whole. Do not publish
    it alone: its producer repeats the whole."""

    @property
    def published_as(self) -> Origin:
        """The identity that its publish was given: the same for every copy that any node hands over."""
        return self.origin or Origin(queue=self.queue, generation=self.generation, id=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """Who is at the other end of a link, as far as the transport has verified it."""

    address: str
    identity: frozenset[str] | None = None
    """Names in the verified certificate; None when the link is not authenticated."""
    roles: frozenset[str] = frozenset()
    """Roles in the verified certificate, such as "peer"; empty if it has none, or the link is not authenticated."""
    local: bool = False
    """True if the peer is on this machine."""

    def __post_init__(self) -> None:
        """A transport may give names in any collection, or one alone."""
        for name in ("identity", "roles"):
            given = getattr(self, name)
            if given is not None and type(given) is not frozenset:
                object.__setattr__(self, name, _frozen([given] if isinstance(given, str) else given))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """What a node publishes about itself with its session: where peers and clients find it."""

    peer: Address
    """Where other nodes connect, in the first place."""
    client: Address | None = None
    boot: UUID = field(default=UUID(int=0))
    score: int | None = None
    """Eligibility for promotion, higher first; None: not to be promoted."""
    more: tuple[Address, ...] = ()
    """More addresses for other nodes, such as on a second network, in the order of preference."""

    @property
    def peers(self) -> tuple[Address, ...]:
        """All addresses for other nodes, in the order of preference. At least one."""
        return self.peer, *self.more


Lineage: TypeAlias = Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a node ended. It is not started again: make another `Node`."""

    reason: str
    """In words: who asked for it, or what failed."""
    error: BaseException | None = None
    """What failed; None if it was asked to stop."""
    held: tuple[str, ...] = ()
    """What could not be released in time, such as "store". The operating system releases it when the process ends."""
