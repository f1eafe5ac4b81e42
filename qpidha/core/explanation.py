"""What became of one message, as one node knows it: a verdict, the facts behind it, and what to do, in words.

`qpidha.core.explain` makes these values. Nothing in them changes later.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from qpidha.types import Fate, Generation, MessageId, NodeId, Origin, Position, ProducerSequence, QueueId


class Verdict(Enum):
    """What became of a message."""

    PENDING = "pending"
    """The primary holds it, and not every member does as far as it knows: its publish is not confirmed."""
    SAFE = "safe"
    """The primary and every member hold it; of a queue whose messages are not replicated, the primary alone."""
    HELD = "held"
    """This node, a backup or a store, holds it. Only the primary knows whether it is safe."""
    ACCEPTING = "accepting"
    """It was accepted, expired or dropped, and not every member has made that durable."""
    GONE = "gone"
    """It is not there any more: it was accepted, expired or dropped, and that is settled; or its id was skipped.

    Also a message that was published with a producer's sequence and moved or updated: such copies are not found.
    """
    MOVED = "moved"
    """It was moved to another queue, where it has another id."""
    REPLACED = "replaced"
    """An update gave it another id in the same queue."""
    QUARANTINED = "quarantined"
    """A failover took it out of the queue; it is kept on this node until the broker takes it."""
    REWOUND = "rewound"
    """The history that this node follows never had it: a failover undid its publish."""
    FORGOTTEN = "forgotten"
    """It is older than the history that is kept of this queue, and not held."""
    NOT_GIVEN = "not-given-out"
    """No message of the queue has had this id yet."""
    NOT_HERE = "not-here"
    """This node, a backup or a store, has nothing up to this id yet. The primary may have."""
    DELETED = "deleted"
    """Its queue was deleted."""
    NO_QUEUE = "no-queue"
    """There is no such queue."""
    NOT_REPLICATED = "not-replicated"
    """Each node has its own messages in this queue, and this node has not given this id out."""


class Owes(Enum):
    """Why a node has not acknowledged an operation."""

    DISK = "disk"
    """It is this node: the operation is not durable here yet, or was not sent yet."""
    FOLLOWS = "follows"
    """It was sent the operation, and has not acknowledged it."""
    CATCHES_UP = "catches-up"
    """It is catching up, and acknowledges when it has everything."""
    LAGS = "lags"
    """It was too slow, and is about to catch up anew."""
    ABSENT = "absent"
    """It has no session with this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One node that must acknowledge an operation before it is safe."""

    node: NodeId
    owes: Owes
    behind: int
    """Operations that it has not acknowledged."""
    joining: bool = False
    """It is becoming a member, and completions wait for it already (J2)."""

    @property
    def text(self) -> str:
        """In words."""
        said = _OWES[self.owes]
        joins = ", becoming a member" if self.joining else ""
        return f"{self.node!r}{joins}: {said}; {operations(self.behind)} behind"

    @property
    def to_do(self) -> str:
        """What to do about it."""
        return _OWES_TO_DO[self.owes].format(node=repr(self.node))


_OWES = {
    Owes.DISK: "this node has not written or sent it yet",
    Owes.FOLLOWS: "was sent it, and has not acknowledged it",
    Owes.CATCHES_UP: "is catching up, and acknowledges when it has everything",
    Owes.LAGS: "was too slow, and is about to catch up anew",
    Owes.ABSENT: "is not connected",
}
_OWES_TO_DO = {
    Owes.DISK: "if this lasts, look at the disk of node {node}",
    Owes.FOLLOWS: "if this lasts, look at the disk of node {node} and at the network to it",
    Owes.CATCHES_UP: "wait until node {node} has caught up",
    Owes.LAGS: "wait until node {node} has caught up; if that happens often, its disk or network is too slow",
    Owes.ABSENT: "start node {node}; without it, the publish is confirmed once the record does not list it any more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFew:
    """There are fewer members than ``min_in_sync``: nothing completes (J4)."""

    min_in_sync: int
    members: tuple[NodeId, ...]
    missing: tuple[NodeId, ...]
    """Other nodes that this node knows of."""

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{len(self.members)} of {self.min_in_sync} members (min_in_sync): nothing is confirmed;"
            f" missing: {', '.join(map(repr, self.missing)) or 'a node that was never here'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a message is now."""

    queue: QueueId
    queue_name: str
    id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message with this id that is in quarantine on this node (W1)."""

    queue: QueueId
    queue_name: str
    generation: Generation
    id: MessageId
    fate: Fate
    decided: bool
    """The history that this node follows is established: this is its fate for good (W2)."""
    offered: bool
    """It was given to the broker's ``on_discarded``, which has not returned yet."""
    origin: Origin | None = None
    """Of a message that was moved or updated; None otherwise."""
    sequence: ProducerSequence | None = None
    """Of a message that was published with a sequence, if its producer is known."""

    @property
    def text(self) -> str:
        """In words."""
        fate = _FATES[self.fate]
        if not self.decided:
            return f"a failover took it out; as far as is known {fate}. It is kept until that is certain"
        given = "the broker is taking it" if self.offered else "the broker has not taken it yet"
        return f"a failover took it out: {fate}; {given}"


