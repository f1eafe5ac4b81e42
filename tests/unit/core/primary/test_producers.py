"""Publishes and commits with sequences on a primary: made once, refused, or answered with what is there (EO1–EO9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.primary.primary import Primary as Core
from qpidha.core.primary.producers import Published
from qpidha.core.producers import ProducerEntry, is_tag
from qpidha.core.steps import (
    Accept,
    Committed,
    DeclareQueue,
    DeleteQueue,
    Publish,
    Step,
)
from qpidha.errors import (
    ArgumentError,
    MessagesGone,
    SequenceGap,
    UnknownProducer,
    UnknownQueue,
)
from qpidha.types import MESSAGE_ID_MAX, Entry, ProducerSequence, QueueSpec, Settle
from qpidha.wire.events import Dequeue, Enqueue, Operation
from tests.support.cores import GENERATION, OTHER, QUEUE
from tests.unit.core.primary.test_actions import Primary

ONE = Batch.pack([b"one"])
THREE = Batch.pack([b"a", b"b", b"c"])


class Producing(Primary):
    """A primary at which producer "ada" is registered, safe."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.node.replica.state.settings = replace(self.node.replica.state.settings, **settings)  # type: ignore[arg-type]
        registered = self.core.register("ada")
        self.epoch: Entry = registered.epoch
        self.acknowledge(registered.position)

    @property
    def primary(self) -> Core:
        found = self.core.primary
        assert found is not None
        return found

    @property
    def objects(self) -> ConfigurationQueue:
        return self.primary.configuration

    def at(self, number: int) -> ProducerSequence:
        return ProducerSequence("ada", self.epoch, number)

    def publish(self, number: int, batch: Batch = ONE) -> Published:
        return self.core.publish(OTHER, batch, self.at(number))

    def commit(self, number: int, *steps: Step) -> Committed:
        return self.core.commit(steps, self.at(number))

    @property
    def last(self) -> int:
        entry = self.primary.producers.get("ada")
        assert entry is not None and entry.epoch == self.epoch
        return entry.last

    def operation(self) -> Operation:
        """The newest one."""
        return self.primary._unsealed[-1]

    @property
    def held(self) -> int:
        return len(self.core.queues[OTHER])


# --- registrations -------------------------------------------------------------------------------


def test_an_epoch_is_the_identity_of_the_entry_that_registered() -> None:
    """EO6: so it never comes again. Who registers again fences the former one."""
    made = Producing()
    assert made.epoch == (GENERATION, made.objects.id_of(b"\x92\xa9$producer\xa3ada"))
    assert made.publish(1).repeated == 0
    again = made.core.register("ada")
    assert again.epoch > made.epoch and again.epoch[0] == GENERATION
    assert made.primary.producers.get("ada") == ProducerEntry(again.epoch, 0)
    with pytest.raises(UnknownProducer, match="has registered again"):
        made.publish(2)
    with pytest.raises(UnknownProducer, match="has registered again"):
        made.publish(1)
    made.epoch = again.epoch
    assert made.publish(1).repeated == 0 and made.held == 2
    made.primary.check()


def test_a_producer_that_was_forgotten_is_refused_and_never_begun_anew() -> None:
    """EO6: forgetting refuses, and never duplicates. It is an operation."""
    made = Producing()
    made.publish(1)
    position = made.core.forget("ada")
    assert position == made.primary.position
    assert [type(part) for part in made.operation()] == [Dequeue]
    with pytest.raises(UnknownProducer, match="is not registered"):
        made.publish(1)
    assert made.core.forget("ada") == position, "nothing to forget: an answer about what is not there (Q7)"
    assert made.primary.producers.get("ada") is None and made.held == 1


def test_names_are_text() -> None:
    made = Producing()
    for name in ("", "x" * 1025, b"ada", "\ud800"):
        with pytest.raises(ArgumentError, match="producer must be"):
            made.core.register(name)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="producer must be"):
            made.core.forget(name)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="producer must be"):
            made.primary.producers.get(name)  # type: ignore[arg-type]


# --- EO1, EO3, EO5 -------------------------------------------------------------------------------


def test_a_publish_and_its_entry_are_one_operation() -> None:
    """EO1: the message, the new entry, and the removal of the old one."""
    made = Producing()
    published = made.publish(1)
    operation = made.operation()
    assert [type(part) for part in operation] == [Enqueue, Enqueue, Dequeue]
    assert [part.queue for part in operation] == [OTHER, made.objects.queue, made.objects.queue]
    assert published == Published(made.primary.position, OTHER, SequenceSet([1]), 0)
    assert made.last == 1
    made.primary.check()


