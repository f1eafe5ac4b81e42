"""Clients that repeat what is in doubt, over failovers: each publish and transaction is there once (EO1–EO9)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from qpidha import (
    Fate,
    Node,
    NotPrimary,
    SequenceGap,
    StaleHandle,
    UnknownProducer,
)
from tests.support.harness import Recorder, World, content, run, until

NODES = ("a", "b", "c")
ROUNDS = 3
IN_A_ROUND = 12


async def killed_and_repeated(world: World) -> None:
    primary, *_ = await world.cluster(*NODES)
    await primary.declare("q").declared
    epochs = {}
    for name in ("ada", "bob"):
        producer = primary.producer(name)
        await producer.registered
        epochs[name] = producer.epoch
    for turn in range(ROUNDS):
        old = primary.id
        first = turn * IN_A_ROUND + 1
        for n in range(first, first + IN_A_ROUND):
            if n == first + IN_A_ROUND // 2:
                await asyncio.sleep(0.02)
                world.gates[old].mute = turn % 2 == 0  # What follows reaches no backup.
            for name, epoch in epochs.items():
                value = f"{name} {n}".encode()
                primary.producer(name, epoch=epoch).enqueue(primary.queue("q"), value, sequence=n)
        await asyncio.sleep(0)
        await world.kill(old)  # Nobody was told anything.
        primary = next(iter(world.nodes.values()))
        await primary.promote()
        for name, epoch in epochs.items():
            values = [f"{name} {n}".encode() for n in range(first, first + IN_A_ROUND)]
            producer = primary.producer(name, epoch=epoch)
            op = producer.enqueue_many(primary.queue("q"), values, sequence=first)
            await op
        await world.start(old)
        await until(lambda: world.members() == set(NODES))
    stored = [data.decode() for _, data in content(primary)]
    for name in epochs:
        mine = [value for value in stored if value.startswith(name)]
        assert mine == [f"{name} {n}" for n in range(1, ROUNDS * IN_A_ROUND + 1)], "each once, in order"
    assert {p.last for p in primary.producers()} == {ROUNDS * IN_A_ROUND}


def test_clients_that_repeat_are_stored_exactly_once() -> None:
    """Primaries are killed with publishes that some backups have and some have not; the clients repeat all of them."""
    run(killed_and_repeated)


def test_a_commit_in_doubt_is_repeated_at_the_next_primary_and_made_once() -> None:
    """Both when the next primary has it, and when it has not."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster(*NODES)
        work = a.declare("work")
        await work.enqueue_many([b"1", b"2"])
        ada = a.producer("ada")
        await ada.registered

        def commit(node: Node, sequence: int, epoch: tuple[int, int]) -> int:
            with node.producer("ada", epoch=epoch).transaction(sequence=sequence) as t:
                t.dequeue(node.queue("work"), sequence)
                t.enqueue(t.declare(f"made {sequence}"), b"result")
            return t.op.repeated

        assert commit(a, 1, ada.epoch) == 0
        await until(lambda: b.producers()[0].last == c.producers()[0].last == 1)
        world.gates["a"].mute = True
        assert commit(a, 2, ada.epoch) == 0, "this one reaches no backup"
        await world.kill("a")
        await b.promote()
        assert commit(b, 1, ada.epoch) == 1 and commit(b, 2, ada.epoch) == 0
        await b.barrier()
        assert [data for _, data in b.queue("work")] == []
        assert [data for n in (1, 2) for _, data in b.queue(f"made {n}")] == [b"result"] * 2

    run(main)


def test_what_a_failover_undoes_is_handed_over_with_its_sequence() -> None:
    """EO7: one that its producer repeated says that it is used; the other can be published again, once, by either."""

    async def main(world: World) -> None:
        broker = Recorder()
        await world.start("a", broker=broker)
        a = world.nodes["a"]
        await a.promote()
        b = await world.start("b")
        await until(lambda: world.members() == {"a", "b"})
        q, ada = a.declare("q"), a.producer("ada")
        await ada.enqueue(q, b"1", sequence=1)
        world.gates["a"].mute = True  # What follows reaches no backup.
        for n in (2, 3):
            ada.enqueue(q, b"%d" % n, sequence=n)
        q.flush()
        await b.promote()
        there = b.producer("ada", epoch=ada.epoch)
        with pytest.raises(SequenceGap):
            there.enqueue(b.queue("q"), b"3", sequence=3)
        await there.enqueue(b.queue("q"), b"2", sequence=2)
        world.gates["a"].mute = False
        await until(lambda: a.status().in_sync and len(broker.discarded) == 2)
        fates = {m.data: (m.fate, m.sequence.number if m.sequence else 0) for m in broker.discarded}
        assert fates == {b"2": (Fate.SEQUENCE_USED, 2), b"3": (Fate.REWOUND, 3)}
        for repeated in (0, 1):  # The embedder, and then the producer itself; or the other way round.
            assert there.enqueue(b.queue("q"), b"3", sequence=3).repeated == repeated
        await b.barrier()
        assert [data for _, data in content(b)] == [b"1", b"2", b"3"]
        assert Counter(m.published_as for m in broker.discarded).most_common(1)[0][1] == 1
        with pytest.raises((StaleHandle, NotPrimary)):
            ada.answer(1)

    run(main)


def test_a_producer_is_forgotten_on_every_node() -> None:
    """EO6: its repetitions are refused by every later primary, and never stored twice."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q, ada = a.declare("q"), a.producer("ada")
        await ada.enqueue(q, b"1", sequence=1)
        await ada.forget()
        assert b.producers() == []
        await world.kill("a")
        await b.promote()
        with pytest.raises(UnknownProducer):
            b.producer("ada", epoch=ada.epoch)
        again = b.producer("ada")
        assert again.epoch[0] > ada.epoch[0]
        await again.enqueue(b.queue("q"), b"2", sequence=1)
        assert [data for _, data in content(b)] == [b"1", b"2"]

    run(main)
