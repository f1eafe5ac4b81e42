"""How far operations may complete while a backup catches up: in proportion to what it has staged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast
from uuid import UUID

import pytest

from qpidha import Batch, Settings
from qpidha.core.legality import SessionState
from qpidha.core.outbox import Outbox
from qpidha.core.primary.pace import LOOK_PER_QUEUE_S, LOOK_S, QUIET_S, SHARE_MIN, Pace, Slowdown
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import FullSpeed, Safe
from qpidha.errors import InvariantError
from qpidha.events import PublishersSlowed
from qpidha.types import Member
from qpidha.wire.events import Progress, Subscribe
from tests.support.cores import HELLO, PEER, QUEUE, SETTINGS, Node

IN_TIME = Settings(
    catch_up_time_max_s=10.0, window_bytes_max=40_000, ack_timeout_s=5.0, link_bytes_per_s_min=100
)
LATE = replace(IN_TIME, catch_up_time_max_s=0.001)
"""There is no time left from the beginning: operations get the least share."""
LOWEST = 10**6
"""Every operation is safe."""


@dataclass
class Backup:
    """A backup's session, as far as `Pace` looks at it."""

    node: str
    sid: int = 1
    state: SessionState = SessionState.CATCHING_UP
    flipped: bool = False
    held_up: bool = True
    staged_bytes: int = 0
    left: int = 0
    described: int = 0
    looks: int = 0

    def left_bytes(self, queues: object) -> int:
        self.looks += 1
        return self.left


@dataclass
class Primary:
    """Operations of so many bytes each, and the backups that catch up."""

    settings: Settings = LATE
    sessions: dict[int, Backup] = field(default_factory=dict)
    now: float = 1.0
    position: int = 1

    def __post_init__(self) -> None:
        self.outbox = Outbox()
        self.pace = Pace(self.settings, cast("dict[int, BackupSession]", self.sessions), self.outbox)

    def joins(self, name: str = "c") -> Backup:
        """A backup catches up, and as many bytes are under way to it as may be."""
        backup = self.sessions[len(self.sessions)] = Backup(name)
        self.look(0)
        return backup

    def look(self, after_s: float = 0.01) -> None:
        self.now += after_s
        self.pace.look(self.now, {})
        self.pace.check()

    def make(self, *sizes: int) -> None:
        """One frame of one operation for each size."""
        for size in sizes:
            self.pace.made(self.position, size)
            self.position += 1

    def upto(self, lowest: int = LOWEST) -> int:
        found = self.pace.upto(lowest)
        self.pace.check()
        return found

    @property
    def told(self) -> list[object]:
        return self.outbox.take().notify


def test_without_a_backup_that_catches_up_everything_completes() -> None:
    primary = Primary()
    primary.make(1000, 1000)
    primary.look()
    assert primary.upto() == LOWEST
    assert primary.told == []


@pytest.mark.parametrize("state", [SessionState.SUBSCRIBING, SessionState.CATCHING_UP])
def test_a_copy_that_does_not_wait_for_the_backup_slows_nobody(state: SessionState) -> None:
    """It copies as fast as this node can: publishers do not outrun it."""
    primary = Primary(sessions={1: Backup("c", state=state, held_up=False)})
    primary.look()
    primary.make(1000)
    primary.look()
    assert primary.upto() == LOWEST


def test_without_the_setting_nobody_is_slowed() -> None:
    primary = Primary(replace(LATE, catch_up_time_max_s=None))
    primary.joins()
    primary.make(1000)
    assert primary.upto() == LOWEST
    assert (primary.told, list(primary.pace.slowdowns())) == ([], [])


def test_what_was_made_before_completes_and_the_rest_in_proportion_to_the_copy() -> None:
    primary = Primary()
    primary.make(1000)
    backup = primary.joins()
    primary.make(100, 100, 100)  # At positions 3, 4 and 5.
    assert primary.upto() == 2
    backup.staged_bytes = 399
    primary.look()
    assert primary.upto() == 2
    backup.staged_bytes = 400
    primary.look()
    assert primary.upto() == 3
    backup.staged_bytes = 1200
    primary.look()
    assert primary.upto() == LOWEST, "nothing is held back"


def test_what_is_not_safe_does_not_complete_for_that() -> None:
    primary = Primary()
    primary.joins()
    primary.make(100, 100)
    assert primary.upto(lowest=1) == 1
    assert primary.told == [], "this holds nothing back"
    assert primary.upto(lowest=2) == 1
    assert primary.told == [PublishersSlowed(("c",))]


def test_publishers_get_what_the_copy_can_spare() -> None:
    """Just enough: 9,000 bytes can be copied in the 9 s that are left, and 4,500 are to be copied."""
    primary = Primary(IN_TIME)
    backup = primary.joins()
    backup.staged_bytes, backup.left = 1000, 4500
    primary.look(1.0)  # Until here it was the least share.
    primary.make(10**6)
    assert primary.upto() == 1
    (slowed,) = primary.pace.slowdowns()
    assert slowed == Slowdown("c", since=1.0, bytes_per_s=500, staged_bytes=1000, left_bytes=4500)