def test_a_batch_has_consecutive_sequences_and_one_entry() -> None:
    made = Producing()
    assert list(made.publish(1, THREE).ids) == [1, 2, 3]
    assert len(made.operation()) == 3 and made.last == 3
    assert made.publish(4).repeated == 0 and made.last == 4


def test_a_sequence_above_the_next_one_is_refused() -> None:
    """EO5: nothing is stored."""
    made = Producing()
    made.publish(1)
    for number in (3, 99):
        position = made.primary.position
        with pytest.raises(SequenceGap) as gap:
            made.publish(number, THREE)
        assert gap.value.expected == 2
        with pytest.raises(SequenceGap):
            made.commit(number, Publish((OTHER,), ONE))
        assert made.primary.position == position and made.held == 1 and made.last == 1


def test_a_repetition_stores_nothing_also_after_its_message_and_queue_are_gone() -> None:
    """EO3, EO9: the entry survives both, and is looked up before anything else is checked."""
    made = Producing()
    published = made.publish(1)
    made.core.dequeue(OTHER, published.ids)
    assert made.publish(1).repeated == 1 and made.held == 0
    made.core.commit([DeleteQueue(OTHER)])
    assert made.publish(1).repeated == 1
    with pytest.raises(UnknownQueue):
        made.publish(2)
    assert made.last == 1


def test_a_batch_that_is_partly_known_is_completed() -> None:
    """EO5: after a failover a client may cut its messages into other batches."""
    made = Producing()
    made.publish(1, THREE)
    longer = Batch.pack([b"b", b"c", b"d", b"e"])
    published = made.publish(2, longer)
    assert (list(published.ids), published.repeated) == ([4, 5], 2)
    held = made.core.queues[OTHER]
    assert [data for _, piece in held.select(held.held) for data in piece] == [b"a", b"b", b"c", b"d", b"e"]
    assert [origin[2] for origin in origins(made)] == [1, 2, 3, 4, 5]
    assert made.last == 5
    assert made.publish(2, longer).repeated == 4


