"""What a node does while it runs besides its content. `test_node` has the waits, the roles and their refusals."""

from __future__ import annotations

import asyncio

from qpidha import Node, Role
from qpidha.node.participant import Participant
from tests.support.harness import World, run


def test_a_node_is_one_that_can_be_made_and_started() -> None:
    assert issubclass(Node, Participant)
    added = {name for name in vars(Node) if not name.startswith("_")}
    assert added == {"start", "sync"}


def test_it_waits_for_its_end_and_says_why() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        waiting = asyncio.create_task(a.wait_stopped())
        await asyncio.sleep(0)
        assert not waiting.done()
        await a.stop()
        assert (await waiting).reason == "it was asked to stop"
        assert a.role is Role.STOPPED

    run(main)
