"""A core and its driver: a record that is removed, a disk that is slow, a node that fails meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from qpidha import Batch, Settings
from qpidha.core.manager import Lost
from qpidha.core.ready import CompareAndSet, Doubtful, Notice, RoleChanged, Safe
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.journal import Change, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Versioned
from qpidha.wire.events import Frame

CLUSTER, BOOT, EPOCH, QUEUE = (UUID(int=n) for n in range(1, 5))
ME = Member("P", EPOCH)


def founded() -> Versioned:
    return Versioned(Record(cluster=CLUSTER, generation=0, primary=None, members=frozenset({ME})), 1)


class Node:
    """A replica and a driver, with a disk that waits to be told."""

    def __init__(self, *, slow: bool = False) -> None:
        image = StoreImage(StoreStatus(node="P", epoch=EPOCH, cluster=CLUSTER))
        self.replica = Replica(node="P", boot=BOOT, image=image, settings=Settings())
        self.driver = Driver(self.replica, self._commit, self, lambda: 0.0)
        self.slow = slow
        self.done: list[Done] = []
        self.requests: list[object] = []
        self.effects: list[object] = []
        self.error: BaseException | None = None

    def _commit(self, changes: list[Change], done: Done) -> None:
        if self.slow:
            self.done.append(done)
        else:
            done(None)

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self.effects += [frame for _, frame in frames]

    def request(self, request: object) -> None:
        self.requests.append(request)

    def complete(self, completion: object) -> None:
        self.effects.append(completion)

    def notify(self, notice: Notice) -> None:
        self.effects.append(notice)

    def store_failed(self, error: BaseException) -> None:
        self.error = error

    def promoted(self) -> Node:
        self.replica.record_seen(founded(), 0.0)
        self.replica.promote(found_as=CLUSTER)
        self.driver.run()
        request = self.requests[-1]
        assert isinstance(request, CompareAndSet)
        self.replica.record_seen(Versioned(request.new, 2), 0.0)
        self.driver.run()
        return self


def test_a_primary_whose_record_was_removed_steps_down() -> None:
    """M4: its compare-and-set is refused, and nothing newer is there."""
    node = Node().promoted()
    assert node.replica.role is Role.ACTIVE
    node.replica.demote()
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.replica.answered(request, Lost(None), 0.0)
    node.driver.run()
    assert node.replica.primary is None
    assert Doubtful(1) in node.effects


def test_it_does_not_take_its_old_record_for_a_new_promotion() -> None:
    """P2: what it knew last names this boot as primary, of a generation that it has been in already."""
    node = Node().promoted()
    node.replica.demote()
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.replica.answered(request, Lost(None), 0.0)
    node.replica.record_seen(None, 1.0)
    node.driver.run()
    assert node.replica.primary is None


def test_nothing_is_promised_after_a_failure_even_if_the_transaction_of_before_succeeds() -> None:
    """What was pending is in doubt, once; the node does not become primary afterwards."""
    node = Node()
    node.replica.record_seen(founded(), 0.0)
    node.replica.promote(found_as=CLUSTER)
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.slow = True
    node.replica.record_seen(Versioned(request.new, 2), 0.0)
    node.driver.run()  # The activation is being made durable.
    node.driver.fail(RuntimeError("injected"), node.replica.ready(0.0))
    assert isinstance(node.error, RuntimeError)
    node.done.pop()(None)
    roles = [effect.role for effect in node.effects if isinstance(effect, RoleChanged)]
    assert not any(role.is_primary for role in roles)
    assert roles[-1] is Role.STOPPED


def test_what_a_step_down_leaves_in_doubt_is_told_after_a_failure_too() -> None:
    """The step-down waited for the disk when the node failed."""
    node = Node().promoted()
    node.replica.declare(QUEUE, QueueSpec(name="q"))
    node.replica.enqueue(QUEUE, Batch.pack([b"x"]))
    node.slow = True
    node.replica.step_down("the test wants it")
    node.driver.run()
    assert Doubtful(1) not in node.effects
    node.driver.fail(RuntimeError("injected"), node.replica.ready(0.0))
    node.done.pop()(None)
    assert node.effects.count(Doubtful(1)) == 1
    assert not any(isinstance(effect, Safe) for effect in node.effects)
