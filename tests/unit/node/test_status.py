"""A status describes every part of a node as plain data, and lists at most as many queues as were asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from qpidha import Batch, Settings
from qpidha.core.births import born
from qpidha.durations import Durations
from qpidha.errors import NotEnoughMembers, StoreFailed
from qpidha.events import PlaceGivenUp, TooFewMembers, TroubleOver
from qpidha.node.holds import Hold
from qpidha.node.queue import Queue
from qpidha.node.status import CatchUpStatus, NodeStatus, QueueStatus, SessionStatus, status_of
from qpidha.types import QueueSpec
from qpidha.wire.events import Frame, Hello, Subscribe
from tests.support.node_parts import CLIENTS, CLUSTER, Seat, member, run

QUEUES = [born(1, n) for n in (1, 2, 3)]


class Around:
    """A node's seat, and what its other parts say."""

    def __init__(self, seat: Seat | None = None) -> None:
        self.seat = seat or Seat().enter()
        self.runtime, self.engine, self.handles = self.seat.runtime, self.seat.engine, self.seat.handles
        self.live = ["a"]
        self.links = SimpleNamespace(addresses=(("127.0.0.1", 5671),), certificate_days_left=None)
        self.place = SimpleNamespace(why_not=None)
        self.cluster = SimpleNamespace(asked_for_s=None, answers=Durations())
        self.notifier = SimpleNamespace(phase="standby", since=0.0, error=None, promoting_for_s=None)

    def status(self, queues_max: int | None = None) -> NodeStatus:
        return status_of(self, queues_max)  # type: ignore[arg-type]

    def declare(self, count: int) -> list[Queue]:
        for n in range(count):
            self.seat.core.declare(QueueSpec(name=f"q{n + 1}"))
        self.seat.turn()
        return [self.handles.of(id) for id in QUEUES[:count]]


def test_a_node_that_has_not_started_says_that_it_is_stopped() -> None:
    status = Around(Seat()).status()
    assert (status.node, status.role, status.primary, status.members) == ("a", "stopped", None, [])
    assert (status.broker, status.broker_since_s) == ("standby", 0.0)
    assert status.epoch == str(member("a").epoch) and status.cluster == str(CLUSTER)


def test_a_node_without_a_cluster_names_none() -> None:
    seat = Seat()
    seat.core.state.cluster = None
    assert Around(seat).status().cluster is None


def test_a_primary_says_who_is_a_member_and_for_whom_it_waits() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead("b")
        (queue,) = around.declare(1)
        queue.enqueue(b"1")
        around.seat.turn()
        status = around.status()
        assert (status.role, status.generation, status.in_sync) == ("recovering", 1, True)
        assert (status.primary, status.members) == ("a", ["a", "b"])
        assert (status.waiting_for, [hold.kind for hold in status.held_by]) == (["b"], ["backup"])
        assert status.position > status.safe
        around.seat.see(1, "a", "a")
        status = around.status()
        assert (status.role, status.waiting_for, status.held_by) == ("active", [], [])
        assert status.position == status.safe > 0

    run(main())


def test_a_primary_with_too_few_members_says_so_as_a_trouble_too() -> None:
    async def main() -> None:
        around = Around(Seat(Settings(min_in_sync=2)).enter())
        around.seat.lead("b")
        (queue,) = around.declare(1)
        status = around.status()
        assert (status.min_in_sync, status.below_min_in_sync, status.missing) == (2, False, [])
        around.seat.see(1, "a", "a")
        status = around.status()
        assert (status.below_min_in_sync, status.missing) == (True, ["b"])
        assert [trouble.cause for trouble in status.troubles] == ["too few members"]
        assert TooFewMembers(2, ("a",), ("b",)) in around.seat.told
        with pytest.raises(NotEnoughMembers, match="missing: b"):
            queue.enqueue(b"1")
        around.seat.see(1, "a", "a", "b")
        status = around.status()
        assert (status.below_min_in_sync, status.missing, status.troubles) == (False, [], [])
        assert isinstance(around.seat.told[-1], TroubleOver)
        queue.enqueue(b"1")

    run(main())


def test_the_end_of_the_role_ends_the_trouble() -> None:
    async def main() -> None:
        around = Around(Seat(Settings(min_in_sync=2)).enter())
        around.seat.lead()
        assert [trouble.cause for trouble in around.status().troubles] == ["too few members"]
        around.seat.see(2, "b", "b")
        status = around.status()
        assert (status.troubles, status.below_min_in_sync) == ([], False)

    run(main())


def test_a_backup_names_its_primary_and_where_clients_find_it() -> None:
    async def main() -> None:
        around = Around()
        around.seat.see(1, "b", "a", "b")
        status = around.status()
        assert (status.role, status.primary, status.in_sync) == ("joining", "b", True)
        assert (status.client_address, status.primary_client_address) == (
            CLIENTS,
            ("127.0.0.1", 5000 + ord("b")),
        )

    run(main())


