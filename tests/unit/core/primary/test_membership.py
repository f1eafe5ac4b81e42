"""Which nodes must acknowledge, and when the record has to change (J1–J3, L4, T44)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Settings
from qpidha.core.configuration import SPEC
from qpidha.core.keyed import KeyedQueue
from qpidha.core.legality import SessionState
from qpidha.core.local import LocalQueues
from qpidha.core.manager import Manager
from qpidha.core.outbox import Outbox
from qpidha.core.primary.membership import Joining, Membership
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import BackupSession
from qpidha.core.queues import Queues
from qpidha.types import Member, Record
from qpidha.wire.events import PlanEnd, Subscribe

SETTINGS = Settings(readmission_delay_s=1.0, readmission_delay_max_s=3.0)
P, B1, B2 = (Member(name, UUID(int=n)) for n, name in enumerate(("P", "B1", "B2"), 1))
NEVER = frozenset[Member]()
OBJECTS = KeyedQueue(UUID(int=99), SPEC, ((1, 1),), 1)


def record(*members: Member) -> Record:
    return Record(cluster=UUID(int=9), generation=1, primary=("P", UUID(int=8)), members=frozenset(members))


def session(member: Member, *, sid: int = 1, plan: int = 5, acked: int = 5) -> BackupSession:
    """A session whose plan ended at ``plan`` and whose backup acknowledged up to ``acked``."""
    made = BackupSession(1, member.node, UUID(int=7), SETTINGS)
    made.subscribe(sid, Subscribe(epoch=member.epoch, stored_generation=0, queues=0))
    assert isinstance(list(made.catch_up({}, plan))[-1], PlanEnd)
    if acked:
        made.sent = max(plan, acked)
        made.acknowledged(acked)
    return made


@pytest.fixture
def membership() -> Membership:
    return Membership("P", frozenset({P, B1}), SETTINGS)


def test_completions_wait_for_a_member_until_the_record_drops_it(membership: Membership) -> None:
    change = membership.removal(record(P, B1), frozenset({B1}), [], 0.0)
    assert change is not None
    assert change.members == {P}
    assert membership.required == {B1}, "asked for is not done (J1)"
    membership.recorded(change.members, settled=True)
    assert membership.required == set()


def test_a_member_with_another_store_is_removed_at_once(membership: Membership) -> None:
    reborn = session(Member("B1", UUID(int=77)))
    change = membership.removal(record(P, B1), NEVER, [reborn], 0.0)
    assert change is not None
    assert change.members == {P}


def test_completions_wait_for_a_joiner_before_it_is_proposed(membership: Membership) -> None:
    """J2: (a) counted from t0, (b) proposed once it acknowledged what was sent by then."""
    joiner = session(B2, plan=5, acked=5)
    assert membership.addition(record(P, B1), [joiner], 8, 0.0) is None
    assert B2 in membership.required
    joiner.sent = 9
    joiner.acknowledged(7)
    assert membership.addition(record(P, B1), [joiner], 9, 0.0) is None
    joiner.acknowledged(8)
    change = membership.addition(record(P, B1), [joiner], 9, 0.0)
    assert change is not None
    assert change.members == {P, B1, B2}


def test_a_backup_that_did_not_flip_does_not_join(membership: Membership) -> None:
    assert membership.addition(record(P, B1), [session(B2, acked=0)], 5, 0.0) is None
    assert membership.joining is None


def test_a_disconnect_ends_a_joining_only_before_it_was_proposed(membership: Membership) -> None:
    joiner = session(B2)
    membership.addition(record(P, B1), [joiner], 8, 0.0)
    membership.session_over("B2", joiner.sid)
    assert membership.joining is None
    assert membership.addition(record(P, B1), [joiner], 5, 0.0) is not None
    membership.session_over("B2", joiner.sid)
    membership.give_up_joining(frozenset({B2}), 0.0)
    assert B2 in membership.required, "its compare-and-set was sent (J2c)"
    membership.recorded(frozenset({P, B1}), settled=False)
    assert B2 in membership.required, "in doubt (M3)"
    membership.recorded(frozenset({P, B1}), settled=True)
    assert B2 not in membership.required


def test_another_session_of_the_joiner_does_not_count(membership: Membership) -> None:
    membership.addition(record(P, B1), [session(B2, sid=1)], 8, 0.0)
    again = session(B2, sid=2, plan=9, acked=9)
    assert membership.addition(record(P, B1), [again], 9, 0.0) is None


def test_a_node_that_flaps_waits_longer_each_time(membership: Membership) -> None:
    now = 0.0
    for wait_s in (1.0, 2.0, 3.0, 3.0):
        membership.removal(record(P, B1), frozenset({B1}), [], now)
        now += wait_s
        assert membership.addition(record(P), [session(B1)], 5, now - 0.01) is None
        assert membership.joining is None
    assert membership.addition(record(P), [session(B1)], 5, now) is not None


def test_a_joiner_that_stalls_does_not_block_publishers(membership: Membership) -> None:
    membership.addition(record(P, B1), [session(B2)], 8, 0.0)
    membership.give_up_joining(frozenset({B2}), 0.0)
    assert B2 not in membership.required
    assert membership.addition(record(P, B1), [session(B2)], 8, 0.9) is None
    assert membership.joining is None
    membership.addition(record(P, B1), [session(B2)], 8, 1.0)
    assert membership.joining is not None


def test_it_is_reported_whether_an_acknowledgement_completes_anything() -> None:
    """The driver need not run for the first of two acknowledgements: only the last one completes something."""
    membership = Membership("P", frozenset({P, B1, B2}), SETTINGS)
    manager = Manager(UUID(int=8), 0.1)
    primary = Primary(
        generation=1,
        membership=membership,
        manager=manager,
        queues={},
        outbox=Outbox(),
        settings=SETTINGS,
        configuration=OBJECTS,
        local=LocalQueues(Queues().make),
    )
    first, last = session(B1, plan=1, acked=0), session(B2, plan=1, acked=0)
    assert primary.backup_acknowledged(first, 1), (
        "it has flipped: it may be told that the history is established"
    )
    assert primary.backup_acknowledged(last, 1)
    primary.settle(0.0)
    assert primary.established
    for each in (first, last):
        each.sent = primary.position = 3
    assert not primary.backup_acknowledged(first, 2), "the other one has not got it"
    assert not primary.backup_acknowledged(first, 3)
    assert primary.backup_acknowledged(last, 2)
    primary.settle(0.0)
    assert primary.safe == 2
    membership.joining = Joining(Member("B3", UUID(int=4)), sid=1, target=3)
    assert primary.backup_acknowledged(first, 3), "it may be what the joining waits for"


def test_a_backup_that_fell_behind_is_not_chosen_as_joiner(membership: Membership) -> None:
    """It will subscribe again: publishers need not wait for that."""
    behind = session(B2)
    behind.state = SessionState.LAGGING
    assert membership.addition(record(P, B1), [behind], 9, 0.0) is None
    assert membership.joining is None
