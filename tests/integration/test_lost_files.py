"""A node whose files are removed confirms nothing more and stops with a reason, busy or idle."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from qpidha import InDoubt, Node
from qpidha.errors import CallerError
from qpidha.stores import SqliteStore
from qpidha.types import Role
from tests.support.harness import World, until


async def primary(world: World, directory: Path) -> Node:
    node = await world.start("a", SqliteStore(directory))
    await node.promote()
    return node


def test_an_idle_node_notices(tmp_path: Path) -> None:
    """Without publishes, the heartbeat checks the files."""

    async def main() -> None:
        async with World() as world:
            node = await primary(world, tmp_path / "store")
            await node.declare("q").enqueue(b"kept")
            shutil.rmtree(tmp_path / "store")
            await until(lambda: node._runtime.store_error is not None)
            assert "was removed while the node used it" in str(node._runtime.store_error)
            await until(lambda: node._runtime.replica.stopped and node.role is not Role.ACTIVE)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "lock"])
def test_the_next_publish_is_not_confirmed(tmp_path: Path, name: str) -> None:
    """The file is removed in the same turn as the publish, before the next heartbeat."""

    async def main() -> None:
        async with World() as world:
            node = await primary(world, tmp_path / "store")
            queue = node.declare("q")
            await queue.enqueue(b"kept")
            (tmp_path / "store" / name).unlink()
            op = queue.enqueue(b"lost with the file")
            with pytest.raises(InDoubt):
                await op
            assert f"{name} was removed while the node used it" in str(node._runtime.store_error)
            with pytest.raises(CallerError):
                await node.declare("r").enqueue(b"more")

    asyncio.run(main())


def test_an_unexpected_error_of_the_check_stops_the_node_too(tmp_path: Path) -> None:
    """An unexpected error from the store's file check stops the node, like a failed disk."""

    class Breaks(SqliteStore):
        broken = False

        def verify_files(self) -> None:
            if self.broken:
                raise ZeroDivisionError
            super().verify_files()

    async def main() -> None:
        async with World() as world:
            store = Breaks(tmp_path / "store")
            node = await world.start("a", store)
            await node.promote()
            store.broken = True
            await until(lambda: node._runtime.store_error is not None)
            assert "the store raised ZeroDivisionError()" in str(node._runtime.store_error)

    asyncio.run(main())
