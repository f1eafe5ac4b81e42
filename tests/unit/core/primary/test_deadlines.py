"""Time-outs of acknowledgements (J1, L4, T42): they begin when an operation has left, and restart after a pause.

Method: one primary, whose driver commits when the test says so. The test plays the backup. Time is a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.births import born
from qpidha.core.primary.deadlines import allowance_s
from qpidha.core.primary.turn import Turn
from qpidha.core.ready import CompareAndSet, Completion, Notice, Request
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.journal import Change, StoreImage, StoreStatus
from qpidha.types import Member, NodeId, QueueSpec, Record, Versioned
from qpidha.wire.events import (
    Acknowledged,
    Event,
    Frame,
    Hello,
    Operations,
    PlanEnd,
    PlanMessages,
    Progress,
    Subscribe,
    SubscribeQueue,
    Welcome,
)

CLUSTER, BOOT, QUEUE = UUID(int=1), UUID(int=2), born(1, 1)
P, B, C = (Member(name, UUID(int=n)) for n, name in enumerate("PBC", 10))
MIB = 1024 * 1024
SETTINGS = Settings(
    ack_timeout_s=5.0, rejoin_timeout_s=10.0, link_bytes_per_s_min=MIB, heartbeat_interval_s=0.25
)
TICK_S = 0.25


class World:
    """The primary of generation 1, its clock and its disk."""

    def __init__(self, *members: Member, settings: Settings = SETTINGS) -> None:
        self.now = 100.0
        self.sent: list[tuple[int, Event]] = []
        self.requests: list[Request] = []
        self.holds = False
        self.held: list[Done] = []
        image = StoreImage(StoreStatus(node="P", epoch=P.epoch, cluster=CLUSTER, generation=0))
        self.replica = Replica(node="P", boot=BOOT, image=image, settings=settings, now=self.now)
        self.driver = Driver(self.replica, self.commit, self, lambda: self.now)
        record = Record(cluster=CLUSTER, generation=1, primary=("P", BOOT), members=frozenset((P, *members)))
        self.replica.record_seen(Versioned(record, 1), self.now)
        self.driver.run()
        self.links: dict[NodeId, int] = {}

    # --- the driver's side -----------------------------------------------------------------------

    def commit(self, changes: list[Change], done: Done) -> None:
        if self.holds:
            self.held.append(done)
        else:
            done(None)

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self.sent += [(link, frame.event) for link, frame in frames]

    def request(self, request: Request) -> None:
        self.requests.append(request)

    def complete(self, completion: Completion) -> None: ...
    def notify(self, notice: Notice) -> None: ...
    def store_failed(self, error: BaseException) -> None:
        raise AssertionError(error)

    def stall(self) -> None:
        """From now on commits get no answer."""
        self.holds = True

    def recover(self) -> None:
        self.holds = False
        for done in self.held:
            done(None)
        self.held.clear()

    # --- inputs ----------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a tick and a run of the driver at each step."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + TICK_S, until)
            self.replica.tick(self.now)
            self.driver.run()

    def say(self, member: Member, *events: Event, session: int = 1) -> None:
        for event in events:
            frame = Frame(1, 0 if isinstance(event, Hello) else session, event)
            self.replica.received(self.links[member.node], frame, self.now)
        self.driver.run()

    def connect(self, member: Member) -> None:
        link = self.links[member.node] = len(self.links) + 1 + 10 * int(self.now)
        self.replica.link_opened(link)
        hello = Hello(
            version_min=1, version_max=1, cluster=CLUSTER, node=member.node, boot=member.epoch, wanted="P"
        )
        self.say(member, hello)

    def subscribe(self, member: Member, session: int = 1) -> None:
        """Subscribe with an empty store."""
        self.say(
            member,
            Subscribe(epoch=member.epoch, stored_generation=0, queues=0),
            session=session,
        )

    def follow(self, member: Member) -> None:
        """Connect, subscribe and acknowledge the plan, so that the session streams."""
        self.connect(member)
        self.subscribe(member)
        self.acknowledge(member)

    def acknowledge(self, member: Member, session: int = 1) -> None:
        assert self.replica.primary
        position = self.replica.primary.sessions[self.links[member.node]].sent
        self.say(member, Acknowledged(position=position), session=session)

    def heard(self, member: Member, kind: type[Event]) -> list[Event]:
        """The events of this kind that the primary sent to this backup."""
        link = self.links[member.node]
        return [event for to, event in self.sent if to == link and isinstance(event, kind)]

    def declare(self) -> None:
        self.replica.declare(QueueSpec(name="q"))
        self.driver.run()

    def publish(self, size: int = 1) -> None:
        self.replica.enqueue(QUEUE, Batch.pack([bytes(size)]))
        self.driver.run()

    @property
    def removed(self) -> set[NodeId]:
        """The nodes that the primary wants to remove from the record."""
        assert self.replica.record
        known = {m.node for m in self.replica.record.members}
        asked = [r.new.members for r in self.requests if isinstance(r, CompareAndSet)]
        return known - {m.node for m in asked[-1]} if asked else set()


@pytest.fixture
def world() -> World:
    made = World(B)
    made.follow(B)
    made.declare()
    made.acknowledge(B)
    return made


# --- own pauses ----------------------------------------------------------------------------------


def test_a_backup_that_does_not_answer_is_removed(world: World) -> None:
    """The rule to which the other tests show exceptions (J1, L4)."""
    world.publish()
    world.pass_time(5.0)
    assert world.removed == set()
    world.pass_time(0.5)
    assert world.removed == {"B"}


def test_a_stall_of_the_primarys_disk_is_not_counted_against_a_backup(world: World) -> None:
    """The second operation has not left yet: there is nothing to acknowledge."""
    world.stall()
    world.publish()
    world.publish()
    world.pass_time(60.0)
    assert len(world.heard(B, Operations)) == 2, (
        "the declaration, and the one that left while the disk worked"
    )
    world.recover()
    assert len(world.heard(B, Operations)) == 3
    world.pass_time(4.9)
    assert world.removed == set()
    world.acknowledge(B)
    world.pass_time(60.0)
    assert world.removed == set()


def test_after_the_stall_a_backup_has_its_whole_time_and_no_more(world: World) -> None:
    world.stall()
    world.publish()
    world.pass_time(60.0)
    world.recover()
    world.pass_time(5.5)
    assert world.removed == {"B"}


def test_a_backup_that_owed_something_before_the_stall_still_owes_it(world: World) -> None:
    """Its acknowledgement does not need the disk of the primary, whose event loop reads all the time."""
    world.publish()
    world.stall()
    world.publish()
    world.pass_time(6.0)
    world.recover()
    world.pass_time(0.25)
    assert world.removed == {"B"}


def test_an_acknowledgement_during_the_stall_counts(world: World) -> None:
    """It was late at one tick and arrived then: no member is removed for an acknowledgement that has come."""
    world.publish()
    world.stall()
    world.publish()
    world.pass_time(6.0)
    world.acknowledge(B)
    world.recover()
    world.pass_time(0.25)
    assert world.removed == set()


def test_only_tick_finds_late_members(world: World) -> None:
    """The caller of `tick` has read every frame that had arrived. Taking effects finds no member late."""
    world.publish()
    world.pass_time(4.75)
    world.now += 2.0  # The loop was blocked, for less than what counts as a pause …
    world.driver.run()  # … and something runs before the sockets are read.
    assert world.removed == set()
    world.acknowledge(B)
    world.pass_time(1.0)
    assert world.removed == set()


def test_after_a_pause_every_member_gets_a_fresh_time_out(world: World) -> None:
    """T42, whichever call comes first after the pause."""
    for first in ("run", "tick"):
        world.publish()
        world.pass_time(4.0)
        world.now += 60.0
        if first == "run":
            world.driver.run()
        world.pass_time(4.75)
        assert world.removed == set(), first
        world.acknowledge(B)


def test_a_backup_that_waits_for_the_stalled_primary_gets_a_fresh_time_out(world: World) -> None:
    """Its link broke, it came back, and the primary could not even welcome it."""
    world.publish()
    world.replica.link_closed(world.links["B"])
    world.pass_time(1.0)
    world.stall()
    world.publish()
    world.connect(B)
    world.pass_time(7.0)
    assert world.heard(B, Welcome) == []
    world.recover()
    assert world.heard(B, Welcome)
    world.pass_time(4.0)
    assert world.removed == set()
    world.subscribe(B)
    assert world.heard(B, PlanEnd)
    world.acknowledge(B)
    world.pass_time(60.0)
    assert world.removed == set()


def test_a_backup_that_was_kept_waiting_is_removed_if_it_then_stays_away(world: World) -> None:
    """It gets one fresh time-out, not one for each stall, unless it sends something in between."""
    world.publish()
    world.replica.link_closed(world.links["B"])
    world.connect(B)
    for _ in range(3):
        world.stall()
        world.publish()
        world.pass_time(3.0)
        world.recover()
        world.pass_time(0.25)
    assert world.removed == {"B"}


def test_a_backup_kept_waiting_for_a_moment_gets_nothing_more(world: World) -> None:
    """Every commit takes some time. The sum of that must not let a backup block publishers for ever."""
    world.publish()
    world.replica.link_closed(world.links["B"])
    world.connect(B)
    for n in range(4):
        world.stall()
        world.publish()
        world.subscribe(B, session=n + 1)
        world.pass_time(1.25)
        world.recover()
    world.pass_time(0.5)
    assert world.removed == {"B"}


def test_members_that_do_not_come_back_have_the_longer_time_out() -> None:
    """After a promotion, from the moment at which the generation is durable (P4)."""
    world = World(B, C)
    world.follow(C)
    world.pass_time(9.5)
    assert world.removed == set()
    world.pass_time(1.0)
    assert world.removed == {"B"}


# --- bytes under way -----------------------------------------------------------------------------


def test_a_large_message_over_a_slow_link_has_more_time(world: World) -> None:
    """7 MiB over the slowest link that must work, 1 MiB/s here: 7 s more."""
    world.publish(7 * MIB)
    world.pass_time(11.75)
    assert world.removed == set()
    world.pass_time(0.75)
    assert world.removed == {"B"}


def test_a_small_message_behind_large_ones_waits_for_them(world: World) -> None:
    for size in (7 * MIB, 7 * MIB, 1):
        world.publish(size)
    world.pass_time(6.5)
    first = world.heard(B, Operations)[1]
    assert isinstance(first, Operations)
    world.say(B, Acknowledged(position=first.last))
    world.pass_time(12.0)
    assert world.removed == set(), "14 MiB were ahead of the second when it was sent"
    world.pass_time(1.0)
    assert world.removed == {"B"}


def test_bytes_that_were_sent_later_do_not_extend_the_time_out(world: World) -> None:
    """The oldest operation decides, and only what was sent before it is ahead of it."""
    world.publish()
    for _ in range(4):
        world.publish(7 * MIB)
    world.pass_time(5.5)
    assert world.removed == {"B"}


def test_the_bytes_of_a_catch_up_extend_the_time_out(world: World) -> None:
    """Its link broke for a moment, and a message of 7 MiB was published meanwhile."""
    world.replica.link_closed(world.links["B"])
    world.publish(7 * MIB)
    world.follow(B)
    assert world.heard(B, PlanMessages)
    world.replica.link_closed(world.links["B"])
    world.connect(B)
    world.subscribe(B)
    world.pass_time(11.75)
    assert world.removed == set()
    world.say(B, Progress(chunks=1))
    world.acknowledge(B)
    world.pass_time(60.0)
    assert world.removed == set()


def test_a_backup_whose_catch_up_stalls_is_removed(world: World) -> None:
    world.replica.link_closed(world.links["B"])
    world.publish(7 * MIB)
    world.connect(B)
    world.subscribe(B)
    world.pass_time(12.5)
    assert world.removed == {"B"}


def test_a_long_description_of_queues_extends_the_time_out(world: World) -> None:
    """In the other direction: if the queues of a backup have many holes, their description is long."""
    primary = world.replica.primary
    assert primary
    session = primary.sessions[world.links["B"]]
    session.subscribe(2, Subscribe(epoch=B.epoch, stored_generation=1, queues=2))
    ids = SequenceSet(range(1, 2 * 65_536, 2))
    session.subscribe_queue(SubscribeQueue(queue=QUEUE, lineage=((1, 1),), next=200_000, held=ids))
    assert session.bytes_ahead > MIB
    assert SETTINGS.ack_timeout_s < SETTINGS.ack_timeout_s + allowance_s(session.bytes_ahead, SETTINGS) < 7


def test_no_time_out_grows_without_bound() -> None:
    """`Settings.link_bytes_per_s_min` documents the worst case."""
    settings = Settings()
    assert allowance_s(2**50, settings) == 96.0
    assert allowance_s(512 * 1024, settings) == 1.0


def test_only_unacknowledged_operations_have_marks(world: World) -> None:
    """Memory for a time-out is bounded by what is pending, 100 marks for each second of it."""
    primary = world.replica.primary
    assert primary
    for _ in range(100):
        world.publish()
        world.now += 0.001
    assert len(primary.deadlines._left) <= 11
    world.acknowledge(B)
    assert len(primary.deadlines._left) == 0
    world.replica.check()


def test_a_turn_begins_with_the_first_unanswered_request() -> None:
    turn = Turn()
    assert turn.since(5.0) == 5.0, "it waits for nothing"
    turn.asked(6.0)
    turn.asked(7.0)
    assert turn.since(9.0) == 6.0
    turn.answered_since, turn.asked_at = turn.asked_at, None
    turn.asked(8.0)
    assert turn.since(9.0) == 6.0, "the answer is under way, and the next request waits for it"


def test_a_primary_without_backups_waits_for_no_acknowledgement() -> None:
    world = World()
    primary = world.replica.primary
    assert primary
    world.declare()
    for _ in range(3):
        world.publish()
    world.pass_time(60.0)
    assert len(primary.deadlines._left) == 0 and world.requests == []


# --- members that are gone -----------------------------------------------------------------------


def lose(world: World, member: Member) -> None:
    """The link of a backup breaks."""
    world.replica.link_closed(world.links[member.node])
    world.driver.run()


def test_a_member_that_is_gone_is_not_waited_for(world: World) -> None:
    world.publish()
    lose(world, B)
    world.driver.run()
    assert world.removed == set(), "a broken link alone says nothing"
    world.replica.nodes_gone(frozenset("B"))
    world.driver.run()
    assert world.removed == {"B"}


def test_a_member_that_is_gone_and_owes_nothing_stays_a_member_until_it_does(world: World) -> None:
    """It may be back before the next publish, and meanwhile it may be promoted."""
    lose(world, B)
    world.replica.nodes_gone(frozenset("B"))
    world.pass_time(30.0)
    assert world.removed == set()
    world.publish()
    assert world.removed == {"B"}


def test_a_member_that_is_linked_is_not_gone_whatever_is_said(world: World) -> None:
    world.publish()
    world.replica.nodes_gone(frozenset("B"))
    world.pass_time(1.0)
    assert world.removed == set()


def test_a_node_that_is_back_is_waited_for_again(world: World) -> None:
    lose(world, B)
    world.replica.nodes_gone(frozenset("B"))
    world.replica.nodes_gone(frozenset())
    world.publish()
    world.pass_time(1.0)
    assert world.removed == set()


def test_after_a_promotion_the_dead_primary_is_removed_at_once() -> None:
    """What a failover waits for: the first confirmation needs every member (P4)."""
    world = World(B, C)
    world.follow(B)
    assert world.removed == set(), "rejoin_timeout_s has not passed"
    world.replica.nodes_gone(frozenset("C"))
    world.driver.run()
    assert world.removed == {"C"}
