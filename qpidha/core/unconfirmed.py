"""Says which publishes a primary has not confirmed, and for whom they wait. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qpidha.checks import integer
from qpidha.core.explain import QUEUE_REF, find_queue, primary_of
from qpidha.core.explanation import TooFew, Waiting, as_json, operations
from qpidha.core.primary.waiting import too_few, waits_for
from qpidha.core.replica import Replica
from qpidha.errors import UnknownQueue
from qpidha.types import MessageId, NodeId, Position, QueueId

QUEUES_MAX = integer(0, 2**31 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPublish:
    """The oldest publish of a queue that is not confirmed."""

    queue: QueueId
    queue_name: str
    """Empty if the queue was deleted since."""
    first: MessageId
    last: MessageId
    """The ids that the publish was given."""
    position: Position
    """The operation that is waited for. It is a later one than the publish's if its messages were accepted since."""
    waits_for: tuple[Waiting, ...]
    """Who must acknowledge that operation."""

    @property
    def lines(self) -> list[str]:
        """In words."""
        ids = f"message {self.first}" if self.first == self.last else f"messages {self.first} to {self.last}"
        head = f"queue {self.queue_name or str(self.queue)!r}: the publish of {ids} is not confirmed"
        return [head, *(f"waits for {waiting.text}" for waiting in self.waits_for)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """Which publishes a primary has not confirmed, and for whom they wait."""

    node: NodeId
    as_primary: bool
    """False: the node is not the primary, so no publish is pending on it."""
    primary: NodeId | None
    """The primary, as far as the node knows."""
    position: Position = 0
    """The newest operation."""
    safe: Position = 0
    """Every operation up to here is safe. The others may be accepts, declarations or transactions, too."""
    waits_for: tuple[Waiting, ...] = ()
    """Who must acknowledge the oldest operation that is not safe."""
    too_few: TooFew | None = None
    """The members that are missing; None: there are enough."""
    queue_count: int = 0
    """How many queues have publishes that are not confirmed. ``publishes`` may list fewer."""
    publishes: tuple[HeldPublish, ...] = ()
    """The oldest of each queue, those first that are waited for longest."""

    @property
    def to_do(self) -> list[str]:
        """What to do, in words; empty: nothing."""
        if not self.as_primary:
            return (
                [f"ask the primary, node {self.primary!r}"]
                if self.primary is not None
                else ["find the primary"]
            )
        all_waiting = [*self.waits_for, *(w for held in self.publishes for w in held.waits_for)]
        found = [waiting.to_do for waiting in all_waiting]
        if self.too_few is not None:
            found.append("start the missing nodes")
        return list(dict.fromkeys(found))

    @property
    def lines(self) -> list[str]:
        """In words."""
        if not self.as_primary:
            return [f"node {self.node!r} is not the primary: no publish is pending on it"]
        behind = self.position - self.safe
        if not behind:
            return [f"node {self.node!r}: everything is confirmed"]
        lines = [f"node {self.node!r}: not safe yet: {operations(behind)}"]
        lines += [f"the oldest waits for {waiting.text}" for waiting in self.waits_for]
        lines += [self.too_few.text] if self.too_few is not None else []
        for held in self.publishes:
            lines += held.lines
        return lines

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields, with ``lines`` and ``to_do``."""
        return {**as_json(self), "lines": self.lines, "to_do": self.to_do}


def unconfirmed(replica: Replica, queue: QueueId | str | None = None, *, queues_max: int = 20) -> Unconfirmed:
    """Say which publishes are not confirmed, and for whom they wait. O(queues with pending publishes + members).

    Args:
        queue: Only of this queue, by its name or uuid; None: of all.
        queues_max: Show at most this many queues, those first that are waited for longest.

    Raises:
        UnknownQueue: This node has no such queue.
        ArgumentError: Not a queue, or not a number of queues.
    """
    QUEUES_MAX("queues_max", queues_max)
    wanted = None if queue is None else _require(replica, queue)
    primary, node = replica.primary, replica.node
    if primary is None:
        return Unconfirmed(node=node, as_primary=False, primary=primary_of(replica))
    both = (primary._guards, primary.local.guards)
    # Without backups `Primary.safe` is ahead of this node's disk.
    safe = min(primary.safe, primary.deadlines.newest)
    found = [
        (name, at)
        for guards in both
        for name in ([wanted] if wanted is not None else guards.waiting_longest(queues_max))
        if (at := guards.oldest(name, primary.safe)) is not None
    ]
    return Unconfirmed(
        node=node,
        as_primary=True,
        primary=node,
        position=primary.position,
        safe=safe,
        waits_for=waits_for(primary, node, safe + 1) if safe < primary.position else (),
        too_few=too_few(primary),
        queue_count=sum(guards.queue_count for guards in both),
        publishes=tuple(
            HeldPublish(
                queue=name,
                queue_name="" if (queue_there := replica.queue(name)) is None else queue_there.spec.name,
                first=at.first,
                last=at.last,
                position=at.position,
                waits_for=waits_for(primary, node, at.position),
            )
            for name, at in found[:queues_max]
        ),
    )


def _require(replica: Replica, queue: QueueId | str) -> QueueId:
    QUEUE_REF("queue", queue)
    found = find_queue(replica, queue) if isinstance(queue, str) else queue
    if found is None or replica.queue(found) is None:
        raise UnknownQueue(f"no queue {str(queue)!r} on node {replica.node!r}")
    return found
