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
from qpidha.types import Generation

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
        is_current: Callable[[Generation], bool],
    ) -> None:
        self._broker = broker
        self._on_taken = on_taken
        self._on_broken = on_broken
        self._is_current = is_current
        self.generation: Generation = 0
        """The generation in which the broker was told that it is primary; 0 while it was told that it is not."""
        self.promoting_since: float | None = None
        """When its ``on_promote`` was called, on the loop's clock; None unless that is under way."""
        self._news: asyncio.Queue[News | None] = asyncio.Queue()
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

    @property
    def calls_us(self) -> bool:
        """We are called from within one of the broker's methods, which so must not be waited for."""
        return self._task is not None and asyncio.current_task() is self._task

    async def _run(self) -> None:
        while (news := await self._news.get()) is not None:
            if isinstance(news, RoleChanged):
                await self._role(news)
            else:
                await self._hand_over(news)

    async def _role(self, news: RoleChanged) -> None:
        """Bring the broker to where the node is now; news that is over by then is left out."""
        promoted = news.role.is_primary
        if promoted == (self.generation > 0) or (promoted and not self._is_current(news.generation)):
            return
        try:
            if promoted:
                self.generation = news.generation
                self.promoting_since = asyncio.get_running_loop().time()
                await self._broker.on_promote(news.generation)
            else:
                await self._broker.on_demote(news.generation)
                self.generation = 0
        except Exception as error:
            logger.exception("the broker failed to follow its new role")
            if promoted:
                self._on_broken(error)
            else:
                self.generation = 0
        finally:
            self.promoting_since = None

    async def _hand_over(self, news: HandOver) -> None:
        try:
            await self._broker.on_discarded(news.messages)
        except Exception:
            logger.exception("the broker did not take %d discarded messages", len(news.messages))
            self._on_taken(news, False)
        else:
            self._on_taken(news, True)
