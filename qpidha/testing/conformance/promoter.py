"""The rules of `qpidha.interfaces.Promoter`: it may promote too early, but must not write to the record or give up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from qpidha.errors import Unavailable
from qpidha.interfaces import Promoter, RecordStore
from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.types import Member, NodeInfo, Record, Versioned
from qpidha.wire.info import encode_info

BOOT = UUID(int=2)
RECORD = Record(
    cluster=UUID(int=1),
    generation=1,
    primary=("p", BOOT),
    members=frozenset(Member(node, UUID(int=5)) for node in "ap"),
    nonce=b"x",
)
MakePromoter: TypeAlias = Callable[[Path], Promoter]
"""Makes the promoter of node a; the directory is new."""


class Shaky(MemoryRecordStore):
    """A record store whose next ``failures`` watches fail."""

    failures = 0

    def watch(self) -> AsyncIterator[Versioned | None]:
        """Watch the record. Raises `Unavailable` for the next ``failures`` calls."""
        if self.failures:
            self.failures -= 1
            raise Unavailable("out of order")
        return super().watch()


@dataclass
class View:
    """A `ClusterView`."""

    node: str
    records: RecordStore
    eligible: bool = True


class PromoterBench(Trial):
    """A cluster of a primary p and a backup a, whose promoter is under trial."""

    def __init__(self, make: MakePromoter, patience_s: float, **trial: Any) -> None:
        super().__init__(**trial)
        self.promoter = make(self.directory)
        self.records = Shaky()
        self.view = View("a", self.records)
        self.decided: list[str] = []
        self._patience_s = patience_s

    @asynccontextmanager
    async def deciding(self, *, primary: bool) -> AsyncIterator[None]:
        """While this lasts, collect the decisions of the promoter; then check that it left no task and wrote nothing."""
        await self.records.create(RECORD)
        for node in "ap" if primary else "a":
            info = NodeInfo(peer=("127.0.0.1", 1), boot=BOOT, score=0)
            await self.records.open_session(node, encode_info(info), ttl_s=1)
        self.did("a is a live member, " + ("the primary lives" if primary else "the primary is gone"))
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(self._follow())
        try:
            yield
            if task.done():
                await task
                self.broken("decisions without end", "the end of decisions()")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.01)
        left = [t.get_name() for t in asyncio.all_tasks() - before]
        self.same("tasks left behind by a cancelled promoter", [], left)
        self.same("writes to the record", 1, self.records.writes)
        self.true(set(self.decided) <= {"promote", "demote"}, '"promote" or "demote"', self.decided)

    async def _follow(self) -> None:
        async for decision in self.promoter.decisions(self.view):
            self.decided.append(decision)

    async def promotes(self, times: int = 1) -> None:
        """Wait for so many more decisions to promote. Raises `RuleBroken` if they take longer than ``patience_s``."""
        wanted = self.decided.count("promote") + times
        for _ in range(1000):
            if self.decided.count("promote") >= wanted:
                return
            await asyncio.sleep(self._patience_s / 1000)
        self.broken(f"{times} times promote within {self._patience_s:g} s", self.decided)

    async def silent(self) -> None:
        """Check that there is no decision to promote for half a second."""
        before = self.decided.count("promote")
        await asyncio.sleep(0.5)
        self.same("decisions to promote", 0, self.decided.count("promote") - before)


RULES = Rules[PromoterBench]("Promoter")


def promoter_checks(
    make: MakePromoter,
    *,
    patience_s: float = 10.0,
    runner: Runner = asyncio.run,
    without: Iterable[str] = (),
) -> list[Check[PromoterBench]]:
    """Return one check for each rule of a `Promoter` that acts by itself.

    Args:
        make: Makes the promoter of one node.
        patience_s: Limit of the time that it takes to decide.
        runner: Runs the check.
        without: Names of checks to leave out.
    """
    return RULES.checks(lambda **t: PromoterBench(make, patience_s, **t), runner=runner, without=without)


@RULES
async def it_tries_again_while_the_primary_is_gone(bench: PromoterBench) -> None:
    """Decisions yields promote when the primary is gone, and repeats it if it had no effect."""
    async with bench.deciding(primary=False):
        await bench.promotes(3)


@RULES
async def it_leaves_a_primary_that_lives_alone(bench: PromoterBench) -> None:
    """Nothing is decided while the primary lives; when its session ends the node tries."""
    async with bench.deciding(primary=True):
        await bench.silent()
        bench.did("the session of p expires")
        bench.records.expire("p")
        await bench.promotes()


@RULES
async def a_node_that_is_not_eligible_does_not_try(bench: PromoterBench) -> None:
    """Nothing is decided while the view says that the node may not be promoted; then it is."""
    bench.view.eligible = False
    async with bench.deciding(primary=False):
        await bench.silent()
        bench.view.eligible = True
        bench.did("a becomes eligible")
        await bench.promotes()


@RULES
async def a_restarted_primary_is_another_one(bench: PromoterBench) -> None:
    """A process with another boot id than the record names is not primary (P2): the node tries."""
    async with bench.deciding(primary=True):
        bench.records.expire("p")
        info = NodeInfo(peer=("127.0.0.1", 1), boot=UUID(int=9), score=None)
        await bench.records.open_session("p", encode_info(info), ttl_s=1)
        bench.did("p was restarted, with another boot id")
        await bench.promotes()


@RULES
async def errors_of_the_manager_do_not_end_it(bench: PromoterBench) -> None:
    """A ClusterError from the record store is no reason to give up: it asks again."""
    bench.records.failures = 3
    async with bench.deciding(primary=False):
        await bench.promotes()


@RULES
async def a_record_without_a_primary_is_an_invitation(bench: PromoterBench) -> None:
    """After a hand-over the record names no primary: the node tries."""
    async with bench.deciding(primary=True):
        found = await bench.records.read()
        assert found is not None
        await bench.records.compare_and_set(
            found.version, replace(RECORD, primary=None, nonce=b"y"), timeout_s=1
        )
        bench.records.writes -= 1  # Ours.
        bench.did("p hands over")
        await bench.promotes()


@RULES
async def a_node_that_hands_over_stops_trying(bench: PromoterBench) -> None:
    """A node that leaves the place to others is not eligible any more: the promoter stops at once, until it is again."""
    async with bench.deciding(primary=False):
        await bench.promotes(2)
        bench.view.eligible = False
        bench.did("a was asked to leave the place to others")
        await bench.silent()
        bench.view.eligible = True
        bench.did("a stands for the place again")
        await bench.promotes()
