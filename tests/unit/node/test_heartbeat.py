"""The pulse of a node: what each beat does, that sockets are read before anyone is judged, and pauses of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from qpidha import Settings
from qpidha.node.heartbeat import READING_ATTEMPTS, READING_TURNS, TRANSPORT_TICK_S, Heartbeat
from tests.support.node_parts import JumpingLoop, Seat, run, turns

INTERVAL_S = 1.0
TIMEOUT_S = 4.0
SETTINGS = Settings(heartbeat_interval_s=INTERVAL_S, heartbeat_timeout_s=TIMEOUT_S)


class PeerThere:
    """A peer that notes what it is told."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def fresh_round(self, now: float) -> None:
        self._site.note("fresh round")

    def beat(self, now: float) -> None:
        self._site.note("beat")
        self._site.on_beat()


class Site:
    """The heartbeat of node a with one peer. It stands for the links, engine, place, connector and core at once."""

    def __init__(self) -> None:
        self.seat = Seat(SETTINGS).enter()
        self.done: list[str] = []
        self.at: list[float] = []
        """When the peer's beats were."""
        self.paused_s: list[float] = []
        self.on_beat: Callable[[], None] = lambda: None
        self.peers = {1: PeerThere(self)}
        self.core, self.seat.runtime.replica = self.seat.core, Ticking(self, "core")  # type: ignore[assignment]
        self.heartbeat = Heartbeat(
            self.seat.runtime,
            links=self,  # type: ignore[arg-type]
            engine=self,  # type: ignore[arg-type]
            place=Ticking(self, "place"),  # type: ignore[arg-type]
            isolation=Listening(self, "isolation"),  # type: ignore[arg-type]
            connector=self,  # type: ignore[arg-type]
        )

    def note(self, what: str) -> None:
        self.done.append(what)
        if what == "beat":
            self.at.append(self.seat.runtime.now())

    def clear_settled(self) -> None:
        self.note("settled")

    def tick_transport(self) -> None:
        self.note("transport")

    def verify_files(self) -> None:
        self.note("files")

    def wake(self) -> None:
        self.note("connector")

    def pause(self, for_s: float) -> None:
        """As if this process stood still for so long."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        loop._jumps.now += for_s


class Ticking:
    """A part that wants to know the time."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name

    def tick(self, now: float) -> None:
        assert now == self._site.seat.runtime.now()
        self._site.note(self._name)

    def paused(self, for_s: float) -> None:
        self._site.paused_s.append(for_s)


class Listening(Ticking):
    """A part that wants to know of pauses, too, but not how long they were."""

    def paused(self) -> None:  # type: ignore[override]
        self._site.paused_s.append(0.0)  # In place of how long.


def play(main: Callable[[Site], object]) -> None:
    """Run with a heartbeat that has begun."""

    async def work() -> None:
        site = Site()
        site.heartbeat.start()
        await main(site)  # type: ignore[misc]
        site.heartbeat.stop()

    run(work())


def test_each_beat_says_something_to_every_peer_and_then_gives_everyone_the_time() -> None:
    async def main(site: Site) -> None:
        assert site.done == [
            "beat",
            "settled",
            "transport",
            "core",
            "files",
            "place",
            "isolation",
            "connector",
        ]
        assert site.seat.engine.pokes == 1, "what follows is performed"

    play(main)


def test_it_beats_twice_in_each_interval() -> None:
    async def main(site: Site) -> None:
        await asyncio.sleep(10 * INTERVAL_S + 0.1)
        pauses = [after - before for before, after in pairwise(site.at)]
        assert pauses == pytest.approx([INTERVAL_S / 2] * 20, abs=0.001)
        assert "fresh round" not in site.done and site.paused_s == []

    play(main)


def test_a_node_without_links_gives_everyone_the_time_as_well() -> None:
    async def main(site: Site) -> None:
        site.peers.clear()
        await asyncio.sleep(INTERVAL_S)
        assert site.done.count("core") > 1

    play(main)


