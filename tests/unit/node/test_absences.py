"""Who is gone: a node whose session ended, or whose machine refused connections to the process that has the session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

from qpidha.node.absences import GRACE_S, Absences
from qpidha.node.live import LiveNodes
from qpidha.types import NodeId
from qpidha.wire.info import encode_info
from tests.support.node_parts import info

BOOT, NEXT = UUID(int=99), UUID(int=100)


class Site:
    """The absences that a node knows of."""

    def __init__(self) -> None:
        self.live = LiveNodes()
        self.now = 100.0
        self.absences = Absences(self.live, lambda: self.now)

    def lives(self, *nodes: NodeId, boot: UUID = BOOT) -> None:
        """The record store lists these nodes."""
        self.live.seen({node: encode_info(replace(info(node), boot=boot)) for node in nodes})
        self.absences.gone()


def test_a_node_whose_session_has_ended_is_gone() -> None:
    site = Site()
    site.lives("a", "b")
    assert site.absences.gone() == frozenset()
    site.lives("a")
    assert site.absences.gone() == frozenset(), "it may have lost its session in a pause, and renews it"
    site.now += GRACE_S
    assert site.absences.gone() == {"b"}
    site.lives("a", "b")
    assert site.absences.gone() == frozenset()


def test_what_it_published_is_remembered_so_that_its_machine_can_be_asked() -> None:
    site = Site()
    site.lives("a", "b")
    site.lives("a")
    assert site.absences.info_of("b") == info("b")
    site.absences.refused("b", BOOT)
    assert site.absences.gone() == {"b"}, "a refusal needs no grace"
    site.live.seen({"b": b"unreadable"})
    assert (site.absences.gone(), site.absences.info_of("b")) == (frozenset(), None)


def test_a_node_that_was_never_there_is_not_gone() -> None:
    """After a power failure it is still starting."""
    site = Site()
    assert site.absences.gone() == frozenset(), "nothing is known yet"
    site.lives("a")
    assert site.absences.gone() == frozenset()


def test_a_process_whose_machine_refuses_is_gone_though_its_session_stands() -> None:
    site = Site()
    site.lives("a", "b")
    site.absences.refused("b", BOOT)
    assert site.absences.gone() == {"b"}
    assert site.absences.ended == {"b": BOOT}
    site.absences.answered("b")
    assert (site.absences.gone(), site.absences.ended) == (frozenset(), {})


def test_the_next_process_of_the_node_is_not_gone() -> None:
    site = Site()
    site.lives("a", "b")
    site.absences.refused("b", BOOT)
    site.lives("a", "b", boot=NEXT)
    assert site.absences.gone() == frozenset()


def test_a_refusal_and_an_ended_session_are_one_absence() -> None:
    site = Site()
    site.lives("a", "b")
    site.absences.refused("b", BOOT)
    site.lives("a")
    assert site.absences.gone() == {"b"}
    site.absences.answered("b")
    site.now += GRACE_S
    assert site.absences.gone() == {"b"}, "its session is still missing"


def test_a_watch_tells_each_change_once() -> None:
    async def main() -> None:
        site = Site()
        watch = site.absences.watch()
        assert await anext(watch) == {}
        site.absences.refused("b", BOOT)
        site.absences.refused("b", BOOT)
        assert await anext(watch) == {"b": BOOT}
        waiting = asyncio.ensure_future(anext(watch))  # type: ignore[arg-type]
        site.absences.refused("b", BOOT)
        site.absences.answered("c")
        await asyncio.sleep(0)
        assert not waiting.done()
        site.absences.answered("b")
        assert await waiting == {}
        await watch.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
