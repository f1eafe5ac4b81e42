"""With fewer members than ``min_in_sync`` nothing is taken and nothing completes (J4, J5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.births import born
from qpidha.core.manager import Applied
from qpidha.core.ready import Completion, EnoughMembers, Ready, Safe, Settled
from qpidha.core.replica import Replica
from qpidha.errors import InvariantError, NotEnoughMembers, NotPrimary, OperationError
from qpidha.events import RemovingMembers, TooFewMembers
from qpidha.journal import StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Settle, Versioned
from qpidha.wire.events import Acknowledged, Established, Event, Frame, Hello, PlanEnd, Subscribe

CLUSTER, BOOT, OTHER = (UUID(int=n) for n in (1, 2, 4))
QUEUE = born(1, 1)
A, B, C = (Member(name, UUID(int=10 + n)) for n, name in enumerate("abc"))
LINKS = {B: 1, C: 2}
BATCH = Batch.pack([b"1"])


class Cluster:
    """Node a is primary; its backups and the cluster manager do what a test says."""

    def __init__(self, least: int, *members: Member, settle: Settle = Settle.REPLICATED) -> None:
        self.now = 1.0
        status = StoreStatus(node="a", epoch=A.epoch, cluster=CLUSTER)
        self.settings = Settings(min_in_sync=least, ack_timeout_s=5.0, rejoin_timeout_s=5.0)
        self.core = Replica(node="a", boot=BOOT, image=StoreImage(status), settings=self.settings)
        self.version = 0
        self.told: list[Completion] = []
        self.notices: list[object] = []
        self.sent: list[tuple[int, Event]] = []
        self.settle = settle
        self.see(*members)

    # --- what happens to it ----------------------------------------------------------------------

    def see(self, *members: Member) -> None:
        """The record, with node a as primary, has these members."""
        self.version += 1
        record = Record(
            cluster=CLUSTER, generation=1, primary=("a", BOOT), members=frozenset(members), nonce=b"x"
        )
        self.core.record_seen(Versioned(record, self.version), self.now)
        self.run()

    def applied(self) -> None:
        """The cluster manager applies the request in flight."""
        flight = self.core.manager.in_flight
        assert flight is not None
        self.version += 1
        self.core.answered(flight, Applied(Versioned(flight.new, self.version)), self.now)
        self.run()

    def subscribe(self, backup: Member) -> None:
        """This backup connects and catches up; it has not acknowledged that yet."""
        link = LINKS[backup]
        self.core.link_opened(link)
        hello = Hello(
            version_min=1, version_max=1, cluster=CLUSTER, node=backup.node, boot=UUID(int=link), wanted="a"
        )
        self.say(backup, hello, session=0)
        self.say(backup, Subscribe(epoch=backup.epoch, stored_generation=0, queues=0))

    def say(self, backup: Member, event: Event, *, session: int = 1) -> None:
        self.core.received(LINKS[backup], Frame(1, session, event), self.now)
        self.run()

    def acknowledge(self, *backups: Member) -> None:
        """These acknowledge everything."""
        assert self.core.primary is not None
        for backup in backups:
            self.say(backup, Acknowledged(position=self.core.primary.position))

    def declare(self) -> None:
        self.core.declare(QueueSpec(name="q", settle=self.settle))
        self.run()

    def publish(self) -> None:
        self.core.enqueue(QUEUE, BATCH)
        self.run()

    def later(self, seconds: float = 6.0) -> None:
        """Time passes, without a pause of the process."""
        for _ in range(int(seconds)):
            self.now += 1.0
            self.core.tick(self.now)
        self.run()

    def run(self) -> Ready:
        ready = self.core.ready(self.now)
        self.told += ready.complete
        self.notices += ready.notify
        self.sent += [(link, frame.event) for link, frame in ready.send]
        self.core.performed(self.now)
        self.core.check()
        return ready

    # --- what is true of it ----------------------------------------------------------------------

    @property
    def safe(self) -> int:
        """How many publishes were confirmed."""
        return max((done.upto for done in self.told if isinstance(done, Safe)), default=0)

    @property
    def shortages(self) -> list[TooFewMembers | EnoughMembers]:
        return [n for n in self.notices if isinstance(n, (TooFewMembers, EnoughMembers))]


def following(least: int, *backups: Member, settle: Settle = Settle.REPLICATED) -> Cluster:
    """Node a with these backups, all members, and a queue."""
    made = Cluster(least, A, *backups, settle=settle)
    for backup in backups:
        made.subscribe(backup)
    made.acknowledge(*backups)
    made.declare()
    made.acknowledge(*backups)
    assert made.core.role is Role.ACTIVE
    return made


def refusal(call: Callable[[], object]) -> NotEnoughMembers:
    with pytest.raises(NotEnoughMembers) as caught:
        call()
    return caught.value


# --- the door ------------------------------------------------------------------------------------------


def test_with_one_the_last_member_goes_on_alone() -> None:
    """LC9: recorded as the only member, and no other can be promoted."""
    made = following(1, B)
    made.core.link_closed(LINKS[B])
    made.publish()
    assert made.safe == 0
    made.later()
    made.applied()
    assert made.core.record is not None and made.core.record.members == {A}
    assert made.safe == 1
    made.publish()
    assert (made.safe, made.shortages) == (2, [])


def test_with_two_the_last_member_refuses_operations_and_stores_nothing() -> None:
    made = following(2, B)
    made.publish()
    made.acknowledge(B)
    made.core.link_closed(LINKS[B])
    made.publish()
    made.later()
    made.applied()
    assert made.core.record is not None and made.core.record.members == {A}
    primary = made.core.primary
    assert primary is not None
    before = primary.position
    for call in (
        lambda: made.core.enqueue(QUEUE, BATCH),
        lambda: made.core.dequeue(QUEUE, SequenceSet([1])),
        lambda: made.core.move(QUEUE, SequenceSet([1]), OTHER),
        lambda: made.core.skip(QUEUE, 1),
        made.core.require_open,
    ):
        error = refusal(call)
        assert isinstance(error, OperationError)
        assert (error.min_in_sync, error.members, error.missing) == (2, ("a",), ("b",))
        assert str(error) == "1 member (a) of 2 (min_in_sync); missing: b"
    assert made.run() == Ready()
    assert (primary.position, [q.queue for q in made.core.message_queues], made.safe) == (before, [QUEUE], 1)


def test_what_was_taken_before_is_not_refused_and_waits() -> None:
    made = following(2, B)
    made.see(A)
    made.core.enqueue(QUEUE, BATCH, taken=True)
    made.run()
    assert (len(made.core.queues[QUEUE]), made.safe) == (1, 0)


def test_a_queue_can_be_declared_and_waits() -> None:
    """As a broker does when it is promoted, with or without the others."""
    made = Cluster(2, A)
    made.declare()
    assert [q.queue for q in made.core.message_queues] == [QUEUE] and made.told == []
    refusal(lambda: made.core.enqueue(QUEUE, BATCH))
    made.see(A, B)
    made.subscribe(B)
    made.acknowledge(B)
    assert any(isinstance(done, Settled) for done in made.told)


def test_another_node_says_that_it_is_not_primary() -> None:
    made = Cluster(2, B)
    made.core.step_down("a test")
    with pytest.raises(NotPrimary):
        made.core.require_open()


def test_messages_can_be_read_while_members_are_missing() -> None:
    made = following(2, B)
    made.publish()
    made.acknowledge(B)
    made.see(A)
    assert [list(batch) for _, batch in made.core.queues[QUEUE].select(SequenceSet([1]))] == [list(BATCH)]


# --- what is pending -----------------------------------------------------------------------------------


@pytest.mark.parametrize("settle", list(Settle))
def test_what_is_pending_waits_until_a_member_is_added(settle: Settle) -> None:
    made = following(2, B, settle=settle)
    made.core.link_closed(LINKS[B])
    made.publish()
    made.later()
    made.applied()
    made.later()
    assert made.safe == 0, "this node alone has it"
    made.subscribe(B)
    made.acknowledge(B)
    assert made.safe == 0, "a joiner is no member yet"
    made.now += made.settings.readmission_delay_max_s
    made.run()
    assert made.core.manager.in_flight is not None and made.safe == 0, "nor while it is being added"
    made.applied()
    assert made.safe == 1
    made.publish()
    made.acknowledge(B)
    assert made.safe == 2


def test_what_is_pending_ends_in_doubt() -> None:
    made = following(2, B)
    made.core.link_closed(LINKS[B])
    made.publish()
    made.later()
    made.applied()
    made.core.step_down("a test")
    made.run()
    assert made.safe == 0
    assert [type(done).__name__ for done in made.told][-1] == "Doubtful"


def test_an_accept_of_a_pending_publish_does_not_complete_it() -> None:
    """With settle immediate O6 would; but with too few members nothing completes."""
    made = following(2, B, settle=Settle.IMMEDIATE)
    made.publish()
    made.core.dequeue(QUEUE, SequenceSet([1]))
    made.see(A)  # In the same turn.
    assert made.safe == 0
    made.see(A, B)
    assert made.safe == 1


def test_the_completions_go_on_where_they_stopped_in_slices() -> None:
    made = following(2, B)
    made.core.state.settings = replace(made.settings, queues_per_slice=1)
    primary = made.core.primary
    assert primary is not None
    primary.settings = made.core.state.settings
    for _ in range(25):
        made.publish()
    made.see(A)
    assert not made.core.unfinished and made.safe == 0
    primary._acked[B] = primary.position
    made.see(A, B)
    assert made.core.unfinished
    while made.core.unfinished:
        made.run()
    assert made.safe == 25


# --- what counts ---------------------------------------------------------------------------------------


def late(least: int) -> Cluster:
    """Members a, b and c: b has acknowledged everything but the last publish, c has not for too long."""
    made = following(least, B, C)
    made.publish()
    made.acknowledge(B)
    for _ in range(6):
        made.now += 1.0
        made.core.tick(made.now)
    return made


def test_a_removal_in_flight_counts_as_done() -> None:
    """J5: what arrives at the cluster manager late must find that no answer relied on the member."""
    made = late(3)
    made.run()
    assert made.core.manager.in_flight is not None
    refusal(made.core.require_open)
    made.acknowledge(C)
    assert made.safe == 0
    made.see(A, B)
    assert made.safe == 0
    made.see(A, B, C)
    assert made.safe == 1


def test_nothing_completes_together_with_the_request_for_a_removal() -> None:
    """The request is sent before the answers of the same `Ready`: the record may have fewer members by then."""
    made = following(3, B, C)
    made.publish()
    made.acknowledge(C)
    made.publish()
    assert made.core.primary is not None
    for _ in range(5):
        made.now += 1.0
        made.core.tick(made.now)
    made.now += 0.5
    everything = Acknowledged(position=made.core.primary.position)
    made.core.received(LINKS[B], Frame(1, 1, everything), made.now)
    made.core.tick(made.now)  # All have the first publish now; node c does not have the second one.
    ready = made.run()
    assert RemovingMembers(("c",)) in ready.notify
    assert ready.request is not None and ready.complete == []


def test_a_hand_over_in_flight_takes_nobody_away() -> None:
    made = following(2, B)
    made.core.demote()
    made.run()
    assert made.core.manager.in_flight is not None
    made.publish()
    made.acknowledge(B)
    assert made.safe == 1


def test_a_node_with_another_store_is_no_member() -> None:
    """Its addition, in place of the member that it was, removes that one."""
    made = following(2, B)
    reborn = Member("b", UUID(int=99))
    LINKS[reborn] = 3
    made.core.link_closed(LINKS[B])
    made.subscribe(reborn)
    refusal(made.core.require_open)
    made.applied()
    refusal(made.core.require_open)
    made.acknowledge(reborn)
    made.applied()
    made.core.require_open()


# --- what goes on --------------------------------------------------------------------------------------


def test_a_promotion_goes_on_and_its_generation_is_established() -> None:
    """Who follows is told so, whether or not there are enough: nothing completes by it (W2)."""
    made = Cluster(3, A, B)
    made.subscribe(B)
    assert made.core.role is Role.RECOVERING
    made.acknowledge(B)
    assert made.core.role is Role.ACTIVE
    assert (LINKS[B], Established()) in made.sent
    assert made.told == []
    refusal(made.core.require_open)


def test_a_backup_catches_up_and_joins_with_too_few_members() -> None:
    made = Cluster(3, A)
    made.subscribe(B)
    assert any(isinstance(event, PlanEnd) for _, event in made.sent)
    made.acknowledge(B)
    made.applied()
    assert made.core.record is not None and made.core.record.members == {A, B}
    assert made.told == []
    made.subscribe(C)
    made.acknowledge(C)
    made.applied()
    assert any(isinstance(done, Settled) for done in made.told)
    made.core.require_open()


# --- what is said --------------------------------------------------------------------------------------


def test_going_below_and_back_is_said_once_each() -> None:
    made = following(2, B)
    assert made.shortages == []
    made.see(A)
    made.later()
    assert made.shortages == [TooFewMembers(2, ("a",), ("b",))]
    assert made.shortages[0].line == "too few members: 1 of 2 (min_in_sync): a; missing: b"
    made.see(A, B)
    made.later()
    assert made.shortages[1:] == [EnoughMembers()]


def test_another_node_that_is_missing_is_said() -> None:
    made = Cluster(3, A, B)
    assert made.shortages == [TooFewMembers(3, ("a", "b"), ())]
    assert str(refusal(made.core.require_open)) == "2 members (a, b) of 3 (min_in_sync)"
    made.subscribe(C)
    assert made.shortages[1:] == [TooFewMembers(3, ("a", "b"), ("c",))]


def test_the_snapshot_has_the_shortage_and_since_when() -> None:
    made = following(2, B)
    assert (made.core.snapshot().shortage, made.core.snapshot().short_since) == (None, None)
    made.see(A)
    began = made.now
    made.later()
    seen = made.core.snapshot()
    assert seen.shortage is not None and seen.shortage.missing == ("b",)
    assert seen.short_since == began
    made.see(A, B)
    assert made.core.snapshot().short_since is None


def test_a_count_that_is_out_of_date_is_found() -> None:
    made = following(2, B)
    assert made.core.primary is not None
    made.core.primary.minimum.short = True
    with pytest.raises(InvariantError, match="counted"):
        made.core.check()
