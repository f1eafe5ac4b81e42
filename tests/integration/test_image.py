"""What a start has read is freed as it is used, without a collection: a node may freeze what is alive."""

from __future__ import annotations

import gc
from pathlib import Path

from qpidha.stores import SqliteStore
from tests.support.harness import World, run, until


def test_the_image_of_a_store_is_freed_without_a_collection(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = await world.start("a", SqliteStore(tmp_path))
        await a.promote()
        await a.wait_serving()
        await a.declare("q").enqueue_many([b"x"] * 10)
        await world.stop("a")
        store = SqliteStore(tmp_path)
        gc.collect()
        gc.disable()
        try:
            await world.start("a", store)
            await until(lambda: store._images() is None)
        finally:
            gc.enable()

    run(main)
