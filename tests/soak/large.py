"""One transaction with many messages of 64 KiB in two queues of its own, repeated until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from qpidha.types import Address
from tests.support.stream import Changer

MIB = 1024 * 1024
SIZES = (1 * MIB, 5 * MIB, 13 * MIB)
"""Of a change. The last is more than three quarters of the largest frame: backups catch up to get it."""
MESSAGE = 64 * 1024
QUEUES = ("large 1", "large 2")


class Large:
    """A client that makes one large change; it is there once and wholly afterwards, or the check fails."""

    def __init__(self, addresses: Sequence[Address], number: int) -> None:
        self._changer = Changer(addresses, f"large {number}")
        self._texts: list[bytes] = []
        self._making: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Large:
        await self._changer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._making is not None:
            self._making.cancel()
        await self._changer.close()

    def begin(self, size: int) -> None:
        """Send a change that declares the queues, and publishes so many bytes to each in turn."""
        self._texts = [b"%d " % n + b"." * MESSAGE for n in range(size // MESSAGE)]
        steps: list[tuple[object, ...]] = [("declare", name, "fifo") for name in QUEUES]
        steps += [("publish", [QUEUES[n % 2]], 0, text) for n, text in enumerate(self._texts)]
        self._making = asyncio.create_task(self._changer.change(steps))

    async def end(self, timeout_s: float = 150.0) -> None:
        """Wait until it is safe, compare what is there with what was published, and delete the queues."""
        assert self._making is not None
        await asyncio.wait_for(self._making, timeout_s)
        queues, _ = await asyncio.wait_for(self._changer.describe(), timeout_s)
        for place, name in enumerate(QUEUES):
            there = [bytes(text) for _, text in queues[name][1]]
            assert there == self._texts[place::2], f"{name}: {len(there)} of {len(self._texts[place::2])}"
        await asyncio.wait_for(self._changer.change([("delete", name, None) for name in QUEUES]), timeout_s)
