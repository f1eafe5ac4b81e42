"""What producers sent with sequences: one effect in each history, and copies that know their sequence (EO1–EO8)."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.births import born
from qpidha.core.producers import PUBLISHED, ProducerEntry, producer_key
from qpidha.core.resync import had
from qpidha.testing.invariants.configuration import objects_of, was_declared
from qpidha.testing.invariants.identities import Identity
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Content
from qpidha.testing.sim.disk import SimDisk
from qpidha.testing.sim.node import SimNode
from qpidha.types import Discarded, Fate, ProducerSequence, QueueId


class Sequences:
    """Remembers what was sent with which sequence, and where it was stored."""

    def __init__(self) -> None:
        self.sent: dict[str, ProducerSequence] = {}
        """By value. A repetition has the same."""
        self._stored: dict[str, list[Identity]] = {}
        """The identities that each value was given: one in each history that stored it."""
        self._given_up: set[str] = set()
        """Values whose sequence was given up instead, as their producer was told."""

    def stored(
        self, node: SimNode, queue: QueueId, ids: Sequence[int], values: Sequence[str]
    ) -> set[Identity]:
        """A primary stores these values now. Returns what their copies say they were published as.

        Raises:
            Violation: EO5: its history has one already.
        """
        names = set[Identity]()
        for id, value in zip(ids, values, strict=True):
            before = self._stored.setdefault(value, [])
            for of, generation, old in before:
                known = node.replica.queues.get(of)
                if known is not None and had(known.lineage, known.next, generation, old):
                    raise Violation(
                        f"EO5: {value} is stored again in a history that has it as {old}@{generation}"
                    )
            before.append((queue, node.replica.generation, id))
            sequence = self.sent[value]
            uuid = born(*sequence.epoch)
            names |= {(uuid, PUBLISHED, sequence.number), (uuid, sequence.epoch[0], sequence.number)}
        return names

    def in_several(self, value: str) -> bool:
        """Several histories have stored it: its producer has repeated it at another primary."""
        return len(self._stored.get(value, ())) > 1

    def given_up(self, value: str, members: Sequence[SimNode]) -> None:
        """A producer was told that the sequence of this value was used for nothing (EO8)."""
        self._given_up.add(value)
        for member in members:
            self.check_member(member)

    def check_member(self, member: SimNode) -> None:
        """Raises `Violation` (EO8): a member has a value that was given up."""
        if back := self._given_up & member.disk.content.values.keys():
            raise Violation(f"EO8: member {member.name} has {back}, given up and answered")

    def wrong(self, disk: SimDisk, told: Discarded, value: str) -> str:
        """What is not true of a discarded message with a sequence; empty if all is. ``disk``: of who hands it over.

        A fate is judged when the history is established, and told when that is durable. One transaction may have that and
        a repetition which uses the sequence: then the fate may be what the entry before that transaction says.
        """
        content, sent = disk.content, self.sent[value]
        now = self._known(content, sent.producer)
        right = [_fate(content, sent, now)]
        if (before := disk.displaced.get(producer_key(sent.producer))) is not None:
            right.append(_fate(content, sent, ProducerEntry.decode(before)))
        if (told.fate, told.sequence) in right:
            return ""
        expected = " or ".join(f"{fate} with {sequence}" for fate, sequence in right)
        return f"{value} is handed over as {told.fate} with {told.sequence}, not as {expected}"

    def _known(self, content: Content, producer: str) -> ProducerEntry | None:
        objects, key = objects_of(content), producer_key(producer)
        held = () if objects is None else objects.held.values()
        return next((ProducerEntry.decode(m.data) for m in held if m.props == key), None)


def _fate(
    content: Content, sent: ProducerSequence, entry: ProducerEntry | None
) -> tuple[Fate, ProducerSequence | None]:
    """What is to be told of a discarded message with this sequence, if its producer has this entry (EO7)."""
    if entry is None or entry.epoch != sent.epoch:
        return (Fate.UNKNOWN if was_declared(content, born(*sent.epoch)) else Fate.REWOUND), None
    return (Fate.SEQUENCE_USED if sent.number <= entry.last else Fate.REWOUND), sent