@pytest.mark.parametrize(
    ("left", "after_s", "share"),
    [(0, 1.0, 1.0), (900, 1.0, 0.9), (9000, 1.0, SHARE_MIN), (10**6, 1.0, SHARE_MIN), (0, 10.0, SHARE_MIN)],
)
def test_the_share_is_between_all_and_the_least(left: int, after_s: float, share: float) -> None:
    primary = Primary(IN_TIME)
    backup = primary.joins()
    backup.staged_bytes, backup.left = int(1000 * after_s), left
    primary.look(after_s)
    primary.make(10**6)
    primary.upto()
    (slowed,) = primary.pace.slowdowns()
    assert slowed.bytes_per_s == 1000 * share


def test_a_backup_that_has_staged_nothing_leaves_the_least_share() -> None:
    primary = Primary(IN_TIME)
    backup = primary.joins()
    backup.left = 10
    primary.look(1.0)
    backup.staged_bytes = 400
    primary.make(90, 90)
    primary.look()
    allowed = SHARE_MIN * (400 + IN_TIME.link_bytes_per_s_min * 1.0)
    assert 90 < allowed < 180
    assert primary.upto() == 2


def test_while_it_stages_nothing_operations_complete_at_a_share_of_its_rate() -> None:
    """Such as while it makes what it staged durable: publishers are never stopped."""
    primary = Primary()
    backup = primary.joins()
    backup.staged_bytes = 4000
    primary.look(1.0)
    backup.state = SessionState.STREAMING
    primary.make(1000, 500)
    primary.look(QUIET_S)
    assert primary.upto() == 2, "it is not quiet yet"
    for _ in range(10):
        primary.look(0.1)
    assert primary.upto() == LOWEST, "4,000 bytes in 1 to 2.1 s: more than 500 of them in the last"


def test_a_backup_counts_as_one_with_the_slowest_link_that_must_work_at_least() -> None:
    primary = Primary()
    primary.joins()
    primary.make(25)
    primary.look(0.9)
    assert primary.upto() == 1
    primary.look(0.1)
    assert primary.upto() == LOWEST


def test_what_publishers_do_not_use_lapses() -> None:
    """Otherwise a backup that came while publishers were silent would be outrun later."""
    primary = Primary()
    backup = primary.joins()
    backup.staged_bytes = 10**9
    primary.look()
    most = LATE.window_bytes_max // 4
    primary.make(most, 1)
    assert primary.upto() == 2


def test_a_backup_without_progress_is_not_waited_for() -> None:
    primary = Primary()
    backup = primary.joins()
    primary.make(10**6)
    assert primary.upto() == 1
    assert primary.told == [PublishersSlowed(("c",))]
    primary.look(LATE.ack_timeout_s)
    assert primary.upto() == 1
    primary.look(0.1)
    assert primary.upto() == LOWEST
    assert primary.told == [FullSpeed()]
    backup.staged_bytes = 100
    primary.look()
    primary.make(10**6)
    assert primary.upto() == 2
    assert primary.told == [PublishersSlowed(("c",))]


@pytest.mark.parametrize("how", ["follows", "gone"])
def test_once_it_follows_or_is_gone_everything_completes(how: str) -> None:
    primary = Primary()
    backup = primary.joins()
    primary.make(1000)
    assert primary.upto() == 1
    if how == "gone":
        primary.sessions.clear()
    else:
        backup.state = SessionState.STREAMING
        primary.look()
        assert primary.upto() == 1, "it has not flipped yet"
        backup.flipped = True
    primary.look()
    assert primary.upto() == LOWEST
    assert primary.told == [PublishersSlowed(("c",)), FullSpeed()]
    assert list(primary.pace.slowdowns()) == []


def test_a_backup_that_lags_still_catches_up_and_its_sessions_add_up() -> None:
    """C7: it is told to subscribe again, and then there is more to copy."""
    primary = Primary()
    backup = primary.joins()
    backup.staged_bytes = 1000
    primary.look(0.5)
    backup.state, backup.flipped = SessionState.LAGGING, True
    primary.look(0.5)
    backup.state, backup.flipped, backup.sid, backup.staged_bytes = SessionState.CATCHING_UP, False, 2, 600
    primary.look(0.5)
    primary.make(10**6)
    assert primary.upto() == 1
    (slowed,) = primary.pace.slowdowns()
    assert (slowed.since, slowed.staged_bytes) == (1.0, 1600)


def test_a_new_session_is_progress() -> None:
    primary = Primary()
    backup = primary.joins()
    primary.look(LATE.ack_timeout_s - 1)
    backup.sid = 2
    primary.look(1.5)
    primary.make(10**6)
    assert primary.upto() == 1


