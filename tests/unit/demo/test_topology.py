"""The model of the changes, and what it finds if the brokers have something else."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from qpidha.demo.topology import Model, Topology, Untouched, differences


def drawn(count: int, seed: int = 1) -> tuple[Model, Counter[str]]:
    model, steps = Model(seed), Counter[str]()
    for _ in range(count):
        steps.update(str(step[0]) for step in model.draw())
    return model, steps


def contents(model: Model) -> tuple[dict[str, Any], list[Any]]:
    """What brokers describe if they have what the model has."""
    queues = {name: [kind, model.delivered(name)] for name, (kind, _) in model.queues.items()}
    objects = [["thing", name, value] for name, value in model.objects.items()]
    objects += [["binding", name, kind.encode()] for name, (kind, _) in model.queues.items()]
    return queues, objects


def test_every_kind_of_step_is_drawn() -> None:
    _, steps = drawn(300)
    assert set(steps) == {"declare", "delete", "publish", "take", "update", "move", "put", "remove"}
    assert min(steps.values()) > 10


def test_nothing_is_updated_for_brokers_that_cannot() -> None:
    model = Model(1, updates=False)
    assert "update" not in {step[0] for _ in range(300) for step in model.draw()}


def test_an_update_changes_the_priority_of_the_next_message_in_its_place() -> None:
    model = Model(1)
    model.queues = {"p": ("priority", [(1, b"a"), (9, b"b"), (1, b"c")])}
    step = model._update()
    assert step is not None and step[:2] == ("update", "p")
    assert model.queues["p"][1] == [(1, b"a"), (step[2], b"b"), (1, b"c")]


def test_the_same_seed_draws_the_same() -> None:
    assert contents(drawn(50)[0]) == contents(drawn(50)[0])
    assert contents(drawn(50)[0]) != contents(drawn(50, seed=2)[0])


def test_the_highest_priority_is_delivered_first() -> None:
    model = Model(1)
    model.queues = {
        "p": ("priority", [(1, b"a"), (9, b"b"), (1, b"c")]),
        "f": ("fifo", [(1, b"a"), (9, b"b")]),
    }
    assert model.delivered("p") == [(9, b"b"), (1, b"a"), (1, b"c")]
    assert model.delivered("f") == [(1, b"a"), (9, b"b")]


def test_every_difference_is_found() -> None:
    model, _ = drawn(200)
    queues, objects = contents(model)
    assert differences(model, queues, objects) == []
    name = next(name for name, (_, messages) in queues.items() if messages)
    kind, messages = queues[name]
    for wrong, words in (
        ({**queues, "more": ["fifo", []]}, "was deleted, and is there"),
        ({n: q for n, q in queues.items() if n != name}, "is not there"),
        ({**queues, name: [kind, messages[1:]]}, "holds"),
        ({**queues, name: [kind, [*messages, messages[0]]]}, "holds"),
        ({**queues, name: ["ring", messages]}, "of kind 'ring'"),
    ):
        assert any(words in found for found in differences(model, wrong, objects)), words
    assert differences(model, queues, objects[1:])
    assert differences(model, queues, [*objects, ["thing", "unknown", b""]])


class Changer:
    """Takes all changes, and describes what it is told to."""

    def __init__(self) -> None:
        self.repeated = 3
        self.changes = 0
        self.description: tuple[dict[str, Any], list[Any]] = ({}, [])

    async def change(self, steps: list[Any]) -> None:
        self.changes += 1

    async def describe(self) -> tuple[dict[str, Any], list[Any]]:
        return self.description


def test_what_is_not_there_at_the_end_is_reported() -> None:
    async def main() -> None:
        changer = Changer()
        topology = Topology(changer, seed=1)
        await topology.change_until(lambda: changer.changes >= 20)
        await topology.compare()
        facts = topology.facts
        assert (facts.changes, facts.repeated, facts.compared) == (20, 3, True)
        assert facts.differences
        changer.description = contents(topology._model)
        await topology.compare()
        assert facts.differences == [] and facts.objects > 0

    asyncio.run(main())


def test_without_a_changer_nothing_changes_and_nothing_was_compared() -> None:
    async def main() -> None:
        untouched = Untouched()
        async with untouched.changer:
            await untouched.change_until(lambda: False)
            await untouched.compare()
        assert untouched.facts is None

    asyncio.run(main())
