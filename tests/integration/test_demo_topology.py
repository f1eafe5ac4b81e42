"""The changes of the demo on a running node: the model and the example broker agree on what each of them does."""

from __future__ import annotations

import msgpack
import pytest

from qpidha import Node
from qpidha.demo.examples import find
from qpidha.demo.topology import Model, differences
from qpidha.demo.traffic import load_module
from tests.support.harness import World, run

STREAM = "work"
CHANGES = 150


async def primary(world: World) -> Node:
    node = await world.start("a")
    await node.promote()
    await node.wait_serving()
    node.declare(STREAM)
    return node


@pytest.mark.parametrize("seed", range(3))
def test_the_broker_has_what_the_model_has(seed: int) -> None:
    async def main(world: World) -> None:
        topology = load_module(find(None).broker, "topology").Topology(await primary(world), without=STREAM)
        epoch, op = topology.register("demo")
        await op
        model = Model(seed)
        for number in range(1, CHANGES + 1):
            steps = model.draw()
            request = msgpack.packb(["demo", msgpack.unpackb(epoch), number, steps])
            for _ in range(2):  # A repetition changes nothing.
                answered, op = topology.change(request)
                await op
                assert answered == number
        queues, objects = msgpack.unpackb(topology.describe())
        assert len(queues) > 1 and len(objects) > 5
        assert differences(model, queues, objects) == []

    run(main)