def test_each_backup_that_subscribed_has_a_row() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead("b")
        around.declare(1)
        core = around.seat.core
        boot = UUID(int=9)
        hello = Hello(version_min=1, version_max=1, cluster=CLUSTER, node="b", boot=boot, wanted="a")
        core.link_opened(4)
        core.received(4, Frame(0, 0, hello), around.runtime.now())
        around.seat.turn()
        assert around.status().sessions == [], "it has not subscribed yet"
        subscribe = Subscribe(epoch=member("b").epoch, stored_generation=0, queues=0)
        core.received(4, Frame(1, 1, subscribe), around.runtime.now())
        around.seat.turn()
        (session,) = around.status().sessions
        assert session == SessionStatus(
            node="b",
            member=True,
            state=session.state,
            behind=core.snapshot().position,
            window_bytes=session.window_bytes,
            resync_messages=1,
            resync_bytes=session.resync_bytes,
            catch_up=CatchUpStatus(
                since_s=0.0, copied_messages=1, copied_bytes=session.resync_bytes, left_bytes=0, left_s=0.0
            ),
        )
        assert session.state == session.state.lower()

    run(main())


# --- queues --------------------------------------------------------------------------------------


def test_a_queue_counts_what_was_published_in_this_turn_as_well() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead("b")
        (queue,) = around.declare(1)
        queue.enqueue_many(Batch.pack([b"1", b"2"]))
        around.seat.turn()
        queue.enqueue(b"3")
        assert around.status().queues == [
            QueueStatus(name="q1", id=str(QUEUES[0]), depth=3, bytes=queue.nbytes, next_id=4, pending=3)
        ]
        around.seat.see(1, "a", "a")
        around.seat.turn()
        assert around.status().queues[0].pending == 0

    run(main())


def test_on_a_backup_nothing_is_pending() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead("b")
        (queue,) = around.declare(1)
        queue.enqueue(b"1")
        around.seat.turn()
        around.seat.see(2, "b", "a", "b")
        assert around.handles.made(QUEUES[0]) is queue and queue.pending == 1
        assert around.status().queues[0].pending == 0

    run(main())


def test_a_status_names_as_many_queues_as_were_asked_for_and_counts_all() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead()
        around.declare(3)
        around.handles.new_term()
        assert [q.name for q in around.status(2).queues] == ["q1", "q2"]
        assert (around.status(0).queues, around.status(0).queue_count) == ([], 3)
        assert len(around.status().queues) == 3
        assert around.handles.all_made() == [], "a status makes no handle"

    run(main())


# --- what is wrong -------------------------------------------------------------------------------


def test_troubles_are_listed_with_their_reasons() -> None:
    async def main() -> None:
        around = Around()
        around.runtime.troubles.report(PlaceGivenUp("its disk does not answer"))
        around.runtime.store_error = StoreFailed("disk full")
        around.runtime.stop_reason = "failed: disk full"
        around.place.why_not = "its disk does not answer"
        around.links.certificate_days_left = -1.5
        status = around.status()
        assert [(t.cause, t.text) for t in status.troubles] == [
            ("place given up", "its disk does not answer")
        ]
        assert (status.store_error, status.stopped) == ("disk full", "failed: disk full")
        assert (status.place_given_up, status.certificate_days_left) == ("its disk does not answer", -1.5)

    run(main())


def test_it_says_what_the_broker_does_and_since_when() -> None:
    async def main() -> None:
        around = Around()
        around.notifier = SimpleNamespace(
            phase="promoting", since=around.runtime.now() - 3.0, error="on_demote failed", promoting_for_s=2.5
        )
        status = around.status()
        assert (status.broker, status.broker_error) == ("promoting", "on_demote failed")
        assert status.broker_since_s == 3.0
        assert status.held_by == [Hold(kind="broker", node="a", since_s=2.5)]

    run(main())


def test_stalls_of_the_loop_are_rounded_to_milliseconds() -> None:
    async def main() -> None:
        around = Around()
        around.runtime.stalls.saw(0.12345)
        status = around.status()
        assert (status.loop_stall_worst_s, status.loop_stall_recent_s) == (0.123, 0.123)

    run(main())


# --- its form ------------------------------------------------------------------------------------


def test_a_status_is_plain_data_that_does_not_change_later() -> None:
    async def main() -> None:
        around = Around()
        around.seat.lead("b")
        (queue,) = around.declare(1)
        queue.enqueue(b"1")
        status = around.status()
        before = replace(status)
        written = json.loads(json.dumps(status.to_dict()))
        assert (written["node"], written["queues"][0]["depth"]) == ("a", 1)
        assert written["held_by"][0]["kind"] == "backup"
        queue.enqueue(b"2")
        around.seat.turn()
        assert status == before

    run(main())