def test_of_several_backups_the_slowest_counts_and_all_are_named() -> None:
    primary = Primary()
    quick, slow = primary.joins("d"), primary.joins("c")
    primary.make(100, 100)
    quick.staged_bytes, slow.staged_bytes = 10_000, 400
    primary.look()
    assert primary.upto() == 2
    assert [slowed.backup for slowed in primary.pace.slowdowns()] == ["c", "d"]
    primary.make(100)
    slow.flipped, slow.state = True, SessionState.STREAMING
    primary.look()
    assert primary.upto() == LOWEST
    primary.make(10**6)
    assert primary.upto() == 4
    told = primary.told
    assert told == [PublishersSlowed(("c", "d")), PublishersSlowed(("d",))]
    assert [notice.line for notice in told if isinstance(notice, PublishersSlowed)] == [
        "publishers slowed: while c, d catch up",
        "publishers slowed: while d catches up",
    ]


def test_what_is_left_is_not_computed_at_each_step() -> None:
    """It visits every queue that is still to be copied."""
    primary = Primary(IN_TIME)
    backup = primary.joins()
    for _ in range(10):
        primary.look(LOOK_S / 4)
    assert backup.looks == 2, "the first of ten, and one later"
    backup.described = 1000
    primary.look(1000 * LOOK_PER_QUEUE_S - LOOK_S)
    assert backup.looks == 2
    primary.look(LOOK_S)
    assert backup.looks == 3


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda pace: pace._held.extend([(2, 1), (1, 2)]), "do not ascend"),
        (lambda pace: setattr(pace, "_waited_for", frozenset("x")), "does not catch up"),
        (lambda pace: setattr(pace, "_told", frozenset("x")), "slowed for no backup"),
    ],
)
def test_check_finds_what_is_wrong(spoil: object, why: str) -> None:
    primary = Primary()
    primary.joins()
    assert callable(spoil)
    spoil(primary.pace)
    with pytest.raises(InvariantError, match=why):
        primary.pace.check()


# --- in a whole core -----------------------------------------------------------------------------

NEWCOMER = Member("new", UUID(int=0xEE))
NEW_LINK = 9
DATA = Batch.pack([b"x" * 100])


def busy(catch_up_time_max_s: float | None) -> Node:
    """A primary with one member that follows, and an empty backup whose copy has to wait for it."""
    settings = replace(SETTINGS, catch_up_time_max_s=catch_up_time_max_s, link_bytes_per_s_min=1)
    node = Node(settings).promoted().subscribed().acknowledge(1)
    publish(node, 6)
    node.replica.link_opened(NEW_LINK)
    node.say(replace(HELLO, node="new", boot=UUID(int=0xEF)), session=0, link=NEW_LINK)
    node.say(Subscribe(epoch=NEWCOMER.epoch, stored_generation=0, queues=0), link=NEW_LINK)
    return node.forget()


def publish(node: Node, count: int) -> None:
    """Publish; the member acknowledges at once."""
    primary = node.replica.primary
    assert primary is not None
    for _ in range(count):
        node.replica.enqueue(QUEUE, DATA)
        node.perform()
        node.acknowledge(primary.position)


def confirmed(node: Node) -> int:
    return max((done.upto for done in node.completed if isinstance(done, Safe)), default=0)


def test_operations_that_are_safe_complete_with_the_progress_of_a_newcomer() -> None:
    node = busy(0.001)
    before = node.replica.queues[QUEUE].next - 1
    publish(node, 3)
    assert confirmed(node) < before + 3
    held = node.replica.snapshot()
    assert [slowed.backup for slowed in held.slowdowns] == ["new"]
    assert held.safe < held.position
    assert (held.waiting_for, PublishersSlowed(("new",)) in node.notices) == (frozenset(), True)
    staged = 0
    while "new" in {slowed.backup for slowed in node.replica.snapshot().slowdowns}:
        staged += 1
        node.say(Progress(chunks=staged), link=NEW_LINK)
        node.replica.check()
    assert PEER.node in {member.node for member in held.members}
    node.perform()
    assert confirmed(node) == before + 3
    assert FullSpeed() in node.notices


def test_without_the_setting_operations_complete_at_once() -> None:
    node = busy(None)
    publish(node, 3)
    assert confirmed(node) == node.replica.queues[QUEUE].next - 1
    assert node.replica.snapshot().slowdowns == ()


def test_what_is_left_is_estimated_by_the_average_size() -> None:
    node = busy(0.001)
    primary = node.replica.primary
    assert primary is not None
    session = primary.sessions[NEW_LINK]
    everything = sum(queue.bytes for queue in primary.queues.values())
    left = session.left_bytes(primary.queues)
    assert session.held_up
    assert 0 < left < everything
    node.say(Progress(chunks=1), link=NEW_LINK)
    assert session.staged_bytes > 0
    assert session.left_bytes(primary.queues) < left
    assert session.left_bytes({}) == 0, "the queues were deleted since"
