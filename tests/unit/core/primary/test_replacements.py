"""Ids that were replaced in this term mean the successors of their messages; of what was moved away, nothing (U2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.replacements import Replaced
from qpidha.core.steps import Accept, DeleteQueue, Move, Update
from qpidha.errors import ArgumentError, CallerError, InvariantError, MessagesGone
from tests.support.cores import OTHER, QUEUE, SETTINGS, Node


class Stage:
    """A primary whose queue "full" holds 1 to 6, 8 and 9."""

    def __init__(self, **settings: Any) -> None:
        self.node = Node(replace(SETTINGS, **settings)).promoted()
        self.node.perform()

    @property
    def primary(self) -> Primary:
        assert self.node.replica.primary is not None
        return self.node.replica.primary

    def held(self, queue: UUID = QUEUE) -> list[int]:
        return list(self.node.replica.queues[queue].held)

    def props(self, id: int, queue: UUID = QUEUE) -> bytes:
        ((_, batch),) = self.node.replica.queues[queue].select(SequenceSet([id]))
        return batch.props(0)

    def update(self, *ids: int, props: tuple[bytes, ...] = ()) -> list[int]:
        """The new ids, in the order of these."""
        step = Update(QUEUE, SequenceSet(ids), props or (b"p",) * len(ids))
        made = self.node.replica.commit([step])
        self.node.check()
        return list(made.made[0].ids)

    def accept(self, *ids: int) -> list[int]:
        _, gone = self.node.replica.dequeue(QUEUE, SequenceSet(ids))
        self.node.check()
        return list(gone)

    def move(self, *ids: int) -> list[int]:
        _, new = self.node.replica.move(QUEUE, SequenceSet(ids), OTHER)
        self.node.check()
        return list(new)

    def places(self, *ids: int) -> list[int]:
        return list(self.primary.replaced.places(self.node.replica.queues[QUEUE], SequenceSet(ids)))

    def refused(self, *ids: int, gone: tuple[int, ...]) -> None:
        """An accept of these ids is refused, and nothing happens."""
        position, held = self.primary.position, self.held()
        with pytest.raises(MessagesGone, match="are not held any more") as caught:
            self.accept(*ids)
        assert (caught.value.queue, list(caught.value.ids)) == ("full", list(gone))
        assert (self.primary.position, self.held()) == (position, held)

    @property
    def remembered(self) -> Replaced | None:
        return self.primary.replaced._queues.get(QUEUE)


# --- accepts -------------------------------------------------------------------------------------


def test_an_accept_of_any_id_that_a_message_had_is_an_accept_of_its_successor() -> None:
    stage = Stage()
    assert stage.update(2) == [10]
    assert stage.update(10) == [11]
    assert stage.update(4) == [12]
    assert stage.accept(10, 4, 1) == [1, 11, 12]
    assert stage.held() == [3, 5, 6, 8, 9]


def test_what_was_consumed_may_be_accepted_again_by_any_id() -> None:
    """It is settled, and saying so is true."""
    stage = Stage()
    stage.update(*stage.update(2))
    assert stage.accept(2) == [11]
    assert stage.accept(2) == stage.accept(10) == stage.accept(11) == stage.accept(7) == []
    assert stage.accept(2, 10, 3) == [3]


def test_an_accept_of_what_was_moved_away_is_refused_and_changes_nothing() -> None:
    """It lives on in the other queue, where it will be delivered: who is told "settled" would be told a lie (S3)."""
    stage = Stage()
    assert stage.move(1) == [1]
    stage.refused(1, 3, gone=(1,))
    stage.update(*stage.update(2))
    assert stage.move(2) == [2], "the successor is what is moved"
    for id in (2, 10, 11):
        stage.refused(id, gone=(id,))
    assert stage.accept(3) == [3]


def test_a_queue_without_replacements_costs_nothing() -> None:
    stage = Stage()
    ids = SequenceSet([1, 7])
    assert stage.primary.replaced.accepted(stage.node.replica.queues[QUEUE], ids) is ids
    stage.update(2)
    assert stage.remembered is None, "the first id is the place, which every node knows"
    ids = SequenceSet([1, 3])
    assert stage.primary.replaced.accepted(stage.node.replica.queues[QUEUE], ids) is ids


def test_the_first_id_is_understood_after_a_failover_too() -> None:
    stage = Stage()
    stage.update(2, 3)
    assert stage.primary.replaced._queues == {}
    assert stage.accept(2) == [10] and stage.places(11) == [3]


# --- commits -------------------------------------------------------------------------------------


def test_a_commit_means_the_successors_as_well() -> None:
    """An open transaction that took a message which is updated before its commit (TX9)."""
    stage = Stage()
    stage.update(*stage.update(2))
    stage.update(3)
    made = stage.node.replica.commit([Accept(QUEUE, SequenceSet([2])), Move(QUEUE, SequenceSet([3]), OTHER)])
    assert [list(one.ids) for one in made.made] == [[11], [1]]
    assert stage.props(1, OTHER) == b"p"
    with pytest.raises(MessagesGone) as caught:
        stage.node.replica.commit([Accept(QUEUE, SequenceSet([1, 2, 10]))])
    assert list(caught.value.ids) == [2, 10]
    with pytest.raises(ArgumentError, match="by an earlier call"):
        stage.node.replica.commit([Accept(QUEUE, SequenceSet([4])), Accept(QUEUE, SequenceSet([4]))])
    with pytest.raises(CallerError, match="never given out"):
        stage.node.replica.commit([Accept(QUEUE, SequenceSet([1, 99]))])


def test_a_commit_takes_a_successor_once() -> None:
    stage = Stage()
    stage.update(2)
    with pytest.raises(ArgumentError, match=r"\{2\}.* by an earlier call"):
        stage.node.replica.commit([Accept(QUEUE, SequenceSet([10])), Accept(QUEUE, SequenceSet([2]))])
    assert stage.accept(2, 10) == [10]


def test_an_update_gives_each_named_message_its_props() -> None:
    """In the order of the ids that the caller names, whatever the order of the present ids is."""
    stage = Stage()
    stage.update(2)
    assert stage.update(2, 3, props=(b"two", b"three")) == [11, 12]
    assert (stage.props(11), stage.props(12)) == (b"two", b"three")
    assert stage.places(11, 12) == [2, 3]
    with pytest.raises(ArgumentError, match="name a message twice"):
        stage.update(2, 11, props=(b"x", b"y"))
    with pytest.raises(MessagesGone):
        stage.update(7)


def test_messages_are_moved_in_their_order() -> None:
    stage = Stage()
    stage.update(1, 3)
    stage.update(2)
    assert stage.move(2, 4, 10, 11) == [1, 2, 3, 4]
    batch = Batch.join(
        [piece for _, piece in stage.node.replica.queues[OTHER].select(SequenceSet([1, 2, 3, 4]))]
    )
    origins = [batch.origin(i) for i in range(4)]
    assert [origin[2] for origin in origins if origin] == [1, 2, 3, 4]


def test_what_is_left_in_a_deleted_queue_is_moved_in_its_order() -> None:
    stage = Stage()
    stage.update(*stage.update(1))
    stage.move(6)
    assert stage.remembered is not None
    stage.node.replica.commit([DeleteQueue(QUEUE, OTHER)])
    stage.node.check()
    batch = Batch.join(
        [p for _, p in stage.node.replica.queues[OTHER].read(2, messages_max=9, bytes_max=9**9)]
    )
    found = [batch.origin(i) for i in range(len(batch))]
    assert [origin[2] for origin in found if origin] == [1, 2, 3, 4, 5, 8, 9]
    assert stage.remembered is None


# --- places and memory ---------------------------------------------------------------------------


def test_the_place_of_a_message_is_found_by_all_its_ids() -> None:
    stage = Stage()
    assert stage.places(1, 2) == [1, 2]
    stage.update(*stage.update(2))
    assert stage.places(2) == stage.places(10) == stage.places(11) == [2]
    assert stage.places(1, 10) == [1, 2]
    stage.accept(11)
    assert stage.places(10) == [2] and stage.places(11) == [11]


def test_ids_of_messages_that_left_are_forgotten() -> None:
    stage = Stage(replaced_ids_max=4)
    stage.move(5, 6)
    stage.update(*stage.update(*stage.update(1, 2)))
    stage.move(1)
    stage.accept(2)
    for _ in range(8):
        stage.update(3)
    assert stage.remembered is not None
    assert set(stage.remembered.places.values()) == {3}
    stage.refused(10, gone=(10,))
    assert stage.accept(11) == [], "it was consumed"
    assert stage.accept(3) == [stage.node.replica.queues[QUEUE].next - 1]


def test_of_too_many_ids_in_between_the_oldest_are_refused() -> None:
    """A message that is updated for ever must not fill the memory. What is not known any more is never confirmed."""
    stage = Stage(replaced_ids_max=4)
    for _ in range(40):
        (now,) = stage.update(1)
    assert stage.remembered is not None and len(stage.remembered.places) <= 4 + len(stage.held())
    stage.refused(10, gone=(10,))
    with pytest.raises(MessagesGone):
        stage.node.replica.commit([Accept(QUEUE, SequenceSet([10]))])
    assert stage.places(now - 1) == [1]
    assert stage.accept(now - 1) == [now]


def test_too_many_runs_of_moved_ids_are_joined() -> None:
    """Between them, what is held is accepted; what was consumed is refused from then on."""
    stage = Stage(replaced_ids_max=2)
    stage.accept(2)
    stage.move(1)
    stage.move(3)
    assert stage.accept(2) == []
    stage.move(5)
    assert stage.remembered is not None and stage.remembered.away == SequenceSet([1, 2, 3, 5])
    stage.refused(2, gone=(2,))
    assert stage.accept(4) == [4] and stage.accept(4) == []


def test_invariants_are_checked() -> None:
    stage = Stage()
    stage.update(*stage.update(2))
    replaced, queues = stage.primary.replaced, list(stage.node.replica.queues.values())
    replaced.check(queues)
    with pytest.raises(InvariantError, match="is gone"):
        replaced.check([])
    assert stage.remembered is not None
    stage.remembered.places[11] = 2
    with pytest.raises(InvariantError, match="in between"):
        replaced.check(queues)
    stage.remembered.between.add(11)
    with pytest.raises(InvariantError, match="is held"):
        replaced.check(queues)
