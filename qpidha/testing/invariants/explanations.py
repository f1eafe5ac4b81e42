"""What nodes say of single messages (`qpidha.core.explain`) is true, by the ledger of the run and the disks.

Every few steps one node is asked for one message, by the identity that it was given once. What the answer must not be
follows from what clients did and were told:

    safe                      every member has it on disk
    held, pending, safe       the message at this place is this one
    moved, replaced           the message at that place is this one
    accepting                 a consumer accepted it
    gone                      a consumer accepted it, or it was moved or updated
    not given out, rewound, forgotten, deleted, no queue    not said by the current primary of what it owes to clients
    in quarantine as rewound  never acknowledged, once that is certain
"""

from __future__ import annotations

from qpidha.core.explain import conclude, explain
from qpidha.core.explanation import Explanation, Verdict
from qpidha.core.producers import is_tag
from qpidha.core.replica import Replica
from qpidha.core.unconfirmed import unconfirmed
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.checker import Checker
from qpidha.testing.invariants.identities import Identity
from qpidha.testing.sim.node import SimNode
from qpidha.types import Fate, MessageId, QueueId

EVERY = 16
"""Steps of a node between two questions."""
STRIDE = 7
"""Messages between two that are asked for, the newest first."""
HERE = frozenset({Verdict.HELD, Verdict.PENDING, Verdict.SAFE})
NOWHERE = frozenset(
    {
        Verdict.NOT_GIVEN,
        Verdict.REWOUND,
        Verdict.FORGOTTEN,
        Verdict.DELETED,
        Verdict.NO_QUEUE,
    }
)


class ExplainingChecker(Checker):
    """A `Checker` that also asks nodes what became of messages."""

    _questions = 0
    _known: tuple[Identity, ...] = ()

    def stepped(self, node: SimNode) -> None:
        """See `Checker.stepped`. Raises `Violation` (why) if a node says what is not so."""
        super().stepped(node)
        if not node.up:
            return
        self._questions += 1
        names = self.identities.names
        if self._questions % EVERY or not names:
            return
        if len(self._known) != len(names):
            self._known = tuple(names)
        turn = self._questions // EVERY * STRIDE
        self.ask(node, self._known[-1 - turn % len(self._known)])

    def ask(self, node: SimNode, identity: Identity) -> None:
        """Ask a node for one message, and for its publishes. Raises `Violation` (why)."""
        queue, generation, id = identity
        value = self.identities.names[identity]
        found = conclude(explain(node.replica, queue, id, generation))
        self._world.sometimes(f"why: {found.verdict.value}")
        if wrong := self._wrong(node, found, identity, value):
            said = "; ".join(found.lines)
            self.fail("why", f"{node.name} says of {value} ({id}@{generation}): {said}. But {wrong}")
        conclude(explain(node.replica, queue, id))
        waiting = unconfirmed(node.replica)
        if any(held.position <= waiting.safe for held in waiting.publishes):
            self.fail("why", f"{node.name} says that a safe publish is not: {'; '.join(waiting.lines)}")

    def _wrong(self, node: SimNode, found: Explanation, identity: Identity, value: str) -> str:
        """What is not so; empty if all is."""
        verdict, replica = found.verdict, node.replica
        current = self._is_current(node)
        if verdict in HERE and _value_at(replica, identity[0], found.id) != value:
            return "this place has another message"
        if verdict is Verdict.SAFE and current:
            lacking = [m.name for m in self.members if value not in m.disk.content.values]
            return f"members {lacking} do not have it" if lacking else ""
        if found.place is not None and _value_at(replica, found.place.queue, found.place.id) != value:
            return "that place has another message"
        if verdict is Verdict.ACCEPTING and value not in self.consumed:
            return "no consumer accepted it"
        if self.sequences.in_several(value):
            return ""  # What clients were told is of the value, and may be true of its other message.
        if verdict is Verdict.GONE and value not in self.consumed and len(self.identities.of[value]) == 1:
            return "no consumer accepted it, and it was neither moved nor updated"
        if verdict is Verdict.QUARANTINED:
            dead = any(kept.decided and kept.fate is Fate.REWOUND for kept in found.kept)
            return "it was acknowledged" if dead and value in self.owed and len(found.kept) == 1 else ""
        if not current or value not in self.owed or identity not in self.identities.published.get(value, ()):
            return ""
        if (verdict is Verdict.GONE or verdict in NOWHERE) and not _has_sequence(node, value):
            return "its publish was acknowledged, and no consumer accepted it"
        return ""

    def _is_current(self, node: SimNode) -> bool:
        """Whether this node is the primary that the record names."""
        record, primary = self._record, node.replica.primary
        if record is None or primary is None or record.primary is None:
            return False
        return record.primary[1] == node.replica.boot and record.generation == primary.generation


def _value_at(replica: Replica, queue: QueueId, id: MessageId) -> str | None:
    """The value of the message that a replica holds at this place; None: it holds none."""
    found = replica.queue(queue)
    if found is None or id not in found.held:
        return None
    _, batch = next(found.select(SequenceSet([id])))
    return batch.data(0).rstrip(b".").decode()


def _has_sequence(node: SimNode, value: str) -> bool:
    """Whether this node's disk has the message with its producer's sequence in place of an origin (EO7)."""
    return any(
        is_tag(message.origin)
        for queue in node.disk.content.queues.values()
        for message in queue.held.values()
        if message.value == value
    )
