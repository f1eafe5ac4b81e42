"""What a node waits for: its disk before a backup is blamed, a backup, the cluster manager, its broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from qpidha import Settings
from qpidha.node.holds import Hold, holds_of
from qpidha.types import QueueSpec
from tests.support.node_parts import Seat, run


class Around:
    """A node's core, and what the other parts wait for, in seconds; None: for nothing."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.runtime = seat.runtime
        self.engine = seat.engine
        self.cluster = SimpleNamespace(asked_for_s=None)
        self.notifier = SimpleNamespace(promoting_for_s=None)

    @property
    def holds(self) -> list[Hold]:
        return holds_of(self)  # type: ignore[arg-type]


def test_a_node_with_nothing_to_do_waits_for_nothing() -> None:
    async def main() -> None:
        assert Around(Seat().enter()).holds == []
        assert Around(Seat().enter().lead()).holds == []

    run(main())


def test_its_own_disk_is_what_it_waits_for_before_anything_has_left() -> None:
    async def main() -> None:
        around = Around(Seat().enter().lead())
        around.engine.busy_s = 0.5
        assert around.holds == [Hold(kind="disk", node="a", since_s=0.5)]

    run(main())


def test_members_that_have_not_acknowledged_are_named_in_order_with_since_when() -> None:
    async def main() -> None:
        around = Around(Seat().enter().lead(*"gfedcb"))
        around.seat.core.declare(QueueSpec(name="q"))
        around.seat.turn()
        await asyncio.sleep(3)
        about_3_s = pytest.approx(3.0, abs=0.001)
        assert around.holds == [Hold(kind="backup", node=node, since_s=about_3_s) for node in "bcdefg"]

    run(main())


def test_while_a_backup_is_waited_for_the_disk_is_not_blamed() -> None:
    """The oldest operation is on this disk already: a later transaction is not what holds it up."""

    async def main() -> None:
        around = Around(Seat().enter().lead("b"))
        around.seat.core.declare(QueueSpec(name="q"))
        around.seat.turn()
        around.engine.busy_s = 0.5
        assert [hold.kind for hold in around.holds] == ["backup"]

    run(main())


def test_members_that_are_missing_are_named_with_since_when() -> None:
    async def main() -> None:
        seat = Seat(Settings(min_in_sync=3)).enter()
        around = Around(seat.lead())
        assert around.holds == [Hold(kind="members", node="a", since_s=0.0)], "it knows of no other"
        seat.see(1, "a", "a", "b", "c")
        seat.see(1, "a", "a")
        await asyncio.sleep(3)
        about_3_s = pytest.approx(3.0, abs=0.001)
        assert [hold for hold in around.holds if hold.kind == "members"] == [
            Hold(kind="members", node="b", since_s=about_3_s),
            Hold(kind="members", node="c", since_s=about_3_s),
        ]

    run(main())


def test_what_it_waits_for_is_listed_in_order() -> None:
    async def main() -> None:
        around = Around(Seat().enter().lead())
        around.engine.busy_s, around.cluster.asked_for_s, around.notifier.promoting_for_s = 0.0, 2.0, 3.0
        assert around.holds == [
            Hold(kind="disk", node="a", since_s=0.0),
            Hold(kind="manager", node="a", since_s=2.0),
            Hold(kind="broker", node="a", since_s=3.0),
        ]

    run(main())
