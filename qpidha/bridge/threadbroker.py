"""The methods of a broker that is written for threads, called in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from qpidha.checks import implements
from qpidha.errors import SettingsError
from qpidha.types import Discarded, Generation


class PlainBroker(Protocol):
    """`qpidha.broker.Broker` with plain methods: what each means, and when it is called, is said there."""

    def on_promote(self, generation: Generation) -> None:
        """This node is now primary."""

    def on_demote(self, generation: Generation) -> None:
        """This node is no longer primary."""

    def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Messages that a rewind took out of this node's queues."""


BROKER = implements("PlainBroker", plain=("on_promote", "on_demote", "on_discarded"))


class ThreadBroker:
    """A `qpidha.broker.Broker` made of one with plain methods, which use ``node.sync`` and may wait.

    All calls are made in one thread, so they never overlap, and each `on_demote` comes after its `on_promote`, also where
    the node does not wait for a call any longer: it goes on, and the next one is made after it. The optional methods of
    a broker, ``on_queue`` and ``on_stopped``, are not called: use ``node.sync.wait_stopped`` in place of the latter.
    """

    def __init__(self, broker: PlainBroker) -> None:
        """Raises `SettingsError` for a broker whose methods are not plain."""
        BROKER("broker", broker, SettingsError)
        self._broker = broker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qpidha-broker")

    async def on_promote(self, generation: Generation) -> None:
        """Call that of the broker, in the thread."""
        await self._call(lambda: self._broker.on_promote(generation))

    async def on_demote(self, generation: Generation) -> None:
        """Call that of the broker, in the thread."""
        await self._call(lambda: self._broker.on_demote(generation))

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Call that of the broker, in the thread."""
        await self._call(lambda: self._broker.on_discarded(messages))

    async def _call(self, work: Callable[[], None]) -> None:
        """Shielded: a call that waits for the one before it is made, whether or not the node still waits for it."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
