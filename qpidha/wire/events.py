"""The events that two nodes exchange on a replication link: one frozen class for each.

Each travels in a frame that also carries the sender's *generation* and the *session id* it belongs
to (rules C2, C3). Control events are msgpack arrays in field order; `PlanMessages` and `Operations`
have a fixed layout, encoded and decoded by compiled code (``docs/wire.md``).

    backup                                   primary
      │  Hello ───────────────────────────────► │      versions, identity, limits
      │ ◄─────────────────────────────── Welcome │      or Refused, or Fenced
      │  Subscribe, SubscribeQueue… ───────────► │      lineages, next ids, held ids (or groups: `qpidha.wire.groups`)
      │ ◄──────────── PlanMessages… (Progress ►) │      staged, invisible
      │ ◄────────────── PlanQueue…, PlanDrop…    │      what the queues will be
      │ ◄─────────────────────────────── PlanEnd │      the atomic flip
      │  Acknowledged ─────────────────────────► │
      │ ◄──────────────────────────── Operations │      in order, from here on
      │ ◄─────────────────────────── Established │      nothing of an older history can come back any more
      │ ◄─────────────────────────── Resubscribe │      fell behind: a new plan (rule C7)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias
from uuid import UUID

from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, Entry, Generation, MessageId, NodeId, Position, QueueId, QueueSpec
from qpidha.values import named_value, value
from qpidha.wire.batch import Batch
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest

# --- handshake -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node accepts and sends: its settings of the same names. Both ends send theirs since version 2."""

    frame_bytes_max: int
    message_bytes_max: int
    queues_max: int
    ids_runs_per_chunk_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Backup → primary, first frame: who I am and which protocol versions I speak."""

    KIND: ClassVar[int] = 1
    version_min: int
    version_max: int
    cluster: UUID | None
    """None only from a node whose store is empty."""
    node: NodeId
    boot: UUID
    wanted: NodeId
    """The node the backup believes it is talking to, from the record."""
    limits: Limits | None = None
    """Present exactly if ``version_max`` is at least 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Primary → backup, first frame: the version chosen, and proof of whom the backup reached."""

    KIND: ClassVar[int] = 2
    version: int
    cluster: UUID
    node: NodeId
    boot: UUID
    limits: Limits | None = None
    """Present exactly if ``version`` is at least 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Either → other: why the link is being closed. The last frame of the sender."""

    KIND: ClassVar[int] = 3
    code: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """Backup → primary: I have durably seen a higher generation than yours. Step down (rule C2)."""

    KIND: ClassVar[int] = 4
    generation: Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Either → other, whenever nothing else was sent for a heartbeat interval. Never answered."""

    KIND: ClassVar[int] = 5


# --- subscription --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Backup → primary: open this session; `queues` SubscribeQueue entries follow (rules C1, C3).

    The session id is in the frame. Every earlier session of this node is over.
    """

    KIND: ClassVar[int] = 10
    epoch: UUID
    stored_generation: Generation
    queues: int
    """How many `SubscribeQueue` frames follow, counting every chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeQueue:
    """Backup → primary: one queue, or one chunk of its held ids. Chunks of a queue are consecutive."""

    KIND: ClassVar[int] = 11
    queue: QueueId
    lineage: tuple[Entry, ...]
    next: MessageId
    held: SequenceSet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQueue:
    """Primary → backup: this queue will exist after the flip, with this lineage and next id (C4)."""

    KIND: ClassVar[int] = 12
    queue: QueueId
    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: MessageId
    held: int
    """How many messages it will hold: the backup checks its flip against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDrop:
    """Primary → backup: drop these messages, which the primary does not hold (C4). May come in chunks."""

    KIND: ClassVar[int] = 13
    queue: QueueId
    ids: SequenceSet
    staged: bool
    """True: of the messages staged in this session. False: of those held when it subscribed. The same id
    can be both, as an old message and as a new one of another generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWithdraw:
    """Primary → backup: this queue was planned or staged, and was deleted since (Q9). Since version 3."""

    KIND: ClassVar[int] = 18
    queue: QueueId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMessages:
    """Primary → backup: messages the backup lacks; staged until PlanEnd (C5). Data plane."""

    KIND: ClassVar[int] = 14
    queue: QueueId
    generation_of: Generation
    """The generation that gave these ids out: staged messages are a cache by identity."""
    ids: SequenceSet
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEnd:
    """Primary → backup: flip, in one transaction over all queues, sync, acknowledge (C5)."""

    KIND: ClassVar[int] = 15
    position: Position
    """Every operation up to here is covered by the plan (C3)."""
    queues: int
    """How many queues there are after the flip: all of them were named by PlanQueue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Backup → primary: how many PlanMessages frames of this session were staged. Flow control only."""

    KIND: ClassVar[int] = 16
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubscribe:
    """Primary → backup: you fell behind. Apply what came before this, then subscribe again (C7)."""

    KIND: ClassVar[int] = 17


