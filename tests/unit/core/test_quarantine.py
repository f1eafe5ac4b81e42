"""Quarantine: what leaves it, when, and that nothing is handed over that may be alive (W1, W2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.histories import Histories, Past
from qpidha.core.lineage import Lineage
from qpidha.core.producers import ProducerEntry, tagged
from qpidha.core.quarantine import Quarantined
from qpidha.journal import Audit, Quarantine, Release
from qpidha.types import Fate, Origin, ProducerSequence
from tests.support.cores import OTHER, QUEUE


def kept(ids: SequenceSet, queue: UUID = QUEUE, generation: int = 2, *, moved: bool = False) -> Quarantine:
    origins = [(OTHER.bytes, 1, id) for id in ids] if moved else None
    batch = Batch.pack([b"message %d" % id for id in ids], origins=origins)
    return Quarantine(queue, "orders", generation, ids, batch, Fate.REWOUND)


def past(of: Callable[[UUID], Past | None], configuration: Past | None = None) -> Histories:
    return Histories(of, configuration)


NOWHERE = past(lambda _: None)
"""A history without queues."""


def test_messages_of_the_new_history_leave_silently_and_the_rest_stays() -> None:
    """Ids 5 and 6 are of generation 2 there too; 7 and 8 were never given out by it."""
    quarantined = Quarantined([kept(SequenceSet([(5, 8)]))])
    lineage = ((1, 1), (2, 5), (3, 7))
    released = list(quarantined.release_alive(past(lambda _: (lineage, 9))))
    assert released == [Release(QUEUE, 2, SequenceSet([5, 6]))]
    assert [message.id for message in quarantined.due(NOWHERE)] == [7, 8]
    assert list(quarantined.release_alive(past(lambda _: (lineage, 9)))) == [None]
    assert list(quarantined.release_alive(past(lambda _: None))) == [None], "no history, no verdict"


def test_messages_of_a_queue_that_was_deleted_in_the_new_history_leave_silently() -> None:
    """Q5: it lived there, so they were delivered or deleted with it. One that was never declared there is handed over."""
    queue = born(2, 4)
    quarantined = Quarantined([kept(SequenceSet([5, 6]), queue)])
    without = past(lambda _: None, (((1, 1), (3, 4)), 9))
    assert list(quarantined.release_alive(without)) == [None]
    assert [message.id for message in quarantined.due(without)] == [5, 6]
    quarantined.withdraw()
    deleted = past(lambda _: None, (((1, 1), (2, 3)), 9))
    assert list(quarantined.release_alive(deleted)) == [Release(queue, 2, SequenceSet([5, 6]))]
    assert not quarantined


def test_messages_older_than_the_established_lineage_are_unknown() -> None:
    """The history followed at the flip may never have been established: the message may live as a moved copy."""
    quarantined = Quarantined([kept(SequenceSet([5, 6]))])
    assert [(m.id, m.fate) for m in quarantined.due(past(lambda _: (((3, 6),), 9)))] == [
        (5, Fate.UNKNOWN),
        (6, Fate.REWOUND),
    ]


def test_offered_messages_are_offered_again_only_after_they_were_refused() -> None:
    quarantined = Quarantined([kept(SequenceSet([5, 6]))])
    assert [message.id for message in quarantined.due(NOWHERE)] == [5, 6]
    assert list(quarantined.due(NOWHERE)) == []
    quarantined.withdraw()
    assert [message.id for message in quarantined.due(NOWHERE)] == [5, 6]


def test_taken_messages_are_removed_for_their_queue_and_generation_only() -> None:
    """The same ids may lie there for another queue, and for another generation."""
    of_all = [kept(SequenceSet([5, 6])), kept(SequenceSet([5]), OTHER), kept(SequenceSet([5]), generation=1)]
    quarantined = Quarantined(of_all)
    messages = tuple(
        message for message in quarantined.due(NOWHERE) if message.id == 5 and message.queue == QUEUE
    )
    taken = [message for message in messages if message.generation == 2]
    changes = list(quarantined.taken(tuple(taken), 3))
    assert changes == [
        Release(QUEUE, 2, SequenceSet([5])),
        Audit("handed over", 3, "orders", "1 messages"),
    ]
    assert len(quarantined) == 3


@pytest.mark.parametrize(
    ("history", "fate"),
    [
        ((((1, 1),), 6), Fate.UNDONE_MOVE),
        ((((1, 1), (2, 6)), 9), Fate.UNDONE_MOVE),
        ((((1, 1),), 5), Fate.REWOUND),
        ((((1, 1), (2, 5)), 6), Fate.REWOUND),
        (((), 1), Fate.REWOUND),
        ((((2, 6),), 9), Fate.UNKNOWN),
        (None, Fate.UNKNOWN),
    ],
    ids=["held or settled", "under a later primary", "never given out", "another message", "empty", "older", "gone"],
)  # fmt: skip
def test_the_fate_of_a_moved_copy_is_that_of_its_origin(
    history: tuple[Lineage, int] | None, fate: Fate
) -> None:
    """Only the move was undone if the established history has the published message; else it is rewound (W2)."""
    histories = {OTHER: history, QUEUE: (((2, 1),), 99)}
    (message,) = Quarantined([kept(SequenceSet([5]), moved=True)]).due(past(histories.get))
    assert message.fate is fate
    assert message.origin == message.published_as == Origin(queue=OTHER, generation=1, id=5)


def test_a_message_that_was_never_moved_was_published_as_itself() -> None:
    (message,) = Quarantined([kept(SequenceSet([5]))]).due(NOWHERE)
    assert (message.fate, message.origin) == (Fate.REWOUND, None)
    assert message.published_as == Origin(queue=QUEUE, generation=2, id=5)


@pytest.mark.parametrize(
    ("history", "fate"),
    [((((1, 1),), 6), Fate.UNDONE_MOVE), ((((1, 1),), 5), Fate.REWOUND), (None, Fate.UNKNOWN)],
)
def test_a_copy_older_than_the_lineage_is_judged_by_its_origin_too(
    history: tuple[Lineage, int] | None, fate: Fate
) -> None:
    """The lineage of the queue that the copy was in is trimmed (G1); the one of its origin may not be (W2)."""
    unknown = replace(kept(SequenceSet([5]), moved=True), fate=Fate.UNKNOWN)
    (message,) = Quarantined([unknown]).due(past({OTHER: history, QUEUE: (((2, 9),), 99)}.get))
    assert message.fate is fate


def test_a_fate_is_judged_again_when_it_is_offered_again() -> None:
    """It is judged by the history that is established at that time."""
    quarantined = Quarantined([kept(SequenceSet([5]), moved=True)])
    assert [m.fate for m in quarantined.due(NOWHERE)] == [Fate.UNKNOWN]
    quarantined.withdraw()
    assert [m.fate for m in quarantined.due(past(lambda _: (((1, 1),), 6)))] == [Fate.UNDONE_MOVE]


# --- in a node -----------------------------------------------------------------------------------------


# --- sequences -----------------------------------------------------------------------------------

EPOCH = (2, 4)


def with_sequences(*, in_commit: bool = False) -> Quarantine:
    """Messages 5 to 7 of a queue, published with sequences 1 to 3, or in a commit with sequence 1."""
    batch = Batch.pack([b"a", b"b", b"c"])
    batch = tagged(batch, EPOCH, 1, in_commit=in_commit)
    return Quarantine(QUEUE, "orders", 2, SequenceSet([(5, 7)]), batch, Fate.UNKNOWN)


def known(last: int) -> Histories:
    """A history in which the producer has used the sequences up to this one."""

    def producer(epoch: tuple[int, int]) -> tuple[str, ProducerEntry] | None:
        return ("ada", ProducerEntry(EPOCH, last)) if epoch == EPOCH else None

    return Histories(lambda _: None, (((1, 1), (2, 3)), 9), producer)


def test_a_message_keeps_its_sequence_and_learns_whether_that_is_used() -> None:
    """EO7: the established history says it, also if the flip could not tell what became of the message."""
    messages = list(Quarantined([with_sequences()]).due(known(2)))
    assert [m.sequence for m in messages] == [ProducerSequence("ada", EPOCH, n) for n in (1, 2, 3)]
    assert [m.fate for m in messages] == [Fate.SEQUENCE_USED, Fate.SEQUENCE_USED, Fate.REWOUND]
    assert [m.published_as for m in messages] == [
        Origin(queue=born(2, 4), generation=2, id=n) for n in (1, 2, 3)
    ]
    assert not any(m.in_commit for m in messages)


def test_a_message_of_a_commit_says_so() -> None:
    messages = list(Quarantined([with_sequences(in_commit=True)]).due(known(0)))
    assert [m.sequence for m in messages] == [ProducerSequence("ada", EPOCH, 1)] * 3
    assert all(m.in_commit and m.fate is Fate.REWOUND for m in messages)


@pytest.mark.parametrize(
    ("configuration", "fate"),
    [
        ((((1, 1), (2, 3)), 9), Fate.UNKNOWN),
        ((((1, 1), (3, 3)), 9), Fate.REWOUND),
        (None, Fate.UNKNOWN),
    ],
    ids=["forgotten", "never registered", "no configuration"],
)
def test_a_sequence_of_a_producer_that_is_not_known_is_of_no_use(
    configuration: Past | None, fate: Fate
) -> None:
    """EO6: it would be refused. One whose registration was rewound was rewound with it."""
    [message, *_] = Quarantined([with_sequences()]).due(past(lambda _: None, configuration))
    assert (message.sequence, message.fate) == (None, fate)
    assert message.published_as == Origin(queue=born(2, 4), generation=2, id=1), "the same on every node"


def test_one_message_is_found_by_its_queue_or_the_name_of_that_and_its_id() -> None:
    of_all = [kept(SequenceSet([5, 8])), kept(SequenceSet([5]), OTHER), kept(SequenceSet([8]), generation=1)]
    quarantined = Quarantined(of_all)
    assert [(k.change.generation, at) for k, at in quarantined.with_id(QUEUE, 8)] == [(2, 1), (1, 0)]
    assert [k.change.queue for k, _ in quarantined.with_id("orders", 5)] == [QUEUE, OTHER]
    assert list(quarantined.with_id("other", 5)) == list(quarantined.with_id(QUEUE, 6)) == []
    (message,) = [message for message in quarantined.due(NOWHERE, 1) if message.id == 8]
    list(quarantined.taken((message,), 3))
    assert [k.change.generation for k, _ in quarantined.with_id(QUEUE, 8)] == [1]
