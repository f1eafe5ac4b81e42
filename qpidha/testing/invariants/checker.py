"""What must hold, watched from outside: the invariants of ``docs/invariants.md`` on disks and at clients.

Nothing here asks the core what it believes. The checker knows what was published, what clients were told,
what lies on each disk, and what the cluster manager's record says; that is enough to judge

  S1  an acknowledged value that nobody consumed is on the disk of every member, at every instant
  S2  nothing that was refused, or never published, is ever delivered
  S3  what was confirmed as settled is on no member's disk, and the current primary never delivers it again
  S4  values stand in publish order on every disk, and are first delivered in that order
  F1  one primary in each generation; each promotion raises the generation by one, for a member
  F2  no disk's generation ever falls
  F3  an OK is given only when S1 holds for it with the record of that moment
  I1  (queue, generation, id) names one message, for ever; ids are not given out twice (I2)
  R-a what a backup acknowledges, it holds: its disk equals the primary's queues at that position
  R-b what is handed over as rewound is owed to nobody, and is never delivered by a later primary
  R-g a discarded message is handed over once by each node that had it, when no member has it any more, and with
      its true fate: "undone move" only if the message itself lives, or was settled (`fates`)
  X2  no disk holds a value twice, in one queue or in two
  peer  no node finds that another one broke the protocol
  D8  the replica's memory equals its disk whenever nothing is under way
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from qpidha.core.ready import RoleChanged
from qpidha.core.refusals import NOT_PRIMARY, STEPPED_DOWN, TAKEN_OVER
from qpidha.errors import VersionMismatch
from qpidha.journal import Change, PutQueue, PutStatus, Release
from qpidha.testing.invariants.facts import Known, facts_of
from qpidha.testing.invariants.fates import Fates
from qpidha.testing.invariants.violation import OutsideTheModel, Violation
from qpidha.testing.sim.disk import Content, Facts
from qpidha.testing.sim.node import SimNode
from qpidha.types import Discarded, Fate, Generation, MessageId, NodeId, Position, QueueId, Record, Settle
from qpidha.wire.events import Acknowledged, Frame, Refused

POLITE = frozenset({NOT_PRIMARY, TAKEN_OVER, STEPPED_DOWN, VersionMismatch.code})
"""Reasons to refuse a peer that did nothing wrong."""


class CheckedWorld(Protocol):
    """The cluster that a checker looks at, and whom it tells what it saw."""

    @property
    def nodes(self) -> Mapping[str, SimNode]: ...
    def processes(self, name: NodeId) -> list[SimNode]: ...
    def sometimes(self, what: str) -> None: ...
    def tell(self, what: str, *values: str, by: SimNode | None = None) -> None: ...


class Checker:
    """Told about everything that happens in a `World`; raises `Violation` at the first thing that must not."""

    def __init__(self, world: CheckedWorld) -> None:
        self._world = world
        self._ordinals: dict[str, int] = {}
        self.acked: dict[str, None] = {}
        """Answered OK, in the order of the answers."""
        self.owed: dict[str, None] = {}
        """Acknowledged, and no consumer accepted it: every member must have it."""
        self.refusals: set[str] = set()
        self.doubts: set[str] = set()
        self.consumed: set[str] = set()
        self.confirmed: set[str] = set()
        """Settled, and the consumer was told so by a primary whose members had all dequeued it."""
        self.dead: dict[str, Generation] = {}
        """Handed over as rewound, and in which generation."""
        self._first: dict[QueueId, dict[str, bool]] = {}
        """Values in the order of their first delivery, and whether that was by the current primary: what a
        stale one delivers at the same time has no order with the rest."""
        self._names: dict[tuple[QueueId, Generation, MessageId], str] = {}
        self._fates = Fates()
        self._moved: set[str] = set()
        self._facts: dict[tuple[Generation, Position], Facts] = {}
        self._known = Known()
        self._primaries: dict[Generation, tuple[NodeId, int]] = {}
        self._disk_generation: dict[tuple[NodeId, object], Generation] = {}
        self._record: Record | None = None
        self._epochs: dict[NodeId, UUID] = {}
        """Of its members."""
        self.rolled_back: set[str] = set()
        self._steps = 0

    def fail(self, rule: str, text: str) -> None:
        raise Violation(f"{rule}: {text}")

    # --- what clients do and are told ----------------------------------------------------------------

    def attempted(self, values: Sequence[str]) -> None:
        for value in values:
            self._ordinals[value] = len(self._ordinals)

    def refused(self, values: Sequence[str]) -> None:
        self.refusals.update(values)
        self._world.tell("refused", *values)

    def published(self, node: SimNode, queue: QueueId, ids: Sequence[int], values: Sequence[str]) -> None:
        for id, value in zip(ids, values, strict=True):
            identity = (queue, node.replica.generation, id)
            if identity in self._names:
                self.fail("I1", f"{identity} was {self._names[identity]} and is now {value}")
            self._names[identity] = value
            if value not in self._moved:
                self._fates.published(value, identity)

    def moved(self, node: SimNode, queue: QueueId, ids: Sequence[int], values: Sequence[str]) -> None:
        self._moved.update(values)
        self.published(node, queue, ids, values)

    def answered_ok(self, node: SimNode, values: Sequence[str]) -> None:
        self._world.tell("answers ok", *values, by=node)
        for value in values:
            self.acked[value] = None
            if value in self.consumed:
                continue
            self.owed[value] = None
            if value in self.dead:
                self.fail("R-b", f"{value} was handed over as rewound and is acknowledged now")
        self.safe("F3")

    def in_doubt(self, node: SimNode, values: Sequence[str], settles: Sequence[str]) -> None:
        self.doubts.update(values)
        if values:
            self._world.tell("in doubt", *values, by=node)
        if settles:
            self._world.tell("settle in doubt", *settles, by=node)

    def delivered(self, node: SimNode, queue: QueueId, id: MessageId, value: str) -> None:
        generation = node.replica.generation
        if value not in self._ordinals or value in self.refusals:
            self.fail("S2", f"{value} was delivered")
        record = self._record
        current = record is not None and generation >= record.generation
        if value in self.confirmed and current:
            self.fail("S3", f"{value} is delivered again although its settle was confirmed")
        if value in self.dead and generation >= self.dead[value]:
            self.fail("R-b", f"{value} is delivered although it was handed over as rewound")
        self._first.setdefault(queue, {}).setdefault(value, current)

    def accepted(self, values: Sequence[str]) -> None:
        for value in values:
            self.consumed.add(value)
            self.owed.pop(value, None)

    def settled(self, node: SimNode, values: Sequence[str]) -> None:
        """A consumer was told that its accept is done."""
        self._world.tell("confirms settle", *values, by=node)
        if any(q.spec.settle is Settle.IMMEDIATE for q in node.replica.queues.values()):
            return  # Documented: an accept that was confirmed at once may be undone by a failover (O6).
        self.confirmed.update(values)
        for member in self.members:
            left = [v for v in values if v in member.disk.content.values]
            if left:
                self.fail("S3", f"settle of {left} is confirmed, but {member.name}, a member, holds it")

    # --- roles and the record ------------------------------------------------------------------------

    def role_changed(self, node: SimNode, change: RoleChanged) -> None:
        if change.role.is_primary:
            mine = (node.host, node.boots)
            if self._primaries.setdefault(change.generation, mine) != mine:
                self.fail("F1", f"generation {change.generation} has two primaries")

    def record_changed(self, record: Record) -> None:
        old, self._record = self._record, record
        self._epochs = {m.node: m.epoch for m in record.members}
        if old is not None and record.generation != old.generation:
            if record.generation != old.generation + 1:
                self.fail("F1", f"generation {old.generation} is followed by {record.generation}")
            names = {m.node for m in old.members}
            if record.primary is None or record.primary[0] not in names or not record.members <= old.members:
                self.fail("F1", f"{record.primary} with {record.members} follows {old.members}")
        if record.primary is not None:
            name, boot = record.primary
            if any(
                n.host in self.rolled_back and n.replica.boot == boot for n in self._world.processes(name)
            ):
                raise OutsideTheModel("an older copy of a member's store was promoted")
        self.safe("S1")

    @property
    def listed(self) -> list[SimNode]:
        """Members whose disk is the one the record speaks of, and whole."""
        epochs, nodes = self._epochs, self._world.nodes.values()
        return [n for n in nodes if epochs.get(n.name) == n.epoch and not n.disk.damage]

    @property
    def members(self) -> list[SimNode]:
        """Those of them that have all they should: not the ones with an older copy of their disk."""
        return [n for n in self.listed if n.host not in self.rolled_back]

    def restored(self, node: SimNode) -> None:
        """The disk is an older copy of itself: it will hand over again, and its generation may be lower.

        If it is promoted before it follows a primary again, nobody can know (``docs/protocol.md``, "Fault model").
        """
        self.rolled_back.add(node.host)
        self._disk_generation.pop((node.name, node.epoch), None)
        self.forget(node)

    def forget(self, node: SimNode) -> None:
        """What this node handed over, another disk in its place may hand over too."""
        self._fates.forget(node)

    def safe(self, rule: str) -> None:
        """Every value owed is on every member's disk (S1)."""
        for member in self.members:
            missing = self.owed.keys() - member.disk.content.values.keys()
            if missing:
                self.fail(rule, f"{sorted(missing)} acknowledged, but not on member {member.name}")

    # --- disks ---------------------------------------------------------------------------------------

    def committed(self, node: SimNode, changes: Sequence[Change]) -> None:
        content = node.disk.content
        followed = any(isinstance(c, PutStatus) and not c.primary for c in changes)
        newest = self._record is not None and content.status.generation == self._record.generation
        if node.host in self.rolled_back and followed and newest:
            self.rolled_back.discard(node.host)
            self._world.sometimes("older copy corrected by difference")
        key = (node.name, node.epoch)
        if content.status.generation < self._disk_generation.get(key, 0):
            self.fail("F2", f"the generation of {node.name} fell to {content.status.generation}")
        self._disk_generation[key] = content.status.generation
        twice = [value for value, count in content.values.items() if count > 1]
        if twice:
            self.fail("X2", f"{node.name} holds {twice} twice")
        for change in changes:
            if isinstance(change, Release):
                self._fates.released(node, change)
            elif isinstance(change, PutQueue):
                self.ordered(node)
        if node in self.members:
            self.safe("S1")

    def ordered(self, node: SimNode) -> None:
        for queue in node.disk.content.queues.values():
            held = [queue.held[id] for id in sorted(queue.held)]
            order = [self._ordinals[m.value] for m in held if m.origin is None]
            if order != sorted(order):
                self.fail("S4", f"{node.name} holds {[m.value for m in held]} in this order")

    # --- positions -----------------------------------------------------------------------------------

    def operated(self, node: SimNode) -> None:
        """The primary made one operation: remember what its queues are at this position."""
        primary = node.replica.primary
        if primary is not None:
            self._facts[primary.generation, primary.position] = self._known.facts(node)

    def stepped(self, node: SimNode) -> None:
        """The node did something."""
        if not node.up:
            return
        primary = node.replica.primary
        if primary is not None and (primary.generation, primary.position) not in self._facts:
            self.operated(node)
        self._steps += 1
        if self._steps % 16 == 0:
            node.replica.check()
            if node.driver.idle and node.driver.failed is None and node.replica.still:
                self.same(node)

    def same(self, node: SimNode) -> None:
        """Memory and disk agree; only while nothing is under way (D8)."""
        memory, disk = facts_of(node.replica), node.disk.content.facts()
        if memory != disk:
            self.fail("D8", f"{node.name} has {memory} in memory and {disk} on its disk")

    def sent(self, node: SimNode, frame: Frame) -> None:
        if isinstance(frame.event, Refused) and frame.event.code not in POLITE:
            self.fail("peer", f"{node.name} says that an honest peer broke the rules: {frame.event.reason}")
        if not isinstance(frame.event, Acknowledged):
            return
        content = node.disk.content
        if content.status.generation != frame.generation or content.status.primary:
            return  # It was promoted, or followed another, in the same transaction: it knows at least this.
        if not self._holds(content, frame.generation, frame.event.position):
            at = frame.event.position
            self.fail("R-a", f"{node.name} acknowledges {at}@{frame.generation}, but its disk differs")

    def _holds(self, content: Content, generation: Generation, position: Position) -> bool:
        """The disk is what the primary was at this position or, if the commit covered more, at a later one."""
        found = content.facts()
        while (expected := self._facts.get((generation, position))) is not None:
            if expected == found:
                return True
            position += 1
        return False

    # --- discarded messages --------------------------------------------------------------------------

    def handed_over(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        for d in discarded:
            value = d.data.rstrip(b".").decode()
            self._world.tell(f"hands over ({d.fate.value})", value, by=node)
            if self._names.get((d.queue, d.generation, d.id)) != value:
                self.fail("I1", f"{value} is handed over as {d.id}@{d.generation}, which it never was")
            if not self._fates.offered(node, d):
                self.fail("R-g", f"{node.name} hands over {value} again")
            if wrong := self._fates.wrong(node, d, value, self.consumed):
                self.fail("R-g", wrong)
            if d.fate is not Fate.REWOUND:
                continue
            if value in self.owed or value in self.confirmed:
                self.fail("R-b", f"{value} was acknowledged and is handed over as rewound")
            holders = [m.name for m in self.members if value in m.disk.content.values]
            if holders:
                self.fail("R-g", f"{node.name} hands over {value}, which {holders} may bring back")
            self.dead.setdefault(value, node.replica.generation)

    def not_taken(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        """The embedder failed: the same may be offered again."""
        self._fates.withdrawn(node, discarded)

    # --- the end -------------------------------------------------------------------------------------

    def converged(self, nodes: Sequence[SimNode]) -> None:
        """After a time without faults: all equal, nothing lost, nothing left in quarantine."""
        self.safe("S1")
        for node in nodes:
            self.same(node)
            self.ordered(node)
            if node.disk.content.shelf:
                self.fail("R-g", f"{node.name} keeps {len(node.disk.content.shelf)} messages in quarantine")
            if node.disk.content.facts() != nodes[0].disk.content.facts():
                self.fail("R-a", f"{node.name} and {nodes[0].name} differ")
        for first in self._first.values():
            told = [v for v, current in first.items() if current and v in self.acked and v not in self._moved]
            order = [self._ordinals[v] for v in told]
            if order != sorted(order):
                self.fail("S4", f"first delivered in this order: {list(first)}")

    def drained(self, nodes: Sequence[SimNode]) -> None:
        """Everything was consumed: S1 at its end, S5."""
        lost = self.acked.keys() - self.consumed
        if lost:
            self.fail("S1", f"{sorted(lost)} acknowledged, and never delivered")
        for node in nodes:
            if node.disk.content.values:
                self.fail("S5", f"{node.name} still holds {sorted(node.disk.content.values)}")
