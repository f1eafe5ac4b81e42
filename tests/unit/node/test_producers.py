"""Registering producers, coming back to one, and the list of all (EO6)."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha import ArgumentError, NotPrimary, ProducerInfo, Settings, TooManyProducers, UnknownProducer
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_a_registration_is_safe_when_its_op_is() -> None:
    async def main() -> None:
        room = Room().lead()
        ada = room.producer("ada")
        assert not ada.registered.safe
        room.turn()
        assert ada.registered.safe
        assert room.producers() == [ProducerInfo("ada", ada.epoch, 0)]

    run(main())


def test_who_registers_again_fences_the_former_one() -> None:
    """EO6: what the former one has collected in this turn comes first."""

    async def main() -> None:
        room = Room().lead()
        q, old = room.declare("q"), room.producer("ada")
        op = old.enqueue(q, b"1", sequence=1)
        new = room.producer("ada")
        assert new.epoch != old.epoch
        with pytest.raises(UnknownProducer) as over:
            old.enqueue(q, b"2", sequence=2)
        assert over.value.current == new.epoch
        new.enqueue(q, b"3", sequence=1)
        room.turn()
        assert op.safe and [data for _, data in q] == [b"1", b"3"]
        assert old.last == 0 and new.last == 1
        old.forget()
        room.turn()
        assert room.producers() == [ProducerInfo("ada", new.epoch, 1)], "the new one is another producer"

    run(main())


def test_a_client_comes_back_to_its_producer() -> None:
    """One handle for each producer and term, because it collects what is published in a turn."""

    async def main() -> None:
        room = Room().lead()
        q, ada = room.declare("q"), room.producer("ada")
        op = ada.enqueue(q, b"1", sequence=1)
        again = room.producer("ada", epoch=list(ada.epoch))  # type: ignore[arg-type]
        assert again is ada and again.enqueue(q, b"1", sequence=1).ids == op.ids
        room.turn()
        room.follow()
        room.seat.lead(generation=3)
        room.turn()
        later = room.producer("ada", epoch=ada.epoch)
        assert later is not ada and later.generation == 3 and later.last == 1
        assert later.registered.safe
        assert later.enqueue(room.queue("q"), b"1", sequence=1).repeated == 1

    run(main())


def test_an_epoch_that_is_not_there_is_refused() -> None:
    async def main() -> None:
        room = Room().lead()
        ada = room.producer("ada")
        generation, id = ada.epoch
        for name, epoch in (("ada", (generation, id + 1)), ("bob", ada.epoch)):
            with pytest.raises(UnknownProducer, match=f"producer '{name}' is not registered with epoch"):
                room.producer(name, epoch=epoch)
        ada.forget()
        with pytest.raises(UnknownProducer) as gone:
            room.producer("ada", epoch=ada.epoch)
        assert gone.value.current is None

    run(main())


def test_producers_are_limited_and_named_by_text() -> None:
    async def main() -> None:
        room = Room(Settings(producers_max=1)).lead()
        ada = room.producer("ada")
        with pytest.raises(TooManyProducers):
            room.producer("bob")
        ada.forget()
        bob = room.producer("bob")
        wrong: list[Any] = ["", 7, b"bob", "x" * 1025]
        for name in wrong:
            with pytest.raises(ArgumentError, match="name must be"):
                room.producer(name)
            with pytest.raises(ArgumentError, match="name must be"):
                room.producer(name, epoch=bob.epoch)
        epochs: list[Any] = ["1", (1,), (1, "2"), (1, True), 5]
        for epoch in epochs:
            with pytest.raises(ArgumentError, match="epoch must be"):
                room.producer("bob", epoch=epoch)

    run(main())


def test_only_a_primary_has_producers_and_every_node_knows_them() -> None:
    async def main() -> None:
        room = Room()
        assert room.producers() == []
        room.follow(generation=1)
        for epoch in (None, (1, 1)):
            with pytest.raises(NotPrimary):
                room.producer("ada", epoch=epoch)

    run(main())


def test_entries_are_not_among_the_objects_of_the_broker() -> None:
    async def main() -> None:
        room = Room().lead()
        changes: list[tuple[str, str, bytes | None]] = []
        room.configuration.on_change(lambda kind, name, value: changes.append((kind, name, value)))
        room.producer("ada").enqueue(room.declare("q"), b"1", sequence=1)
        room.configuration.put("user", "ada", b"1")
        room.turn()
        assert room.configuration.objects() == [("user", "ada", b"1")]
        assert room.configuration.objects("$producer") == []
        assert changes == [("user", "ada", b"1")]
        with pytest.raises(ArgumentError, match="reserved"):
            room.configuration.get("$producer", "ada")

    run(main())
