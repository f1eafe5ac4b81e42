"""A primary whose disk hangs hands over without the disk, and promises nothing that is not durable (L1, K1)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from qpidha import Batch
from qpidha.core.births import born
from qpidha.core.manager import Applied, Lost, NotSent
from qpidha.core.ready import (
    CloseLink,
    CompareAndSet,
    Completion,
    Doubtful,
    HandOver,
    Notice,
    Ready,
    Request,
    RoleChanged,
    Safe,
    Settled,
    needs_no_disk,
    remainder,
)
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.errors import StoreFailed
from qpidha.events import SteppedDown
from qpidha.journal import Change, Insert, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Versioned
from qpidha.wire.events import Frame, Operations

CLUSTER, BOOT, QUEUE = UUID(int=1), UUID(int=2), born(1, 1)
P, B = Member("P", UUID(int=4)), Member("B", UUID(int=5))


class Hung:
    """A primary of two members whose disk does not answer, with a publish behind it."""

    def __init__(self) -> None:
        self.effects: list[object] = []
        self.stored: list[Change] = []
        self.done: list[Done] = []
        self.hangs = False
        image = StoreImage(StoreStatus(node="P", epoch=P.epoch, cluster=CLUSTER))
        self.replica = Replica(node="P", boot=BOOT, image=image)
        self.driver = Driver(self.replica, self.commit, self, lambda: 0.0)
        self.record = Record(cluster=CLUSTER, generation=1, primary=("P", BOOT), members=frozenset((P, B)))
        self.replica.record_seen(Versioned(self.record, 1), 0.0)
        self.driver.run()
        self.replica.declare(QueueSpec(name="q"))
        self.driver.run()
        self.hangs = True
        self.publish()
        self.publish()  # Behind it, not taken yet.
        self.effects.clear()

    def commit(self, changes: list[Change], done: Done) -> None:
        self.stored += changes
        if self.hangs:
            self.done.append(done)
        else:
            done(None)

    def publish(self) -> None:
        self.replica.enqueue(QUEUE, Batch.pack([b"x"]))
        self.driver.run()

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self.effects += [frame for _, frame in frames]

    def request(self, request: Request) -> None:
        self.effects.append(request)

    def complete(self, completion: Completion) -> None:
        self.effects.append(completion)

    def notify(self, notice: Notice) -> None:
        self.effects.append(notice)

    def store_failed(self, error: BaseException) -> None:
        self.effects.append(error)

    def gave_away(self) -> Hung:
        """The hand-over was asked for and granted."""
        self.replica.demote()
        self.driver.bypass()
        asked = self.effects[-1]
        assert isinstance(asked, CompareAndSet)
        self.replica.answered(asked, Applied(Versioned(asked.new, 2)), 0.0)
        self.driver.run()
        return self

    def found(self, *kinds: type) -> list[object]:
        return [e for e in self.effects if isinstance(e, kinds)]


@pytest.fixture
def hung() -> Hung:
    return Hung()


def test_without_the_bypass_everything_waits_for_the_disk(hung: Hung) -> None:
    hung.replica.demote()
    hung.driver.run()
    assert hung.effects == []


def test_the_hand_over_needs_no_disk(hung: Hung) -> None:
    hung.replica.demote()
    hung.driver.bypass()
    [asked] = hung.effects
    assert isinstance(asked, CompareAndSet)
    assert asked.new.primary is None and asked.new.members == {P, B}
    assert hung.replica.primary is not None, "until the record says so (M3)"
    hung.driver.run()
    assert len(hung.effects) == 1, "asked once"


def test_once_the_hand_over_is_granted_the_role_ends_and_pending_operations_are_in_doubt(hung: Hung) -> None:
    hung.gave_away()
    assert hung.found(Doubtful) == [Doubtful(1)]
    assert [e.role for e in hung.found(RoleChanged) if isinstance(e, RoleChanged)] == [Role.JOINING]
    assert not hung.driver.idle, "the disk has not answered yet"
    hung.driver.run()
    assert hung.found(Doubtful) == [Doubtful(1)], "once"


def test_changes_that_waited_for_the_disk_are_stored_and_promise_nothing(hung: Hung) -> None:
    hung.gave_away()
    hung.hangs = False
    hung.done.pop()(None)
    assert hung.driver.idle
    assert len([c for c in hung.stored if isinstance(c, Insert) and c.queue == QUEUE]) == 2, (
        "memory and disk agree again"
    )
    assert hung.found(Safe, Settled) == []
    assert not any(isinstance(e, Frame) and isinstance(e.event, Operations) for e in hung.effects)
    roles = [e.role for e in hung.found(RoleChanged) if isinstance(e, RoleChanged)]
    assert roles == [Role.JOINING]


def test_the_node_goes_on_as_a_backup_when_the_disk_is_back(hung: Hung) -> None:
    hung.gave_away()
    hung.hangs = False
    hung.done.pop()(None)
    record = Record(cluster=CLUSTER, generation=2, primary=("B", UUID(int=9)), members=frozenset((P, B)))
    hung.replica.record_seen(Versioned(record, 3), 0.0)
    hung.replica.link_opened(7, to="B")
    hung.driver.run()
    assert any(isinstance(e, Frame) for e in hung.effects), "it says hello"


def test_a_primary_learns_of_another_primary_while_its_disk_hangs(hung: Hung) -> None:
    """The cluster manager granted another node's promotion first: the role ends in the same way."""
    hung.driver.bypass()
    record = Record(cluster=CLUSTER, generation=2, primary=("B", UUID(int=9)), members=frozenset((P, B)))
    hung.replica.record_seen(Versioned(record, 2), 0.0)
    hung.driver.run()
    assert hung.found(Doubtful) == [Doubtful(1)]