# --- operations ----------------------------------------------------------------------------------


@named_value
class Enqueue:
    """Messages with consecutive ids from `first` on. Part of an operation."""

    PART: ClassVar[int] = 1
    queue: QueueId
    first: MessageId
    batch: Batch


@named_value
class Dequeue:
    """These messages are gone. Unknown ids are legal and raise next (O2). Part of an operation."""

    PART: ClassVar[int] = 2
    queue: QueueId
    ids: SequenceSet


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipIds:
    """Ids from `first` to `last` were given out and will never be used (O2). Part of an operation."""

    PART: ClassVar[int] = 3
    queue: QueueId
    first: MessageId
    last: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Declare:
    """A queue now exists. Part of an operation, together with the queue's object in the configuration (Q2)."""

    PART: ClassVar[int] = 4
    queue: QueueId
    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Messages that another queue, or this one, holds get ids from `first` on here, without their content (U5).

    Part of an operation, since version 3. The receiver has the sources, because it equals the sender at this position.
    """

    PART: ClassVar[int] = 5
    queue: QueueId
    first: MessageId
    source: QueueId
    ids: SequenceSet
    replacement: bool
    """They take the place of the sources, which this operation dequeues: they carry the first one's identity (U4)."""
    props: tuple[bytes, ...] | None = None
    """New props, one for each; None: those of the sources."""

    @property
    def last(self) -> MessageId:
        """The last id that is given out."""
        return self.first + len(self.ids) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """This queue was deleted, with everything in it (Q2). Part of an operation, since version 3."""

    PART: ClassVar[int] = 6
    queue: QueueId


Part: TypeAlias = Enqueue | Dequeue | SkipIds | Declare | Copy | Drop
Operation: TypeAlias = tuple[Part, ...]
"""The parts of one operation are applied in one transaction (O3)."""


@named_value
class Operations:
    """Primary → backup: consecutive operations in order (C6). Data plane.

    The encoded form is made once and kept, so that every backup is sent the same bytes.
    """

    KIND: ClassVar[int] = 20
    first: Position
    """The position of the first operation; the n-th has ``first + n``."""
    operations: tuple[Operation, ...]
    chunks: list[BytesLike] = field(default_factory=list, compare=False, repr=False)
    """The body as encoded, filled by the codec on first use. Not part of the value."""

    @property
    def last(self) -> Position:
        """The position of the last operation."""
        return self.first + len(self.operations) - 1


@named_value
class Acknowledged:
    """Backup → primary: everything up to this position is durable here. Cumulative (C6)."""

    KIND: ClassVar[int] = 21
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """Primary → backup: every member acknowledged this generation (W2)."""

    KIND: ClassVar[int] = 22


Event: TypeAlias = (
    Hello
    | Welcome
    | Refused
    | Fenced
    | Ping
    | Subscribe
    | SubscribeGroups
    | GroupsDiffer
    | SubscribeRest
    | SubscribeQueue
    | PlanQueue
    | PlanDrop
    | PlanMessages
    | PlanWithdraw
    | PlanEnd
    | Progress
    | Resubscribe
    | Operations
    | Acknowledged
    | Established
)


@value
class Frame:
    """One event with the two facts that every frame carries."""

    generation: Generation
    session: int
    """0 during the handshake."""
    event: Event
