"""Changes of queues and objects beside the stream, from the demo's client and with its model.

Each change is a transaction of a producer: declarations and deletions, publishes to several queues of several types,
takes, updates, moves and objects. One that was not answered is repeated, and must be made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qpidha.demo.topology import Facts, Topology
from qpidha.types import Address
from tests.support.stream import Changer


class Changes:
    """Changes queues and objects until it is stopped, then compares what is there with the model."""

    def __init__(self, addresses: Sequence[Address], seed: int, *, updates: bool = True) -> None:
        """``updates``: of messages, too."""
        self._changer = Changer(addresses, "soak")
        self._topology = Topology(self._changer, seed, updates=updates)
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def facts(self) -> Facts:
        """What became of the changes."""
        return self._topology.facts

    async def __aenter__(self) -> Changes:
        await self._changer.__aenter__()
        self.go_on()
        return self

    async def close(self) -> None:
        """Stop at once, with a change that may be in doubt."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._changer.close()

    def go_on(self) -> None:
        """Make changes, from now on or again."""
        self._stopping = False
        self._task = asyncio.create_task(self._topology.change_until(lambda: self._stopping))

    def check(self) -> None:
        """Raise the error of the client if it failed."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def judge(self) -> None:
        """Wait until the last change is confirmed; then compare object by object and message by message.

        Raises:
            AssertionError: The brokers have something that the model has not, or the reverse.
        """
        self._stopping = True
        if self._task is not None:
            await self._task
        await self._topology.compare()
        assert not self.facts.differences, "\n".join(self.facts.differences)
