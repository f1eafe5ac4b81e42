"""A bug inside a node stops the node; it must not stay connected without doing its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha import Role
from qpidha.stores import MemoryStore, SqliteStore
from tests.support.harness import World, run, until


@pytest.mark.parametrize("durable", [False, True])
def test_an_unforeseen_error_in_the_core_stops_the_node(tmp_path: Path, durable: bool) -> None:
    """The error is raised at the end of a turn, or when a transaction has become durable."""

    async def main(world: World) -> None:
        a = await world.start("a", SqliteStore(tmp_path / "a") if durable else MemoryStore())
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"fine")
        settle = a._runtime.replica.primary.settle  # type: ignore[union-attr]

        def fails_when_committing(now: float) -> None:
            settle(now)
            if not durable or (a._parts.engine.driver._waiting is None and queue.depth > 1):
                raise RecursionError("injected")

        a._runtime.replica.primary.settle = fails_when_committing  # type: ignore[union-attr,method-assign]
        queue.enqueue(b"more")
        await until(lambda: a.role is Role.STOPPED, what="stop")
        assert isinstance(a._runtime.store_error, RecursionError)
        await until(lambda: world.brokers["a"].demoted == [1])

    run(main)
