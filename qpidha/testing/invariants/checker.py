"""The invariants of ``docs/invariants.md``, checked from outside: on disks, on the wire and at clients.

It does not ask the core what it believes. It knows what was published, what clients were told, the disks, and the record:

  S1  an acknowledged value that no consumer accepted is on the disk of every member, at every instant
  S2  nothing that was refused, or never published, is ever delivered
  S3  what was confirmed as settled is on no member's disk, and the current primary never delivers it again
  S8  an OK is given only while the record has ``min_in_sync`` members, by the primary that it names
  S4  values stand in publish order on every disk, and are first delivered in that order
  F1  one primary in each generation; each promotion raises the generation by one, for a member
  F2  no disk's generation ever falls
  F3  an OK is given only when S1 holds for it with the record of that moment
  I1  (queue, generation, id) names one message, for ever; ids are not given out twice (I2)
  R-a what a backup acknowledges, it holds: its disk equals the primary's queues at that position
  R-b what is handed over as rewound was not acknowledged, and is never delivered by a later primary
  R-g a discarded message is handed over once by each node that had it, when no member has it, with its true fate
  X2  no disk holds a value twice, in one queue or in two
  TX1, TX6, Q1, Q2, Q4  each disk has a commit whole or not at all; what clients know of objects and queues is so
  U1, U4, EO5  updates keep places, replacements the publish's identity (`identities`); sequences (`sequences`)
  peer, D8  no node finds that another one broke the protocol; at rest a replica's memory equals its disk
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from qpidha.core.ready import RoleChanged
from qpidha.journal import Change, Insert, PutQueue, PutStatus, Release
from qpidha.testing.invariants.commits import Commits
from qpidha.testing.invariants.fates import Fates
from qpidha.testing.invariants.generations import Generations, check_enough, check_record
from qpidha.testing.invariants.identities import Identities
from qpidha.testing.invariants.ledger import Ledger
from qpidha.testing.invariants.levels import LocalMessages
from qpidha.testing.invariants.memory import Memory, same
from qpidha.testing.invariants.order import PublishOrder
from qpidha.testing.invariants.peers import check_frame
from qpidha.testing.invariants.positions import Positions
from qpidha.testing.invariants.sequences import Sequences
from qpidha.testing.invariants.violation import OutsideTheModel, Violation
from qpidha.testing.invariants.world import CheckedWorld
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.touched import Touched
from qpidha.types import Discarded, Fate, MessageId, NodeId, QueueId, Record, Settle
from qpidha.wire.events import Acknowledged, Frame


class Checker(Ledger):
    """Checks a run of a `World` while it happens.

    A world calls a method for each thing that happens; tests read the sets of the `Ledger` and call `safe`, `same`
    and `ordered`. Every method raises `Violation` if an invariant does not hold.
    """

    def __init__(self, world: CheckedWorld) -> None:
        super().__init__()
        self._world = world
        self._order = PublishOrder()
        self._generations = Generations()
        self._positions = Positions()
        self.identities = Identities()
        self.sequences = Sequences()
        self._fates = Fates(self.identities.published, self.sequences)
        self.commits = Commits(self.acked, self.copies)
        self._moved: set[str] = set()
        self._record: Record | None = None
        self._epochs: dict[NodeId, UUID] = {}
        """The store of each member."""
        self.rolled_back: set[str] = set()
        """Hosts whose disk is an older copy of itself, and has not followed a primary since."""
        self.local = LocalMessages(self.rolled_back)
        self._memory = Memory()

    def fail(self, rule: str, text: str) -> None:
        """Raise `Violation` for this rule."""
        raise Violation(f"{rule}: {text}")

    def attempted(self, values: Sequence[str]) -> None:
        """A client is about to publish these values, in this order."""
        self._order.attempted(values)

    def refused(self, values: Sequence[str]) -> None:
        """The publish of these values was refused."""
        self.refusals.update(values)
        self._world.tell("refused", *values)

    def published(self, node: SimNode, queue: QueueId, ids: Sequence[int], values: Sequence[str]) -> None:
        """The primary gave these ids to these values, one each. Raises `Violation` (I1): one had another value."""
        for id, value in zip(ids, values, strict=True):
            self.identities.given((queue, node.replica.generation, id), value, replaces=False)

    def moved(self, node: SimNode, queue: QueueId, ids: Sequence[int], values: Sequence[str]) -> None:
        """Like `published`, for messages that were moved to this queue. They keep their values."""
        self._moved.update(values)
        for id, value in zip(ids, values, strict=True):
            self.identities.given((queue, node.replica.generation, id), value, replaces=True)

    def moved_out(self, values: Sequence[str]) -> None:
        """Messages leave what is replicated. If a failover undoes that, they are delivered after later ones."""
        self._moved.update(values)

    def answered_ok(self, node: SimNode, values: Sequence[str]) -> None:
        """A publisher was told that these values are safe. Compares with every member's disk.

        Raises:
            Violation: F3: a member does not have all that is owed. S8: the record has too few members. R-b: one is dead.
        """
        self._world.tell("answers ok", *values, by=node)
        for value in values:
            self.acked[value] = None
            if value in self.consumed:
                continue
            self.owed[value] = None
            if value in self.dead:
                self.fail("R-b", f"{value} was handed over as rewound and is acknowledged now")
        self.safe("F3")
        self.commits.check_members(self.members)
        if not self.consumed.issuperset(values):
            check_enough(node, self._record)

    def in_doubt(self, node: SimNode, values: Sequence[str], settles: Sequence[str]) -> None:
        """Publishes of ``values`` and accepts of ``settles`` ended in doubt."""
        self.doubts.update(values)
        if values:
            self._world.tell("in doubt", *values, by=node)
        if settles:
            self._world.tell("settle in doubt", *settles, by=node)

    def delivered(self, node: SimNode, queue: QueueId, id: MessageId, value: str) -> None:
        """A consumer got this value, for the first time or again.

        Raises:
            Violation: S2: it was refused or never published. S3: its accept was confirmed. R-b: it was handed over as
                rewound.
        """
        generation = node.replica.generation
        if value not in self._order or value in self.refusals:
            self.fail("S2", f"{value} was delivered")
        record = self._record
        current = record is not None and generation >= record.generation
        if value in self.confirmed and current:
            self.fail("S3", f"{value} is delivered again although its settle was confirmed")
        if value in self.dead and generation >= self.dead[value]:
            self.fail("R-b", f"{value} is delivered although it was handed over as rewound")
        self._order.delivered(queue, value, current=current)

    def accepted(self, values: Sequence[str], *, committed: bool = False) -> None:
        """Consumers accepted these values. ``committed``: in a commit, which marks the disks that have it."""
        if not committed:
            self.commits.elsewhere.update(values)
        for value in values:
            self.consumed.add(value)
            self.owed.pop(value, None)

    def settled(self, node: SimNode, values: Sequence[str], *, committed: bool = False) -> None:
        """A consumer was told that its accept of these values is done. ``committed``: by a commit or a deletion (TX6).

        Raises:
            Violation: S3: a member's disk still has one.
        """
        self._world.tell("confirms settle", *values, by=node)
        if not committed and any(q.spec.settle is Settle.IMMEDIATE for q in node.replica.queues.values()):
            return  # Documented: an accept that was confirmed at once may be undone by a failover (O6).
        gone = [v for v in values if v not in self.copies]  # Each copy is accepted for itself (U6).
        self.confirmed.update(gone)
        for member in self.members:
            left = [v for v in gone if v in member.disk.content.values]
            if left:
                self.fail("S3", f"settle of {left} is confirmed, but {member.name}, a member, holds it")

    # --- roles and the record ------------------------------------------------------------------------

    def role_changed(self, node: SimNode, change: RoleChanged) -> None:
        """A node took another role. Raises `Violation` (F1) for a second primary of a generation."""
        if change.role.is_primary:
            self._generations.check_primary(node, change.generation)

    def record_changed(self, record: Record) -> None:
        """The cluster manager stored another record.

        Raises:
            Violation: F1: it does not follow from the last. S1: a new member does not have all that is owed.
            OutsideTheModel: It promotes a node whose disk is an older copy, which no protocol survives.
        """
        old, self._record, self._epochs = self._record, record, {m.node: m.epoch for m in record.members}
        check_record(old, record)
        if record.primary is not None:
            name, boot = record.primary
            if any(
                n.host in self.rolled_back and n.replica.boot == boot for n in self._world.processes(name)
            ):
                raise OutsideTheModel("an older copy of a member's store was promoted")
        self.safe("S1")

    @property
    def listed(self) -> list[SimNode]:
        """Members whose disk is undamaged and the one that the record names."""
        nodes = self._world.nodes.values()
        return [n for n in nodes if self._epochs.get(n.name) == n.epoch and not n.disk.damage]

    @property
    def members(self) -> list[SimNode]:
        """Members that must have all that is owed: those `listed`, without older copies of disks."""
        return [n for n in self.listed if n.host not in self.rolled_back]

    def restored(self, node: SimNode) -> None:
        """The disk became an older copy of itself: it hands over again, and its generation may be lower.

        If it is promoted before it follows a primary again, no node can know (``docs/protocol.md``, "Fault model").
        """
        self.rolled_back.add(node.host)
        self._generations.restored(node)
        self.forget(node)

    def forget(self, node: SimNode) -> None:
        """The node has another disk: what it handed over may be handed over again."""
        self._fates.forget(node)

    def safe(self, rule: str) -> None:
        """Check that all that is owed is on every member's disk. Costs O(owed) for each member.

        Raises:
            Violation: It is not; with the name ``rule`` (S1 or F3).
        """
        for member in self.members:
            missing = self.owed.keys() - member.disk.content.values.keys()
            if missing:
                self.fail(rule, f"{sorted(missing)} acknowledged, but not on member {member.name}")

    def committed(self, node: SimNode, changes: Sequence[Change]) -> None:
        """The node's disk has these changes now. Raises `Violation` (F2, X2, S1, S4, TX1, Q1, Q2)."""
        content = node.disk.content
        self.local.check_disk(node)
        self._fates.stored(node)
        followed = any(isinstance(c, PutStatus) and not c.primary for c in changes)
        newest = self._record is not None and content.status.generation == self._record.generation
        if node.host in self.rolled_back and followed and newest:
            self.rolled_back.discard(node.host)
            self._world.sometimes("older copy corrected by difference")
        self._generations.check_disk(node)
        touched = content.values if content.touched.whole else content.touched.values
        if twice := [v for v in touched if content.values[v] > self.copies.get(v, 1)]:
            self.fail("X2", f"{node.name} holds {twice} twice")
        self.commits.check_disk(node, self.consumed, changes)
        content.touched = Touched()
        self._memory.committed(node, changes)
        for change in changes:
            if isinstance(change, Insert):
                self.identities.check_inserted(content, change)
            elif isinstance(change, Release):
                self._fates.released(node, change)
            elif isinstance(change, PutQueue):
                self.ordered(node)
        if node in self.members:
            self.safe("S1")
            self.commits.check_member(node)
            self.sequences.check_member(node)

    def ordered(self, node: SimNode) -> None:
        """Check the order of messages on a disk. Raises `Violation` (S4)."""
        self._order.check_disk(node)

    def operated(self, node: SimNode) -> None:
        """The primary made one operation: remember what its queues are at this position."""
        self._positions.operated(node)

    def stepped(self, node: SimNode) -> None:
        """The node took a step: its memory may be due. Raises what `Memory.stepped` does."""
        if node.up:
            self._positions.stepped(node)
            self._memory.stepped(node)

    def sent(self, node: SimNode, frame: Frame) -> None:
        """The node sent a frame.

        Raises:
            Violation: R-a: an acknowledgement is not true. peer: it refuses an honest peer.
        """
        check_frame(node.name, frame)
        if isinstance(frame.event, Acknowledged):
            self._positions.check_acknowledged(node, frame.generation, frame.event)

    # --- discarded messages --------------------------------------------------------------------------

    def handed_over(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        """The node hands discarded messages over to its broker. Raises `Violation` (I1, R-b, R-g)."""
        for d in discarded:
            value = d.data.rstrip(b".").decode()
            self._world.tell(f"hands over ({d.fate.value})", value, by=node)
            if self.identities.names.get((d.queue, d.generation, d.id)) != value:
                self.fail("I1", f"{value} is handed over as {d.id}@{d.generation}, which it never was")
            if not self._fates.offered(node, d):
                self.fail("R-g", f"{node.name} hands over {value} again")
            if wrong := self._fates.wrong(node, d, value, self.consumed):
                self.fail("R-g", wrong)
            if d.fate is not Fate.REWOUND or value in self.sequences.sent:
                continue  # Its producer may have repeated it at another primary since.
            if value in self.owed or value in self.confirmed:
                self.fail("R-b", f"{value} was acknowledged and is handed over as rewound")
            holders = [m.name for m in self.members if value in m.disk.content.values]
            if holders:
                self.fail("R-g", f"{node.name} hands over {value}, which {holders} may bring back")
            self.dead.setdefault(value, node.replica.generation)

    def not_taken(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        """The broker did not take these messages: they may be handed over again."""
        self._fates.withdrawn(node, discarded)

    # --- the end -------------------------------------------------------------------------------------

    def converged(self, nodes: Sequence[SimNode]) -> None:
        """Check that all nodes are equal and complete, after a time without faults.

        Raises:
            Violation: S1, S4, D8, R-a, or R-g if a message is still in quarantine.
        """
        self.safe("S1")
        for node in nodes:
            node.replica.check()
            same(node)
            self.ordered(node)
            if node.disk.content.shelf:
                self.fail("R-g", f"{node.name} keeps {len(node.disk.content.shelf)} messages in quarantine")
            if node.disk.content.facts() != nodes[0].disk.content.facts():
                self.fail("R-a", f"{node.name} and {nodes[0].name} differ")
        self._order.check_deliveries(self.acked, self._moved | self.sequences.sent.keys())

    def drained(self, nodes: Sequence[SimNode]) -> None:
        """Check the end of a run in which consumers accepted everything.

        Raises:
            Violation: S1: an acknowledged message was never delivered. S5: a node still holds one.
        """
        lost = self.acked.keys() - self.consumed
        if lost:
            self.fail("S1", f"{sorted(lost)} acknowledged, and never delivered")
        for node in nodes:
            if node.disk.content.values:
                self.fail("S5", f"{node.name} still holds {sorted(node.disk.content.values)}")