def test_a_disk_that_fails_in_the_end_fails_the_node(hung: Hung) -> None:
    hung.gave_away()
    hung.done.pop()(StoreFailed("injected"))
    assert hung.found(StoreFailed)
    assert hung.found(Doubtful) == [Doubtful(1)], "once"
    assert hung.found(Safe, Settled) == []


def test_a_node_that_failed_does_nothing_more(hung: Hung) -> None:
    hung.driver.fail(RuntimeError("injected"), Ready())
    hung.effects.clear()
    hung.driver.bypass()
    assert hung.effects == []


def test_a_disk_that_works_needs_no_bypass(hung: Hung) -> None:
    hung.hangs = False
    hung.done.pop()(None)
    hung.replica.demote()
    hung.driver.bypass()
    assert len(hung.found(CompareAndSet)) == 1


def test_a_request_that_waited_behind_the_disk_is_asked_first(hung: Hung) -> None:
    """At most one compare-and-set is in flight (M1), and this one waited behind the disk."""
    hung.replica.demote()
    hung.done.pop(0)(None)  # The next Ready has a publish and the hand-over, and hangs as well.
    assert hung.found(CompareAndSet) == []
    hung.driver.bypass()
    assert len(hung.found(CompareAndSet)) == 1
    hung.hangs = False
    hung.done.pop()(None)
    assert len(hung.found(CompareAndSet)) == 1, "not again with the Ready that it was part of"


def test_the_hand_over_is_tried_again_and_lost_like_any_other(hung: Hung) -> None:
    hung.replica.demote()
    hung.driver.bypass()
    [asked] = hung.found(CompareAndSet)
    assert isinstance(asked, CompareAndSet)
    hung.replica.answered(asked, NotSent(), 0.0)
    hung.driver.run()
    assert len(hung.found(CompareAndSet)) == 1, "not at once"
    hung.replica.answered(asked, Lost(None), 1.0)
    hung.driver.run()
    assert hung.found(Doubtful) == [Doubtful(1)], "the record is gone (M4)"


def test_effects_that_wait_for_the_disk_stay_in_order() -> None:
    """Messages are handed over later; a role that began and ended in the meantime is not reported."""
    begun, over = RoleChanged(Role.ACTIVE, 1), RoleChanged(Role.JOINING, 1)
    given, closed, noted = HandOver(()), CloseLink(1, "x"), SteppedDown("x")
    asked = CompareAndSet(None, Record(cluster=CLUSTER, generation=0, primary=None, members=frozenset()))
    waiting = Ready(complete=[Doubtful(1)], request=asked, notify=[begun, given, over, closed, noted])
    assert [needs_no_disk(n) for n in waiting.notify] == [False, False, True, True, True]
    left = remainder(waiting)
    assert (left.notify, left.request, left.complete, left.send) == ([given], asked, [], [])
