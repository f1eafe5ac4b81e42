"""Tells the embedding broker what happened, one call after the other, never overlapping.

Role changes and discarded messages are asynchronous calls, so they wait in a line of their own; the
replication itself never waits for the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from qpidha.core.ready import HandOver, RoleChanged
from qpidha.interfaces import Broker

logger = logging.getLogger("qpidha")

News: TypeAlias = RoleChanged | HandOver


class Embedder:
    """The line of news for one broker."""

    def __init__(
        self,
        broker: Broker,
        *,
        on_taken: Callable[[HandOver, bool], None],
        on_broken: Callable[[Exception], None],
    ) -> None:
        self._broker = broker
        self._on_taken = on_taken
        self._on_broken = on_broken
        self._news: asyncio.Queue[News | None] = asyncio.Queue()
        self._promoted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="qpidha-embedder")

    def tell(self, news: News) -> None:
        self._news.put_nowait(news)

    async def stop(self) -> None:
        """Tell what is still to be told, then end."""
        if self._task is not None:
            self._news.put_nowait(None)
            await self._task
            self._task = None

    async def _run(self) -> None:
        while (news := await self._news.get()) is not None:
            if isinstance(news, RoleChanged):
                await self._role(news)
            else:
                await self._hand_over(news)

    async def _role(self, news: RoleChanged) -> None:
        if news.role.is_primary == self._promoted:
            return
        self._promoted = news.role.is_primary
        try:
            if self._promoted:
                await self._broker.on_promote(news.generation)
            else:
                await self._broker.on_demote(news.generation)
        except Exception as error:
            logger.exception("the broker failed to follow its new role")
            if self._promoted:
                self._on_broken(error)

    async def _hand_over(self, news: HandOver) -> None:
        try:
            await self._broker.on_discarded(news.messages)
        except Exception:
            logger.exception("the broker did not take %d discarded messages", len(news.messages))
            self._on_taken(news, False)
        else:
            self._on_taken(news, True)
