"""Which nodes are looked at, what two refusals mean, and what the core is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.node import prober as module
from qpidha.node.prober import Prober
from qpidha.types import NodeId, NodeInfo
from qpidha.wire.info import encode_info
from tests.support.harness import until
from tests.support.node_parts import Seat, info, run, turns


class Machines:
    """The machines of the other nodes: which of them refuse connections, and how often each was asked."""

    def __init__(self) -> None:
        self.refusing: set[NodeId] = set()
        self.asked: list[NodeId] = []

    async def refused(self, about: NodeInfo) -> bool:
        node = chr(about.peer[1])
        self.asked.append(node)
        await asyncio.sleep(0)
        return node in self.refusing


class Site:
    """The prober of node a."""

    def __init__(self) -> None:
        self.seat = Seat().enter()
        self.machines = Machines()
        self.prober = Prober(self.seat.runtime, self.machines)  # type: ignore[arg-type]

    @property
    def gone(self) -> frozenset[NodeId]:
        """What the core was told last."""
        return self.seat.core.state.gone

    def sees(self, generation: int, primary: NodeId | None, *members: NodeId, live: str = "") -> None:
        self.seat.see(generation, primary, *members)
        if live:
            self.seat.runtime.live.seen({node: encode_info(info(node)) for node in live})
        self.prober.look()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BETWEEN_S", 0.001)


def play(main: Callable[[Site], Awaitable[None]]) -> None:
    async def work() -> None:
        site = Site()
        running = asyncio.ensure_future(site.prober.run())
        await turns()
        await main(site)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(work())


def test_without_a_record_or_a_missing_link_no_machine_is_asked() -> None:
    async def main(site: Site) -> None:
        site.sees(3, None, "a", "b")
        await turns()
        assert site.machines.asked == []

    play(main)


def test_a_backup_asks_for_the_primary_that_it_has_no_link_to() -> None:
    async def main(site: Site) -> None:
        site.machines.refusing = set("bc")
        site.sees(3, "b", "a", "b", "c")
        await until(lambda: site.gone == {"b"})
        assert set(site.machines.asked) == {"b"}, "what becomes of the other backups is the primary's affair"
        assert site.prober.absences.ended == {"b": info("b").boot}

    play(main)


def test_a_primary_asks_for_the_members_that_are_not_linked() -> None:
    async def main(site: Site) -> None:
        site.machines.refusing = set("bc")
        site.seat.lead("b", "c")
        site.prober.look()
        await until(lambda: site.gone == {"b", "c"})

    play(main)


def test_one_refusal_is_not_enough() -> None:
    """The listener of a process that is being replaced is back in a moment."""

    async def main(site: Site) -> None:
        told: list[frozenset[NodeId]] = []

        class Once(Machines):
            async def refused(self, about: NodeInfo) -> bool:
                told.append(site.gone)
                await super().refused(about)
                return len(self.asked) == 1

        site.prober._links = Once()  # type: ignore[assignment]
        site.sees(3, "b", "a", "b")
        await until(lambda: len(told) >= 3)
        assert set(told) == {frozenset()}, "not even until the next look"

    play(main)


def test_a_node_that_answers_again_is_not_gone_any_more() -> None:
    async def main(site: Site) -> None:
        site.machines.refusing = {"b"}
        site.sees(3, "b", "a", "b")
        await until(lambda: site.gone == {"b"})
        site.machines.refusing = set()
        await until(lambda: site.gone == frozenset())

    play(main)


def test_another_process_of_the_node_is_not_gone() -> None:
    async def main(site: Site) -> None:
        site.machines.refusing = {"b"}
        site.sees(3, "b", "a", "b")
        await until(lambda: site.gone == {"b"})
        later = replace(info("b"), boot=UUID(int=100))
        site.machines.refusing = set()
        site.seat.runtime.live.seen({"b": encode_info(later)})
        site.prober.look()
        assert site.gone == frozenset(), "at once: the refusals were for the process before"

    play(main)


def test_a_session_that_ends_is_told_without_asking() -> None:
    async def main(site: Site) -> None:
        site.sees(3, "c", "a", "b", "c", live="abc")
        site.seat.runtime.live.seen({"a": b"", "c": encode_info(info("c"))})
        site.prober.look()
        assert site.gone == frozenset(), "it may renew its session"
        await until(lambda: site.gone == {"b"})
        assert "b" not in site.machines.asked, "a backup does not ask for another backup"

    play(main)


def test_who_is_no_suspect_any_more_is_forgotten() -> None:
    async def main(site: Site) -> None:
        site.machines.refusing = {"b"}
        site.sees(3, "b", "a", "b")
        await until(lambda: site.gone == {"b"})
        site.sees(4, "c", "a", "c", live="abc")
        await until(lambda: site.prober.absences.ended == {})

    play(main)


def test_a_node_that_has_stopped_asks_nobody() -> None:
    async def main(site: Site) -> None:
        site.seat.core.stopped = True
        site.sees(3, "b", "a", "b")
        await turns()
        assert site.machines.asked == []

    play(main)
