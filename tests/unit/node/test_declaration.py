"""Declaring a queue makes it once, on the primary, and never returns one of another kind."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, NotPrimary, QueueMismatch, Settle
from tests.support.harness import World, run


def test_a_queue_is_made_once_and_can_be_used_at_once() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        assert a.declare("q") is queue
        receipt = await queue.enqueue(b"x")
        assert receipt.nodes == {"a"}

    run(main)


def test_one_of_another_kind_is_refused_with_both_values() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        a.declare("q", settle=Settle.REPLICATED)
        with pytest.raises(QueueMismatch, match=r"REPLICATED.*IMMEDIATE"):
            a.declare("q", settle=Settle.IMMEDIATE)

    run(main)


def test_a_backup_declares_nothing_and_a_wrong_name_changes_nothing() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        with pytest.raises(NotPrimary):
            b.declare("q")
        with pytest.raises(ArgumentError):
            a.declare("")
        assert a.queues == []

    run(main)
