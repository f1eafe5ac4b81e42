"""PriorityPromoter keeps the rules of a promoter; promoters that break one are found by the check for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from qpidha.interfaces import ClusterView, Decision
from qpidha.promoters import PriorityPromoter
from qpidha.testing import conformance
from qpidha.testing.conformance import Check, RuleBroken


@pytest.mark.parametrize("check", conformance.promoter_checks(lambda directory: PriorityPromoter()), ids=str)
def test_priority_promoter(check: Check) -> None:
    check()


class Once:
    """Asks for the promotion once only."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        async for live in view.records.watch_live():
            if "p" not in live:
                yield "promote"


class Ambitious:
    """Always tries."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        while True:
            yield "promote"
            await asyncio.sleep(0.05)


class LooksOnce:
    """Asks whether it may try only before the first time."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        trying = False
        while True:
            trying = trying or (view.eligible and "p" not in await view.records.live())
            if trying:
                yield "promote"
            await asyncio.sleep(0.05)


class LooksAtNames:
    """Takes a primary for alive if any node of its name is, and considers only members that ask."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        while True:
            if view.eligible and "p" not in await view.records.live():
                yield "promote"
            await asyncio.sleep(0.05)


class LeavesTasks(PriorityPromoter):
    """Starts a task that is never stopped."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Any]:
        self.task = asyncio.create_task(asyncio.sleep(30))
        async for decision in super().decisions(view):
            yield decision


class GivesUp:
    """Does not expect errors."""

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        async for _ in view.records.watch():
            while True:
                yield "promote"
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Once, "it-tries-again-while-the-primary-is-gone"),
        (Ambitious, "it-leaves-a-primary-that-lives-alone"),
        (Ambitious, "a-node-that-is-not-eligible-does-not-try"),
        (LooksOnce, "a-node-that-hands-over-stops-trying"),
        (LooksAtNames, "a-restarted-primary-is-another-one"),
        (LooksAtNames, "a-record-without-a-primary-is-an-invitation"),
        (LeavesTasks, "it-tries-again-while-the-primary-is-gone"),
        (GivesUp, "errors-of-the-manager-do-not-end-it"),
    ],
)
def test_each_broken_promoter_is_found(kind: type[Any], check: str) -> None:
    every = conformance.promoter_checks(lambda directory: kind(), patience_s=1)
    [found] = [c for c in every if str(c) == check]
    with pytest.raises(RuleBroken):
        found()
