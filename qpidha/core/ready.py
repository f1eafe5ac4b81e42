"""What the core wants done, in the only order in which it may be done.

    persist  ──►  send  ──►  request  ──►  complete  ──►  notify

A `Ready` is performed whole, in this order, before the next one is taken; a large one in several turns of
the loop, between which inputs may change the core. What must be durable before
it is sent or acknowledged cannot be expressed in another order. While a `Ready` waits for its disk,
the core goes on collecting; the next one is then a larger batch (group commit).

One exception makes the disks of all nodes work at the same time: if ``early`` is set, ``send`` may be performed before
``persist``. Then all its frames are operations of an established primary, which promise nothing: an operation is
complete when the primary's own disk has it, too (O4). A primary that is killed in between comes back without it, like a
backup that was not sent it; `tests/model` searches that (``sync=1``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from qpidha.events import NodeEvent
from qpidha.journal import Change
from qpidha.seq import SequenceSet
from qpidha.types import (
    Discarded,
    Generation,
    MessageId,
    NodeId,
    Position,
    QueueId,
    QueueSpec,
    Record,
    Role,
)
from qpidha.values import value
from qpidha.wire.batch import Batch
from qpidha.wire.events import Frame, Operations

# --- requests to the cluster manager -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """At most one is in flight (M1). ``expected`` is a version; None creates the first record."""

    expected: int | None
    new: Record


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A linearizable read."""


Request: TypeAlias = CompareAndSet | ReadRecord

# --- completions ---------------------------------------------------------------------------------


@value
class Safe:
    """Publishes on this queue with ids up to ``upto`` are complete (O4, O5)."""

    queue: QueueId
    upto: MessageId
    generation: Generation
    nodes: frozenset[NodeId]
    consumed: SequenceSet | None = None
    """Those of the completed messages that were consumed before: no node needs to hold them any more."""


@value
class Settled:
    """Operations up to this position are complete: dequeues, declarations, moves (O6)."""

    upto: Position
    generation: Generation
    nodes: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class Stored:
    """Operations that this primary made alone, up to this number of them, are durable here (LV5).

    Those whose position was not complete yet when they were made wait for `Settled` instead.
    """

    upto: int
    generation: Generation
    nodes: frozenset[NodeId]
    """This node."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Everything still pending in this generation is in doubt (K1)."""

    generation: Generation


Completion: TypeAlias = Safe | Settled | Stored | Doubtful

# --- notices -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The role of this node, or the generation, changed."""

    role: Role
    generation: Generation


@dataclass(frozen=True, slots=True)
class QueueAdded:
    """This node holds another queue now."""

    queue: QueueId
    spec: QueueSpec


@dataclass(frozen=True, slots=True)
class QueueRemoved:
    """This node does not hold this queue any more."""

    queue: QueueId


@value
class Inserted:
    """Messages were added to a queue."""

    queue: QueueId
    ids: SequenceSet
    batch: Batch | None
    """None: only the store has them (`Replica.read_again`)."""


@value
class Removed:
    """Messages were removed from a queue."""

    queue: QueueId
    ids: SequenceSet


@dataclass(frozen=True, slots=True)
class HandOver:
    """Messages that a rewind discarded and that nothing can bring back (W2)."""

    messages: tuple[Discarded, ...]


@dataclass(frozen=True, slots=True)
class EnoughMembers:
    """There are enough members again: what `qpidha.events.TooFewMembers` said is over (J4)."""


@dataclass(frozen=True, slots=True)
class FullSpeed:
    """Publishers are slowed no more: what `qpidha.events.PublishersSlowed` said is over."""


@dataclass(frozen=True, slots=True)
class CloseLink:
    """The driver closes this link, after what was sent before."""

    link: int
    reason: str


Notice: TypeAlias = (
    RoleChanged
    | QueueAdded
    | QueueRemoved
    | Inserted
    | Removed
    | HandOver
    | EnoughMembers
    | FullSpeed
    | CloseLink
    | NodeEvent
)


@dataclass(slots=True)
class Ready:
    """One batch of effects."""

    persist: list[Change] = field(default_factory=list)
    """One transaction. Durable before anything below is done."""

    send: list[tuple[int, Frame]] = field(default_factory=list)
    """(link, frame), in order for each link. A frame for a closed link is dropped."""

    request: Request | None = None
    """To the cluster manager; the answer comes back as an input."""

    complete: list[Completion] = field(default_factory=list)
    """Promises to clients."""

    notify: list[Notice] = field(default_factory=list)
    """To the embedder, in order."""

    early: bool = False
    """``send`` may be performed before ``persist``."""

    def __bool__(self) -> bool:
        return bool(self.persist or self.send or self.request or self.complete or self.notify)

    def look_whether_early(self) -> None:
        """Set ``early`` if all frames are operations: none may overtake another one of its link (C6)."""
        if self.persist and self.send:
            self.early = {type(frame.event) for _, frame in self.send} == {Operations}


def needs_no_disk(effect: object) -> bool:
    """Whether this effect of an ended role may be performed before the disk answers. Never a frame or a request."""
    if isinstance(effect, RoleChanged):
        return not effect.role.is_primary
    return isinstance(effect, (Doubtful, CloseLink, NodeEvent))


def without_disk(ready: Ready) -> Ready:
    """The part of these effects that a node whose role is over performs at once."""
    return Ready(
        complete=[c for c in ready.complete if needs_no_disk(c)],
        notify=[n for n in ready.notify if needs_no_disk(n)],
    )


def remainder(ready: Ready) -> Ready:
    """What is left besides `without_disk`, for when the disk has answered: an ended role sends and promises nothing.

    A request stays, because the core waits for its answer.
    """
    spoken = (RoleChanged, CloseLink, NodeEvent)
    notices: list[Notice] = [n for n in ready.notify if not isinstance(n, spoken)]
    return Ready(persist=ready.persist, request=ready.request, notify=notices)
