"""Failover of whole nodes: what the new primary keeps, what a returning backup receives, what is undone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qpidha import Batch, CallerError, Fate, NotPrimary, PromotionRefused, Role, SequenceSet, Settle
from qpidha.errors import ArgumentError
from qpidha.promoters import PriorityPromoter
from tests.support.harness import QUICK, World, content, history, run, until

MILLION = 1_000_000


def test_a_million_messages_that_both_brokers_have_are_not_sent_again() -> None:
    """LM1a: after a failover only differences are sent, and these stores do not differ."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        batch = Batch.pack([b"%09d" % i for i in range(10_000)])
        for _ in range(MILLION // len(batch)):
            await queue.enqueue_many(batch)
        assert c.queue("q").depth == MILLION
        await world.kill("a")
        for gate in world.gates.values():
            gate.sent = 0
        before = c.status().resync_messages
        await b.promote()
        await until(lambda: c.role is Role.READY and b.role is Role.ACTIVE)
        assert world.gates["b"].sent + world.gates["c"].sent < 100 * 1024
        assert c.status().resync_messages == before
        receipt = await b.queue("q").enqueue(b"after")
        assert receipt.nodes == {"b", "c"}
        assert c.queue("q").depth == MILLION + 1
        b._runtime.replica.check()
        c._runtime.replica.check()

    run(main)


def test_a_reused_id_is_never_taken_for_the_old_message() -> None:
    """LM1b: the new primary was behind and reuses ids; the returning backups become identical to it."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        await queue.enqueue_many([b"m1", b"m2", b"m3", b"m4"])
        world.gates["b"].mute = True  # b receives, but its acknowledgements are lost: nothing completes.
        link_to_b = next(s.link for s in a._runtime.replica.primary.sessions.values() if s.node == "b")
        a._parts.links.peers.pop(link_to_b)  # … and a's frames to b are lost too.
        lost = queue.enqueue_many([b"old5", b"old6"])
        await until(lambda: c.queue("q").depth == 6)
        assert not lost.safe
        await world.kill("a")
        world.gates["b"].mute = False
        for peer in list(b._parts.links.peers.values()):
            peer.link.abort()
        assert b.queue("q").depth == 4
        await b.promote()
        fresh = b.queue("q").enqueue_many([b"new5", b"new6", b"new7"])
        assert fresh.ids == range(5, 8)
        receipt = await fresh
        assert receipt.generation == 2 and receipt.nodes == {"b", "c"}
        assert history(b) == history(c)
        assert [data for _, data in content(c)] == [b"m1", b"m2", b"m3", b"m4", b"new5", b"new6", b"new7"]
        await until(lambda: len(world.brokers["c"].discarded) == 2, what="hand-over on c")
        assert [(m.id, m.generation, m.data, m.fate) for m in world.brokers["c"].discarded] == [
            (5, 1, b"old5", Fate.REWOUND),
            (6, 1, b"old6", Fate.REWOUND),
        ]
        again = await world.start("a")
        await until(lambda: again.status().in_sync)
        assert history(again) == history(b)
        await until(lambda: len(world.brokers["a"].discarded) == 2, what="hand-over on a")
        for node in (again, b, c):
            node._runtime.replica.check()

    run(main)


def test_only_the_primary_takes_publishes_and_says_who_is() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", client_address=("127.0.0.1", 5001))
        await a.promote()
        a.declare("q")
        b = await world.start("b")
        await until(lambda: b.role is Role.READY)
        with pytest.raises(NotPrimary) as refused:
            b.queue("q").enqueue(b"x")
        assert refused.value.primary == "a"
        assert refused.value.address == ("127.0.0.1", 5001)

    run(main)


@pytest.mark.parametrize("settle", list(Settle))
def test_accepts_reach_every_node_and_survive(settle: Settle) -> None:
    """H03: of a thousand messages most are accepted; all nodes hold exactly the rest, also after a failover."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        queue = a.declare("q", settle=settle)
        await queue.enqueue_many([b"%d" % i for i in range(1000)])
        await queue.dequeue(range(1, 991))
        await queue.dequeue(SequenceSet([993, 995]))
        await until(lambda: c.queue("q").depth == b.queue("q").depth == 8)
        await world.kill("a")
        await b.promote()
        await b.queue("q").enqueue(b"last")
        assert history(b) == history(c)
        assert [i for i, _ in content(b)] == [991, 992, 994, 996, 997, 998, 999, 1000, 1001]

    run(main)


def test_a_member_that_stays_away_is_waited_for_until_the_record_removes_it() -> None:
    """LM5: held publishes complete after the deadline, and the receipt shows that fewer nodes have them."""

    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        await queue.enqueue(b"one")
        world.gates["c"].mute = True
        op = queue.enqueue(b"two")
        await until(lambda: b.queue("q").depth == 2)
        assert not op.safe and a.status().waiting_for == ["c"]
        receipt = await op
        assert receipt.nodes == {"a", "b"}
        assert world.members() == {"a", "b"}
        world.gates["c"].mute = False
        await until(lambda: world.members() == {"a", "b", "c"})
        await until(lambda: history(c) == history(a))

    run(main)


def test_a_member_that_was_killed_is_not_waited_for() -> None:
    """Its machine refuses connections, or its session is gone: nothing is gained by waiting for the time-out."""

    async def main(world: World) -> None:
        a, _, _ = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        await queue.enqueue(b"one")
        world.nodes[
            "c"
        ]._parts.presence._session = None  # It stands until it expires, as that of a killed process.
        await world.kill("c")
        assert (await queue.enqueue(b"two")).nodes == {"a", "b"}
        await world.kill("b")
        assert (await queue.enqueue(b"three")).nodes == {"a"}
        assert "c" in a.status().live and "b" not in a.status().live

    run(main, replace(QUICK, ack_timeout_s=600.0, rejoin_timeout_s=600.0))


def test_the_next_primary_confirms_at_once_although_the_session_of_the_killed_one_stands() -> None:
    async def main(world: World) -> None:
        scores = {"a": 3, "b": 2, "c": 1}
        nodes = [await world.start(name, promoter=PriorityPromoter(score)) for name, score in scores.items()]
        a, b, c = nodes
        await until(lambda: a.role is Role.ACTIVE and b.status().in_sync and c.status().in_sync)
        await a.declare("q").enqueue(b"one")
        a._parts.presence._session = None
        await world.kill("a")
        await b.wait_serving(timeout_s=60.0)
        assert (await b.queue("q").enqueue(b"two")).nodes == {"b", "c"}
        assert "a" in b.status().live, "its session stands"

    run(main, replace(QUICK, ack_timeout_s=600.0, rejoin_timeout_s=600.0))


def test_a_promoter_that_does_not_trust_refusals_waits_for_the_session() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", promoter=PriorityPromoter(2))
        b = await world.start("b", promoter=PriorityPromoter(1, trust_refusals=False))
        await until(lambda: a.role is Role.ACTIVE and b.status().in_sync)
        a._parts.presence._session = None
        await world.kill("a")
        await until(lambda: b._parts.prober.absences.ended)
        await asyncio.sleep(0.5)
        assert not b.role.is_primary
        world.records.expire("a")
        await until(lambda: b.role is Role.ACTIVE)

    run(main)


def test_the_last_member_goes_on_alone_and_only_it_may_be_promoted() -> None:
    """LC9: once the in-sync set is one node, no other node can be promoted."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"both")
        await world.kill("b")
        assert (await queue.enqueue(b"alone")).nodes == {"a"}
        await world.kill("a")
        behind = await world.start("b")
        with pytest.raises(PromotionRefused):
            await behind.promote()
        back = await world.start("a")
        await back.promote()
        await until(lambda: world.members() == {"a", "b"})
        assert [d for _, d in content(behind)] == [b"both", b"alone"]

    run(main)


def test_what_cannot_be_sent_is_refused_before_anything_changes() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        for name in ("", "x" * 40_000, "\ud800"):
            with pytest.raises(ArgumentError, match="queue name"):
                a.declare(name)
        queue = a.declare("../\0 q")  # Any other text is a name.
        with pytest.raises(CallerError):
            queue.enqueue(bytes(a.settings.message_bytes_max + 1))
        with pytest.raises(CallerError):
            queue.enqueue_many([b"small", bytes(a.settings.frame_bytes_max)])
        with pytest.raises(CallerError):
            queue.dequeue(range(5, 9))
        assert queue.depth == 0
        assert (await queue.enqueue(b"fine")).ids == range(1, 2)

    run(main)