def test_the_transport_is_given_the_time_more_seldom() -> None:
    async def main(site: Site) -> None:
        await asyncio.sleep(3 * TRANSPORT_TICK_S + 0.1)
        assert site.done.count("transport") == 4

    play(main)


def test_a_peer_that_is_cut_off_in_a_beat_disturbs_no_other() -> None:
    async def main(site: Site) -> None:
        site.peers[2] = PeerThere(site)
        site.on_beat = site.peers.clear
        before = len(site.at)
        await asyncio.sleep(INTERVAL_S / 2 + 0.1)
        assert len(site.at) == before + 2

    play(main)


# --- its end ---------------------------------------------------------------------------------------


def test_after_a_stop_it_beats_no_more() -> None:
    async def main(site: Site) -> None:
        site.heartbeat.stop()
        site.heartbeat.stop()
        await asyncio.sleep(10 * INTERVAL_S)
        assert len(site.at) == 1

    play(main)


def test_a_stop_while_it_waits_for_reads_counts() -> None:
    async def main(site: Site) -> None:
        loop = asyncio.get_running_loop()
        # The timer of the beat is older, so it comes first; then this, before its turns for reading are over.
        loop.call_later(INTERVAL_S / 2, site.heartbeat.stop)
        await asyncio.sleep(10 * INTERVAL_S)
        assert len(site.at) == 1

    play(main)


def test_it_may_be_stopped_before_it_has_begun() -> None:
    async def main() -> None:
        Site().heartbeat.stop()

    run(main())


# --- the loop or the process stood still -----------------------------------------------------------


def test_what_has_arrived_is_read_before_a_peer_is_judged() -> None:
    async def main(site: Site) -> None:
        def reads() -> None:
            site.note("read")

        loop = asyncio.get_running_loop()
        # In the turn in which the beat is due, and in the next ones: a socket that is ready, and what it leads to.
        loop.call_later(INTERVAL_S / 2, lambda: loop.call_soon(reads))
        site.done.clear()
        site.pause(INTERVAL_S)
        await turns(READING_TURNS + 3)
        assert site.done.index("read") < site.done.index("beat")

    play(main)


def test_after_a_pause_every_peer_gets_a_fresh_round_before_it_is_judged() -> None:
    async def main(site: Site) -> None:
        site.done.clear()
        site.pause(TIMEOUT_S)
        await turns(READING_TURNS + 3)
        assert site.done[:2] == ["fresh round", "beat"]
        assert site.paused_s == pytest.approx([TIMEOUT_S, 0.0], abs=0.001), (
            "the place judges its own disk anew"
        )

    play(main)


def test_a_pause_that_no_peer_could_mind_gives_no_fresh_round() -> None:
    async def main(site: Site) -> None:
        site.done.clear()
        site.pause(TIMEOUT_S / 2 - 0.001)
        await turns(READING_TURNS + 3)
        assert site.done[0] == "beat" and site.paused_s == []

    play(main)


def test_a_loop_that_was_blocked_while_it_read_reads_again_first() -> None:
    async def main(site: Site) -> None:
        loop = asyncio.get_running_loop()

        def in_turns(turns: int) -> None:
            """What arrived while the loop was blocked is read when it was to have beaten already."""
            if turns:
                loop.call_soon(in_turns, turns - 1)
            else:
                site.note("read")

        def block_then_read() -> None:
            site.pause(2 * INTERVAL_S)
            in_turns(READING_TURNS + 1)

        loop.call_later(INTERVAL_S / 2, block_then_read)
        site.done.clear()
        await asyncio.sleep(2 * INTERVAL_S)
        await turns(2 * READING_TURNS)
        assert site.done.index("read") < site.done.index("beat")

    play(main)


def test_a_loop_that_is_blocked_all_the_time_beats_nevertheless() -> None:
    async def main(site: Site) -> None:
        site.done.clear()
        blocked = 0
        while "beat" not in site.done:
            site.pause(2 * INTERVAL_S)
            blocked += 1
            await asyncio.sleep(0)
        assert READING_TURNS < blocked <= (READING_ATTEMPTS + 2) * (READING_TURNS + 1)

    play(main)
