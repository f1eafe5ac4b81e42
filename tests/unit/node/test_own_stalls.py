"""A node that stalls judges itself first: its disk, loop and broker are not counted against its backups (L1, L4, T42).

Method: whole nodes in one process, with a store that can be held, a loop that is blocked, a broker that does not return.
Where a peer has to go on while the loop is blocked it is a thread with a socket.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpidha import Role
from qpidha.cli.nodes import Row, lines_of_status
from qpidha.errors import InDoubt
from qpidha.interfaces import Promoter
from qpidha.journal import Change
from qpidha.node.peer import Peer
from qpidha.promoters import PriorityPromoter
from qpidha.records.memory import Fault
from qpidha.settings import Settings
from qpidha.stores import MemoryStore
from tests.support.harness import QUICK, Recorder, World, content, run, until

IMPATIENT = replace(
    QUICK, commit_timeout_s=0.4, promote_timeout_s=0.4, heartbeat_timeout_s=0.4, unfit_delay_s=1.0
)
STALL_S = 0.8
"""Longer than these."""


class Held(MemoryStore):
    """A store whose commits wait in its thread for as long as somebody holds it."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def commit(self, changes: Sequence[Change]) -> None:
        self._gate.wait()
        super().commit(changes)


async def pair(world: World, *, promoter: Promoter | None = None) -> tuple[Held, Any, Any]:
    """Primary a, with a store that can be held, and member b."""
    store = Held()
    a = await world.start("a", store)
    await a.promote()
    b = await world.start("b", promoter=promoter)
    await until(lambda: b.status().in_sync and a.status().in_sync)
    await a.declare("q").enqueue(b"1")
    return store, a, b


# --- an own disk that stalls ---------------------------------------------------------------------


def test_backups_are_not_removed_for_the_stall_of_the_primary() -> None:
    async def main(world: World) -> None:
        store, a, b = await pair(world)
        store.hold()
        op = a.queue("q").enqueue(b"2")
        await asyncio.sleep(world.settings.ack_timeout_s + 0.5)
        store.release()
        receipt = await op
        assert sorted(receipt.nodes) == ["a", "b"]
        assert world.members() == {"a", "b"}
        assert content(b) == content(a)

    run(main, replace(QUICK, ack_timeout_s=1.0, rejoin_timeout_s=1.0, commit_timeout_s=60.0))


def test_a_primary_whose_disk_hangs_is_replaced_and_comes_back_as_a_backup() -> None:
    async def main(world: World) -> None:
        store, a, b = await pair(world, promoter=PriorityPromoter(1))
        store.hold()
        op = a.queue("q").enqueue(b"2")
        await until(lambda: b.serving, what="b takes over")
        await until(lambda: a.role is Role.JOINING, what="a steps down without its disk")
        with pytest.raises(InDoubt):
            await op
        await until(lambda: "a" not in b.live)
        assert a.status().place_given_up is not None
        assert "disk does not answer" in a.status().place_given_up
        await b.queue("q").enqueue(b"3")
        store.release()
        await until(lambda: a.role is Role.READY and a.status().in_sync, what="a is a backup")
        assert a.status().place_given_up is None
        await until(lambda: "a" in b.live)
        receipt = await b.queue("q").enqueue(b"4")
        assert sorted(receipt.nodes) == ["a", "b"]
        assert content(a) == content(b)

    run(main, IMPATIENT)


def test_it_hands_over_by_the_record_alone() -> None:
    """No promoter anywhere: the record names nobody, so that any member may be promoted."""

    async def main(world: World) -> None:
        store, a, b = await pair(world)
        store.hold()
        a.queue("q").enqueue(b"2")
        await until(lambda: a.role is Role.JOINING)
        record = b._runtime.replica.record
        await until(lambda: b.primary is None)
        assert record is not None
        await b.promote()
        store.release()
        await until(lambda: a.status().in_sync and a.role is Role.READY)

    run(main, IMPATIENT)