_FATES = {
    Fate.REWOUND: "its publish is undone",
    Fate.UNDONE_MOVE: "only its move or update is undone",
    Fate.SEQUENCE_USED: "its producer has published it again, or has given it up",
    Fate.UNKNOWN: "it is older than the history that is kept, and whether another copy exists is not known",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer to "what happened to this message?", as one node knows it at one moment."""

    node: NodeId
    """The node that answers."""
    verdict: Verdict
    queue: QueueId | None
    """None: only a name was given, and the node knows no queue of this name."""
    queue_name: str
    """Empty if only an id was given, and the node knows no queue with this id."""
    id: MessageId
    generation: Generation = 0
    """The generation that gave the id out; 0: not known, or none."""
    as_primary: bool = False
    """The node answers as the primary."""
    primary: NodeId | None = None
    """The primary, as far as the node knows: ask it for what a backup cannot know."""
    local: bool = False
    """The messages of the queue are this node's own: no other node has them (LV1)."""
    published_as: Origin | None = None
    """Of a message that was moved or updated: the identity that its publish was given."""
    sequence: ProducerSequence | None = None
    """Of a message that was published with a sequence, if its producer is known. It stays when the message is moved."""
    place: Place | None = None
    """Where the message is now, if it is in another place."""
    position: Position = 0
    """The operation that is waited for; 0: nothing is waited for."""
    publish_pending: bool = False
    """The publish is not confirmed. Also of a message that was accepted or moved since."""
    waits_for: tuple[Waiting, ...] = ()
    """Who must acknowledge that operation."""
    too_few: TooFew | None = None
    """The members that are missing; None: there are enough, or nothing is waited for."""
    kept: tuple[Kept, ...] = ()
    """All messages with this id that are in quarantine here: each of another generation."""

    @property
    def lines(self) -> list[str]:
        """What happened, in words, the verdict first."""
        which = f"message {self.id} of queue {self.queue_name or str(self.queue)!r}"
        which += f", generation {self.generation}" if self.generation else ""
        said = _LOCALLY_SAFE if self.local and self.verdict is Verdict.SAFE else _TEXTS[self.verdict]
        lines = [f"{which}: {self.verdict.value}", said.format(node=repr(self.node))]
        if self.local:
            lines.append("the messages of this queue are not replicated: no other node has this one")
        if self.place is not None:
            lines.append(f"it is now message {self.place.id} of queue {self.place.queue_name!r}")
        if (origin := self.published_as) is not None:
            lines.append(
                f"it was published as message {origin.id} of queue {origin.queue}, generation {origin.generation}"
            )
        if self.sequence is not None:
            lines.append(f"it has sequence {self.sequence.number} of producer {self.sequence.producer!r}")
        if self.publish_pending and self.verdict is not Verdict.PENDING:
            lines.append("its publish is not confirmed yet")
        elif self.position and self.place is not None:
            lines.append("that is not safe yet: a failover may undo it")
        lines += [f"waits for {waiting.text}" for waiting in self.waits_for]
        lines += [self.too_few.text] if self.too_few is not None else []
        lines += [f"in quarantine, of generation {kept.generation}: {kept.text}" for kept in self.kept]
        return lines

    @property
    def to_do(self) -> list[str]:
        """What to do, in words; empty: nothing."""
        found = [waiting.to_do for waiting in self.waits_for]
        if self.too_few is not None:
            found.append("start the missing nodes")
        if self.verdict in _AS_BACKUP and not self.as_primary and not self.local:
            asked = f"node {self.primary!r}" if self.primary is not None else "the primary"
            found.append(f"ask {asked} as well: it knows more")
        if self.verdict in _TO_DO:
            found.append(_TO_DO[self.verdict])
        return found

    @property
    def text(self) -> str:
        """Everything in words, on one line."""
        done = f". To do: {'; '.join(self.to_do)}" if self.to_do else ""
        return f"{'; '.join(self.lines)}{done}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields, with ``lines`` and ``to_do``."""
        return {**as_json(self), "lines": self.lines, "to_do": self.to_do}

    def __str__(self) -> str:
        return self.text


_TEXTS = {
    Verdict.PENDING: "node {node}, the primary, holds it; its publish is not confirmed yet",
    Verdict.SAFE: "node {node}, the primary, and every member hold it",
    Verdict.HELD: "node {node} holds it; whether every member does, only the primary knows",
    Verdict.ACCEPTING: "it was accepted, expired or dropped; not every member has made that durable yet, so a failover"
    " may bring it back",
    Verdict.GONE: "it is not in the queue any more, as far as node {node} has the history: it was accepted, expired or"
    " dropped, perhaps after it was moved or updated; or its id was skipped",
    Verdict.MOVED: "it was moved to another queue",
    Verdict.REPLACED: "it was updated, which gave it another id",
    Verdict.QUARANTINED: "a failover took it out of the queue, and node {node} keeps it until the broker takes it",
    Verdict.REWOUND: "a failover undid its publish, which was never confirmed: the history that node {node} follows"
    " never had it",
    Verdict.FORGOTTEN: "it is older than the history that node {node} keeps of this queue, and it is not held: it was"
    " accepted, expired, dropped or moved, or a failover undid its publish",
    Verdict.NOT_GIVEN: "no message of this queue has had this id yet",
    Verdict.NOT_HERE: "node {node} has nothing of this queue up to this id yet",
    Verdict.DELETED: "the queue was deleted, with the message if it still held it",
    Verdict.NO_QUEUE: "node {node} has no such queue: it was never declared, a failover undid that, or it was deleted",
    Verdict.NOT_REPLICATED: "each node has its own messages in this queue, and node {node} has not given this id out",
}
_LOCALLY_SAFE = "node {node} holds it on its disk"
_AS_BACKUP = frozenset(
    {
        Verdict.HELD,
        Verdict.GONE,
        Verdict.NOT_HERE,
        Verdict.NO_QUEUE,
        Verdict.FORGOTTEN,
        Verdict.MOVED,
        Verdict.REPLACED,
    }
)
"""Verdicts of a backup about which the primary may know more."""
_TO_DO = {
    Verdict.QUARANTINED: "see that the broker's on_discarded takes it: if its publish is undone, publish it again unless"
    " its publisher does",
    Verdict.REWOUND: "publish it again unless its publisher does; the node that had it hands it to its broker's"
    " on_discarded",
    Verdict.FORGOTTEN: "look for it before you publish it again",
    Verdict.NOT_GIVEN: "check the id and the queue",
    Verdict.NOT_REPLICATED: "ask the node that took it",
    Verdict.NO_QUEUE: "check the name; to ask about a deleted queue, give its uuid instead",
}


def operations(count: int) -> str:
    """So many operations, in words."""
    return "1 operation" if count == 1 else f"{count} operations"


def as_json(value: object) -> Any:
    """A value of this module as JSON knows it."""
    if is_dataclass(value):
        return {f.name: as_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, UUID) else value
