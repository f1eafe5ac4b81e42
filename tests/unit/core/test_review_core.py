"""Small holes in the core: what adds up, what nests, what is refused although nothing newer is there."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.manager import Lost, Manager, Read, Unknown
from qpidha.core.primary.completion import QueueGuard
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.session import ReplicatingSubscription, State
from qpidha.core.ready import CompareAndSet, Doubtful, Notice, ReadRecord, RoleChanged, Safe
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.journal import Change, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Settle, Versioned
from qpidha.wire.events import Frame, Subscribe

CLUSTER, BOOT, EPOCH, QUEUE = (UUID(int=n) for n in range(1, 5))
ME = Member("P", EPOCH)


def founded() -> Versioned:
    return Versioned(Record(cluster=CLUSTER, generation=0, primary=None, members=frozenset({ME})), 1)


# --- reads of the record -------------------------------------------------------------------------------


def test_reads_do_not_pile_up_while_the_manager_is_silent() -> None:
    """A backup that is refused asks each time. One read is under way at most; one more may follow it."""
    manager = Manager(BOOT, 0.1)
    sent = 0
    for step in range(1000):
        manager.ask(step * 0.05)
        sent += isinstance(manager.request(step * 0.05), ReadRecord)
    assert sent == 1
    manager.answer(ReadRecord(), Unknown(), 50.0)
    assert isinstance(manager.request(51.0), ReadRecord)
    manager.ask(51.0)  # The read under way may be older than what this is about.
    manager.answer(ReadRecord(), Read(founded()), 52.0)
    assert isinstance(manager.request(52.0), ReadRecord)
    manager.answer(ReadRecord(), Read(founded()), 53.0)
    assert manager.request(60.0) is None


# --- moves of moves ------------------------------------------------------------------------------------


def test_a_message_moved_again_and_again_before_it_is_safe_completes() -> None:
    """A poisoned message that bounces between two queues while a backup is silent."""
    guards = [QueueGuard(Settle.REPLICATED, 0), QueueGuard(Settle.REPLICATED, 0)]
    guards[0].published(1, 1, 2)
    rounds = 5000
    for n in range(rounds):
        source, target = guards[n % 2], guards[(n + 1) % 2]
        id = n // 2 + 1
        new = (n + 1) // 2 + 1
        target.published(new, new, n + 3)
        source.moved(SequenceSet([id]), target)
    assert guards[0].advance(rounds + 1) is None, "the last move is not safe yet"
    assert guards[0].advance(rounds + 2) == rounds // 2 + 1
    assert guards[1].advance(rounds + 2) == rounds // 2


# --- the record is removed -----------------------------------------------------------------------------


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


# --- a failure while a transaction is under way --------------------------------------------------------


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


# --- joining -------------------------------------------------------------------------------------------


def test_a_backup_that_fell_behind_is_not_waited_for_as_a_joiner() -> None:
    """It is about to be planned again: publishers need not wait for that."""
    settings = Settings()
    session = ReplicatingSubscription(1, "B", UUID(int=7), settings)
    session.subscribe(1, Subscribe(epoch=UUID(int=8), stored_generation=0, queues=0))
    list(session.catch_up({}, 5))
    session.acknowledged(5)
    session.state = State.LAGGING
    membership = Membership("P", frozenset({ME}), settings)
    record = Record(cluster=CLUSTER, generation=1, primary=("P", BOOT), members=frozenset({ME}))
    assert membership.addition(record, [session], 9, 0.0) is None
    assert membership.joining is None