def test_a_cluster_manager_that_does_not_answer_keeps_it_primary_until_it_does() -> None:
    """In doubt about the record nobody may be told anything (M3): the session ends all the same."""

    async def main(world: World) -> None:
        store, a, _ = await pair(world)
        world.records.fail_next(*[Fault.UNAVAILABLE] * 10_000)
        store.hold()
        op = a.queue("q").enqueue(b"2")
        await until(lambda: a.status().place_given_up)
        await asyncio.sleep(STALL_S)
        assert a.role.is_primary
        kinds = [hold.kind for hold in a.status().held_by]
        assert kinds == ["disk", "manager"]
        store.release()
        receipt = await op
        assert sorted(receipt.nodes) == ["a", "b"]

    run(main, IMPATIENT)


def test_the_only_member_waits_for_its_disk() -> None:
    """Nobody could take over."""

    async def main(world: World) -> None:
        store = Held()
        a = await world.start("a", store)
        await a.promote()
        q = a.declare("q")
        store.hold()
        op = q.enqueue(b"1")
        await asyncio.sleep(STALL_S)
        assert a.role is Role.ACTIVE and a.status().place_given_up is None
        [hold] = a.status().held_by
        assert (hold.kind, hold.node) == ("disk", "a") and hold.since_s > 0.4
        store.release()
        await op
        assert a.status().held_by == []

    run(main, IMPATIENT)


def test_a_backup_whose_disk_hangs_is_not_promoted_and_says_so() -> None:
    async def main(world: World) -> None:
        store = Held()
        a = await world.start("a")
        b = await world.start("b", store)
        await a.promote()
        await until(lambda: b.status().in_sync)
        q = a.declare("q")
        await q.enqueue(b"1")
        assert b._parts.cluster.eligible
        store.hold()
        op = q.enqueue(b"2")
        await until(lambda: not b._parts.cluster.eligible)
        [hold] = b.status().held_by
        assert (hold.kind, hold.node) == ("disk", "b")
        await until(lambda: "b" not in a.live, what="it holds no session either")
        store.release()
        await op
        await until(lambda: b._parts.cluster.eligible and "b" in a.live)

    run(main, replace(IMPATIENT, ack_timeout_s=60.0))


def test_a_backup_with_a_slow_disk_is_no_candidate_long_before_it_closes_its_session() -> None:
    """After heartbeat_timeout_s it does not stand any more; commit_timeout_s, after which it would give up, is far."""

    async def main(world: World) -> None:
        store = Held()
        a = await world.start("a")
        b = await world.start("b", store)
        await a.promote()
        await until(lambda: b.status().in_sync)
        await a.declare("q").enqueue(b"1")
        assert b._parts.place.stands
        store.hold()
        op = a.queue("q").enqueue(b"2")
        await until(lambda: not b._parts.place.stands)
        assert not b._parts.place.given_up
        assert "disk" in (b._parts.place.why_not or "")
        store.release()
        await op
        await until(lambda: b._parts.place.stands)

    run(main, replace(IMPATIENT, commit_timeout_s=60.0))


def test_a_node_stops_although_its_disk_hangs() -> None:
    """Its last transaction is in doubt, and so is whether it was closed in order."""

    async def main(world: World) -> None:
        store, a, _ = await pair(world)
        store.hold()
        op = a.queue("q").enqueue(b"2")
        await asyncio.sleep(0.05)
        await asyncio.wait_for(world.stop("a"), 10.0)
        with pytest.raises(InDoubt):
            await op
        store.release()
        await until(lambda: not store._open, what="the store is closed once the disk has answered")
        again = await world.start("a", store)
        assert again.queue("q").depth == 2, "it was made durable in the end"

    run(main, IMPATIENT)


# --- a broker that hangs -------------------------------------------------------------------------


