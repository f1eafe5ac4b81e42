"""Events of the replication protocol. The core emits them, among the notices of a `Ready`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from qpidha.events.base import EventLevel, NodeEvent, Trouble
from qpidha.types import Generation, NodeId


@dataclass(frozen=True, slots=True)
class Resynchronised(NodeEvent):
    """A backup has received what it lacked of its primary's content, and follows the primary from now on.

    Many messages after a short absence are a sign that the backup was removed, or that its store was replaced.
    """

    name: ClassVar = "resynchronised"
    messages: int
    """Messages received. Declarations of queues, other objects and entries of tables count as well."""
    nbytes: int
    """Payload bytes received."""
    erased: int
    """Messages erased because they had been dequeued on the primary."""
    quarantined: int
    """Messages that the primary does not have, put aside until it is known whether they are lost."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return (
            f"received {self.messages} messages, {self.nbytes} bytes; "
            f"erased {self.erased} dequeued, quarantined {self.quarantined}"
        )


@dataclass(frozen=True, slots=True)
class SteppedDown(NodeEvent):
    """A primary is primary no more; clients' pending operations are in doubt."""

    name: ClassVar = "stepped down"
    reason: str

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return self.reason


@dataclass(frozen=True, slots=True)
class RemovingMembers(NodeEvent):
    """A primary asks the cluster manager to remove members that do not answer in time.

    Operations then complete without them, and they cannot be promoted before they have caught up again. Until then
    there are fewer copies of each message.
    """

    name: ClassVar = "removing a member"
    nodes: tuple[NodeId, ...]
    """In order of their names."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return ", ".join(self.nodes)


@dataclass(frozen=True, slots=True)
class TooFewMembers(Trouble):
    """This primary has fewer members than ``min_in_sync``: it refuses operations of clients and completes none.

    Reads go on, and so does the work that ends it: a backup that has caught up becomes a member. Find out why the
    missing nodes are not there, or do not catch up.
    """

    name: ClassVar = "too few members"
    min_in_sync: int
    members: tuple[NodeId, ...]
    """In order of their names."""
    missing: tuple[NodeId, ...]
    """Nodes that are not members: they were since this process started, or they are connected."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        missing = f"; missing: {', '.join(self.missing)}" if self.missing else ""
        return f"{len(self.members)} of {self.min_in_sync} (min_in_sync): {', '.join(self.members)}{missing}"


@dataclass(frozen=True, slots=True)
class PublishersSlowed(Trouble):
    """Operations complete later than they could, because publishers outrun a backup that catches up.

    It ends when the backup follows. `NodeStatus.slowed` says how fast operations complete, and how much is left. See
    `Settings.catch_up_time_max_s`.
    """

    name: ClassVar = "publishers slowed"
    level: ClassVar = EventLevel.INFO
    backups: tuple[NodeId, ...]
    """For whom; in order of their names."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"while {', '.join(self.backups)} {'catch' if len(self.backups) > 1 else 'catches'} up"


@dataclass(frozen=True, slots=True)
class CompareAndSetLost(NodeEvent):
    """Another node changed the record first, so that this node's change of it was refused.

    Normal during a failover, when several nodes try to be promoted. If it happens again and again at other times, two
    nodes act as primary, or something else writes to the record.
    """

    name: ClassVar = "compare-and-set lost"
    expected: int | None
    """The version of the record that was to be replaced. None: the record was to be created."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"expected version {self.expected}"


@dataclass(frozen=True, slots=True)
class DuplicateNodeId(NodeEvent):
    """Two processes connected to a primary under one node id. The second was refused.

    Either a process was restarted before the primary noticed the end of the first one, or a configuration was copied
    together with its node id, which must be corrected.
    """

    name: ClassVar = "two processes with one node id"
    node: NodeId
    connected: UUID
    """The boot id of the process that is connected."""
    refused: UUID
    """The boot id of the process that was refused."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"{self.node!r}: process {self.connected} is connected, process {self.refused} was refused"


@dataclass(frozen=True, slots=True)
class FencedByPeer(NodeEvent):
    """A peer has seen a newer generation than this primary's, which asks the cluster manager whether it is replaced.

    Expected once after a failover that this primary did not notice, such as one during a pause.
    """

    name: ClassVar = "fenced"
    generation: Generation
    """What the peer has seen."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"a peer has seen generation {self.generation}"


@dataclass(frozen=True, slots=True)
class RefusedByBackup(NodeEvent):
    """A backup ended its session with this primary because of what the primary sent."""

    name: ClassVar = "refused by a backup"
    node: NodeId
    reason: str
    """In the words of the backup."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"{self.node}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RefusedByPrimary(NodeEvent):
    """The node that the record names as primary refused this backup. It tries again."""

    name: ClassVar = "refused by the primary"
    reason: str
    """In the words of the primary."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return self.reason


@dataclass(frozen=True, slots=True)
class StalePrimaryFenced(Trouble):
    """A primary of an older generation sent something to this backup, which told it that it was replaced.

    Expected once after a failover. If it lasts, the old primary cannot reach the cluster manager.
    """

    name: ClassVar = "fenced a stale primary"
    fades: ClassVar = True
    generation: Generation
    """The generation of the stale primary."""
    seen: Generation
    """The newest generation that this node has seen."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"its generation is {self.generation}, {self.seen} was seen"


@dataclass(frozen=True, slots=True)
class UnrecordedPrimary(Trouble):
    """A node says that it is primary, and the record does not say so. This backup leaves it and reads the record again.

    Expected for a moment at a promotion. If it lasts, the two nodes do not see the same record.
    """

    name: ClassVar = "not the recorded primary"
    fades: ClassVar = True
    node: NodeId
    generation: Generation
    """Of which it says that it is primary."""

    @property
    def detail(self) -> str:
        """What the log line says besides the name of the event."""
        return f"{self.node} at generation {self.generation}"
