"""The check of what is told of a discarded message with a sequence (EO7)."""

from __future__ import annotations

from uuid import UUID

from qpidha.core.births import born, configuration_id
from qpidha.core.configuration import SPEC
from qpidha.core.producers import ProducerEntry, producer_key
from qpidha.journal import Change, Insert, PutQueue, Remove
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.sequences import Sequences
from qpidha.testing.sim.disk import SimDisk
from qpidha.types import Discarded, Fate, ProducerSequence
from qpidha.wire.batch import Batch

OBJECTS, EPOCH = configuration_id(UUID(int=1)), (1, 1)
SENT = ProducerSequence("ada", EPOCH, 5)


def entry(id: int, last: int, name: str = "ada") -> Insert:
    packed = Batch.pack([ProducerEntry(EPOCH, last).encode()], [producer_key(name)])
    return Insert(OBJECTS, SequenceSet([id]), packed)


def wrong(fate: Fate, *transactions: list[Change]) -> str:
    """What the check says of this fate after these transactions."""
    disk, sequences = SimDisk("a", lambda: UUID(int=2)), Sequences()
    sequences.sent["v"] = SENT
    for changes in ([PutQueue(OBJECTS, SPEC, ((1, 1),), 1)], *transactions):
        disk.begin(changes, lambda error: None)
        disk.finish()
    told = Discarded(
        queue=born(1, 9), queue_name="q", generation=1, id=7, fate=fate, data=b"v", sequence=SENT
    )
    return sequences.wrong(disk, told, "v")


def test_the_fate_is_what_the_entry_of_the_producer_says() -> None:
    assert not wrong(Fate.REWOUND, [entry(1, 4)])
    assert not wrong(Fate.SEQUENCE_USED, [entry(1, 5)], [])
    assert "not as" in wrong(Fate.SEQUENCE_USED, [entry(1, 4)])
    assert "not as" in wrong(Fate.REWOUND, [entry(1, 5)], [])


def test_a_fate_may_be_older_than_the_repetition_in_the_transaction_that_it_waited_for() -> None:
    """It was judged before: the repetition and the message that the history is established came together."""
    used = [entry(2, 5), Remove(OBJECTS, SequenceSet([1]))]
    assert not wrong(Fate.REWOUND, [entry(1, 4)], used)
    assert "not as" in wrong(Fate.REWOUND, [entry(1, 4)], used, [entry(3, 9, "bob")])
    later = [entry(2, 6), Remove(OBJECTS, SequenceSet([1]))]
    assert "not as" in wrong(Fate.REWOUND, [entry(1, 5)], later), "it was used before that transaction"