def test_a_batch_larger_than_half_a_frame_is_one_operation_with_all_its_sequences() -> None:
    made = Producing()
    large = Batch.pack([bytes(made.primary.settings.frame_bytes_max // 4)] * 4)
    published = made.publish(1, large)
    assert len(published.ids) == 4 and made.last == 4
    assert [origin[2] for origin in origins(made)] == [1, 2, 3, 4]


def origins(made: Producing) -> list[tuple[bytes, int, int]]:
    held, found = made.core.queues[OTHER], []
    for _, piece in held.select(held.held):
        for index in range(len(piece)):
            origin = piece.origin(index)
            assert origin is not None and is_tag(origin)
            found.append(origin)
    return found


# --- EO4 -----------------------------------------------------------------------------------------


def test_a_repetition_of_a_pending_publish_is_answered_with_it() -> None:
    made = Producing()
    first = made.publish(1, THREE)
    made.publish(4)
    made.core.enqueue(QUEUE, ONE)
    again = made.publish(2, Batch.pack([b"b", b"c"]))
    assert again == Published(first.position, OTHER, SequenceSet([2, 3]), 2)
    assert made.publish(4) == Published(first.position + 1, OTHER, SequenceSet([4]), 1)
    made.acknowledge(first.position)
    assert made.safe[OTHER] == 3
    assert made.publish(4).queue == OTHER


def test_a_repetition_of_a_complete_publish_waits_for_the_present_position() -> None:
    """EO4: what is there may have been accepted meanwhile."""
    made = Producing()
    made.acknowledge(made.publish(1).position)
    later, _ = made.core.enqueue(QUEUE, ONE)
    again = made.publish(1)
    assert again == Published(later, None, SequenceSet(), 1)
    assert made.settled < later
    made.acknowledge(later)
    assert made.settled == later
    made.primary.check()


def test_a_repetition_is_known_without_its_messages() -> None:
    """EO4: the answer to a repetition as a whole; else how many of the first messages have to be left out."""
    made = Producing()
    first = made.publish(1, THREE)
    known = made.primary.producers.repetition
    assert known(made.at(2), 2) == Published(first.position, OTHER, SequenceSet([2, 3]), 2)
    assert known(made.at(2), 5) == 2
    assert known(made.at(4)) == 0
    with pytest.raises(SequenceGap):
        known(made.at(5))
    assert (made.held, made.last) == (3, 3), "nothing was stored"


def test_a_repetition_of_a_publish_of_another_term_waits_for_the_present_position() -> None:
    """The entry came with the promotion: this primary does not know of the publish."""
    made = Producing()
    entry = ProducerEntry((2, 5), 7).encode()
    made.objects.append(Batch.pack([entry], props=[b"\x92\xa9$producer\xa3bob"]))
    again = made.core.publish(OTHER, ONE, ProducerSequence("bob", (2, 5), 7))
    assert again == Published(made.primary.position, None, SequenceSet(), 1)


def test_a_publish_that_was_accepted_while_it_was_pending_answers_its_repetition() -> None:
    """It completes with the accept (O6), and so does the repetition."""
    made = Producing()
    first = made.publish(1)
    accepted, _ = made.core.dequeue(OTHER, first.ids)
    again = made.publish(1)
    assert again.queue == OTHER and again.ids == first.ids
    made.acknowledge(first.position)
    assert OTHER not in made.safe
    made.publish(2)
    assert made.publish(1).queue == OTHER, "it is pending still"
    made.acknowledge(accepted)
    assert made.safe[OTHER] == 1
    made.primary.check()


def test_an_immediate_accept_does_not_complete_a_publish_with_a_sequence() -> None:
    """TX7: it has another effect, the entry. Its producer would go on with the next sequence, and be refused."""
    made = Producing()
    queue, _ = made.core.declare(QueueSpec(name="q", settle=Settle.IMMEDIATE))
    published = made.core.publish(queue, ONE, made.at(1))
    made.core.dequeue(queue, published.ids)
    made.perform()
    assert queue not in made.safe
    made.acknowledge(published.position)
    assert made.safe[queue] == 1


# --- commits -------------------------------------------------------------------------------------


def test_a_commit_has_one_sequence() -> None:
    made = Producing()
    steps = (Publish((OTHER,), THREE), Accept(QUEUE, SequenceSet([1])), DeclareQueue(QueueSpec(name="new")))
    first = made.commit(1, *steps)
    assert len(first.made) == 3 and not first.repeated and made.last == 1
    assert first.declared(2) in made.core.queues
    again = made.commit(1, *steps)
    assert again == replace(first, repeated=True), "pending: the same answer"
    made.acknowledge(first.position)
    assert made.commit(1, *steps) == Committed(made.primary.position, (), repeated=True)
    made.primary.check()


def test_a_repeated_commit_is_answered_before_anything_is_checked() -> None:
    """EO9: its message is gone, its queue is there, and both are its own doing. A new one is refused for that."""
    made = Producing()
    steps = (Accept(QUEUE, SequenceSet([1])), DeclareQueue(QueueSpec(name="new")))
    made.acknowledge(made.commit(1, *steps).position)
    assert made.commit(1, *steps).repeated
    with pytest.raises(MessagesGone):
        made.commit(2, *steps)
    assert made.last == 1, "refused as a whole, its entry as well"


def test_a_publish_to_several_queues_carries_the_sequence_in_each() -> None:
    """EO7: as part of a commit, for it cannot be published again by itself."""
    made = Producing()
    made.commit(1, Publish((OTHER, QUEUE), ONE))
    for queue in (OTHER, QUEUE):
        last = made.core.queues[queue].held.last
        ((_, batch),) = made.core.queues[queue].select(SequenceSet([last]))
        assert batch.origin(0) == origins(made)[0]


def test_a_commit_with_a_sequence_is_not_taken_for_a_publish() -> None:
    """Its producer used the number for another message, against EO8: it learns that the number is used, and no ids."""
    made = Producing()
    first = made.commit(1, Publish((OTHER,), ONE))
    assert made.publish(1) == Published(first.position, None, SequenceSet(), 1)
    second = made.publish(2)
    assert made.commit(2, Publish((OTHER,), ONE)) == Committed(second.position, (), repeated=True)


# --- EO8 -----------------------------------------------------------------------------------------


def test_a_sequence_that_was_given_up_is_used() -> None:
    """A put of the entry alone. A repetition of the publish is answered like any other, and stores nothing."""
    made = Producing()
    given_up = made.commit(1)
    assert not given_up.repeated and made.last == 1 and made.held == 0
    assert [type(part) for part in made.operation()] == [Enqueue, Dequeue]
    assert made.publish(1).repeated == 1 and made.held == 0
    assert made.publish(2).repeated == 0


def test_giving_up_a_sequence_that_was_stored_says_that_it_is_used() -> None:
    made = Producing()
    made.publish(1)
    assert made.commit(1).repeated and made.held == 1


# --- arguments -----------------------------------------------------------------------------------


def test_what_is_no_sequence_or_no_batch_is_refused() -> None:
    made = Producing()
    with pytest.raises(ArgumentError, match=r"batch(es)? must be"):
        made.core.publish(OTHER, b"one", made.at(1))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="sequence must be"):
        made.core.publish(OTHER, ONE, 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="sequence must be"):
        made.core.commit([], 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="last sequence number"):
        made.publish(MESSAGE_ID_MAX, THREE)
    assert made.last == 0