class Stuck(Recorder):
    """A broker that does not take over until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def on_promote(self, generation: int) -> None:
        await self.let.wait()
        await super().on_promote(generation)


def test_a_primary_whose_broker_does_not_take_over_is_replaced() -> None:
    async def main(world: World) -> None:
        broker = Stuck()
        a = await world.start("a", broker=broker)
        b = await world.start("b")
        promoted = asyncio.ensure_future(a.promote(timeout_s=30.0))
        await until(lambda: [h.kind for h in a.status().held_by] == ["broker"])
        await until(lambda: b.status().in_sync)
        await until(lambda: a.role is not Role.ACTIVE and not a.role.is_primary, what="a gives its place up")
        assert "on_promote had not returned" in (a.status().place_given_up or "")
        assert not a._parts.cluster.eligible
        await b.promote()
        promoted.cancel()
        await until(lambda: a.role is Role.READY, what="its store is as good as before")
        broker.let.set()
        await until(lambda: a.status().place_given_up is None)

    run(main, IMPATIENT)


def test_a_broker_may_say_that_its_primary_cannot_serve() -> None:
    async def main(world: World) -> None:
        _, a, b = await pair(world, promoter=PriorityPromoter(1))
        a.give_place_away("the test wants it")
        assert a.status().place_given_up == "the test wants it"
        await until(lambda: b.serving and a.role is Role.READY)
        await until(lambda: a.status().place_given_up is None and "a" in b.live)

    run(main)


def test_others_do_not_wait_for_the_end_of_a_stop() -> None:
    """What the broker does when it is demoted may take its time: the node is primary no more."""

    class Leisurely(Recorder):
        async def on_demote(self, generation: int) -> None:
            await gone.wait()
            await super().on_demote(generation)

    gone = asyncio.Event()

    async def main(world: World) -> None:
        a = await world.start("a", broker=Leisurely())
        await a.promote()
        b = await world.start("b", promoter=PriorityPromoter(1))
        await until(lambda: b.status().in_sync)
        stopping = asyncio.ensure_future(world.stop("a"))
        await until(lambda: b.serving)
        assert not stopping.done()
        gone.set()
        await stopping

    run(main)


# --- for what is waited --------------------------------------------------------------------------


def in_words(status: dict[str, Any]) -> str:
    return "\n".join(lines_of_status(Row(Path("a"), status=status)))


def test_the_status_shows_what_the_node_waits_for() -> None:
    async def main(world: World) -> None:
        store, a, b = await pair(world)
        assert a.status().held_by == []
        store.hold()
        a.queue("q").enqueue(b"2")
        await until(lambda: [(h.kind, h.node) for h in a.status().held_by] == [("disk", "a")])
        assert a.status().waiting_for == [], "nobody else has it yet"
        store.release()
        await until(lambda: not a.status().held_by)
        world.gates["b"].mute = True
        op = a.queue("q").enqueue(b"3")
        await until(lambda: [(h.kind, h.node) for h in a.status().held_by] == [("backup", "b")])
        assert a.status().waiting_for == ["b"]
        status = json.loads(json.dumps(a.status().to_dict()))
        assert "waits for backup b for " in in_words(status)
        await op
        assert b.id == "b"

    run(main)


def test_every_kind_of_wait_is_shown_in_words() -> None:
    async def main(world: World) -> None:
        _, a, _ = await pair(world)
        status = a.status().to_dict()
        kinds = ("disk", "backup", "manager", "broker", "weather")
        status["held_by"] = [{"kind": kind, "node": "n", "since_s": 3.0} for kind in kinds]
        status["place_given_up"] = "why"
        said = in_words(status)
        assert (
            "waits for the disk of n for 3 s, backup n for 3 s, the cluster manager for 3 s, "
            "the broker of n to take over for 3 s, weather n for 3 s"
        ) in said
        assert "gave its place up: why" in said

    run(main)


# --- a loop that is blocked ----------------------------------------------------------------------


def test_backups_are_not_removed_because_the_loop_was_blocked() -> None:
    """Their acknowledgements and heartbeats are in the sockets: they are read first."""

    async def main(world: World) -> None:
        _, a, b = await pair(world)
        for blocked_s in (0.3, 0.6, 1.3):  # Shorter and longer than what counts as a pause.
            op = a.queue("q").enqueue(b"x")
            await asyncio.sleep(0.01)
            time.sleep(blocked_s)  # noqa: ASYNC251 - that is the subject
            assert sorted((await op).nodes) == ["a", "b"]
            assert world.members() == {"a", "b"}
        assert b.role is Role.READY

    run(main, replace(QUICK, ack_timeout_s=1.0, rejoin_timeout_s=1.0, heartbeat_timeout_s=0.4))


class Talker(threading.Thread):
    """A peer that says something while the loop of the node is blocked."""

    def __init__(self, address: tuple[str, int], after_s: float) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection(address)
        self._after_s = after_s

    def run(self) -> None:
        time.sleep(self._after_s)
        self._socket.sendall(b"\x40")  # A frame begins.

    def close(self) -> None:
        self.join()
        self._socket.close()


@pytest.mark.parametrize("blocked", ["before", "between"])
def test_the_sockets_are_read_before_a_peer_is_considered_silent(
    monkeypatch: pytest.MonkeyPatch, blocked: str
) -> None:
    """Also when the loop is blocked between the two turns that the reading takes."""
    order: list[str] = []
    received: Callable[[Peer, int], None] = Peer.received

    def hears(self: Peer, nbytes: int) -> None:
        order.append("heard")
        received(self, nbytes)

    monkeypatch.setattr(Peer, "received", hears)

    async def main(world: World) -> None:
        a = await world.start("a")
        assert a.address
        loop = asyncio.get_running_loop()
        talker = Talker(a.address, 0.2)
        await until(lambda: a._parts.links.peers)
        tick = a._runtime.replica.tick

        def ticks(now: float) -> None:
            order.append("judged")
            tick(now)

        monkeypatch.setattr(a._runtime.replica, "tick", ticks)
        done = asyncio.Event()

        def block() -> None:
            talker.start()
            time.sleep(0.5)
            order.append("blocked")
            loop.call_later(0.3, done.set)

        if blocked == "before":
            loop.call_soon(block)
        else:
            wake = a._parts.heartbeat._wake

            def wakes(*attempts: int) -> None:
                if not talker.is_alive() and "blocked" not in order:
                    wake(*attempts)
                    loop.call_soon(block)
                else:
                    wake(*attempts)

            monkeypatch.setattr(a._parts.heartbeat, "_wake", wakes)
        await done.wait()
        after = order[order.index("blocked") + 1 :]
        assert after[0] == "heard", order
        assert "judged" in after
        talker.close()

    run(main, replace(QUICK, heartbeat_interval_s=0.1, heartbeat_timeout_s=0.4))


def test_a_loop_that_is_always_blocked_still_checks_its_peers() -> None:
    """Reading first must not mean never."""

    async def main(world: World) -> None:
        a = await world.start("a")
        loop, ticks = asyncio.get_running_loop(), 0
        tick = a._runtime.replica.tick

        def count(now: float) -> None:
            nonlocal ticks
            ticks += 1
            tick(now)

        a._runtime.replica.tick = count  # type: ignore[method-assign]
        until_at = loop.time() + 2.0

        def block() -> None:
            time.sleep(0.06)
            if loop.time() < until_at:
                loop.call_soon(block)

        block()
        await asyncio.sleep(2.0)
        assert ticks >= 2

    run(main, replace(QUICK, heartbeat_interval_s=0.05))


def test_a_pause_is_not_counted_against_a_handshake() -> None:
    """A link that was accepted just before has its whole time afterwards."""

    async def main(world: World) -> None:
        a = await world.start("a")
        assert a.address
        _, writer = await asyncio.open_connection(*a.address)
        await until(lambda: a._parts.links.peers)
        time.sleep(0.6)  # noqa: ASYNC251 - that is the subject
        await asyncio.sleep(0.25)
        assert a._parts.links.peers, "still open"
        await until(lambda: not a._parts.links.peers, what="and closed when its time is over")
        writer.close()

    run(main, replace(QUICK, handshake_timeout_s=0.4))


def test_limits_of_what_hangs_are_settings() -> None:
    settings = Settings()
    assert settings.commit_timeout_s == 10.0
    assert settings.promote_timeout_s == 15.0
    assert settings.link_bytes_per_s_min == 512 * 1024
