"""A promoter that obeys an operator or another program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from qpidha.interfaces import ClusterView, Decision


class OperatorPromoter:
    """A `Promoter` for one node that never decides anything itself: after a crash of the primary the operator decides.

    Only the last request counts: a promotion that was revoked before the node acted on it is not tried.
    """

    automatic = False
    """It decides nothing by itself: a node that was asked to hand over is promoted again only when an operator asks."""

    def __init__(self) -> None:
        self._wish: Decision | None = None
        self._asked = asyncio.Event()

    def promote(self) -> None:
        """Try to make this node primary. The record decides whether it may be."""
        self._ask("promote")

    def demote(self) -> None:
        """Make this node stop being primary."""
        self._ask("demote")

    def _ask(self, wish: Decision) -> None:
        self._wish = wish
        self._asked.set()

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        """Yield each request once."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wish, self._wish = self._wish, None
            if wish is not None:
                yield wish
