"""Where the rules of a transport are tried: two transports, links between them, and all that they tell."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from qpidha.interfaces import Transport
from qpidha.testing.conformance.check import Trial
from qpidha.testing.conformance.links import TIMEOUT_S, Recorder, pair, until
from qpidha.types import Address

MakeTransports: TypeAlias = Callable[[Path], "tuple[Transport, Transport]"]
"""The transports of the end that listens and of the end that connects; the same one twice is fine."""


class TransportBench(Trial):
    """Two transports, and a look at what they tell the event loop."""

    def __init__(self, make: MakeTransports, address: Address, **trial: Any) -> None:
        super().__init__(**trial)
        self.address = address
        self.told: list[dict[str, Any]] = []
        """What went to the loop's exception handler."""
        self._loop = asyncio.get_running_loop()
        self._handler = self._loop.get_exception_handler()
        self._loop.set_exception_handler(lambda loop, context: self.told.append(context))
        self.server, self.client = make(self.directory)

    @asynccontextmanager
    async def pair(self, *, buffer_bytes: int = 64 * 1024) -> AsyncIterator[tuple[Recorder, Recorder]]:
        """The connecting and the listening end of one link."""
        self.did("listen; connect")
        ends = pair(self.server, self.client, address=self.address, buffer_bytes=buffer_bytes)
        async with ends as both:
            yield both

    async def until(self, condition: Callable[[], bool], expected: str, seen: Callable[[], object]) -> None:
        """Wait until the condition holds; the rule is broken if that takes longer than `TIMEOUT_S`."""
        try:
            await until(condition)
        except asyncio.TimeoutError:
            self.broken(expected, f"{seen()}, and no more for {TIMEOUT_S:g} s")

    async def arrives(self, end: Recorder, data: bytes) -> None:
        """Just these bytes come, in this order."""
        await self.until(
            lambda: len(end.data) >= len(data), f"{len(data)} bytes", lambda: f"{len(end.data)} bytes"
        )
        if end.data != data:
            at = next((i for i, (a, b) in enumerate(zip(data, end.data, strict=False)) if a != b), len(data))
            self.broken(
                f"{len(data)} bytes, with {data[at : at + 8]!r} at {at}",
                f"{len(end.data)} bytes, with {bytes(end.data[at : at + 8])!r} at {at}",
            )

    async def ends(self, end: Recorder) -> Exception | None:
        """How the link ended, as its handler was told."""
        await self.until(lambda: bool(end.ends), "closed", lambda: "nothing")
        return await end.ended()

    def told_only(self, text: str) -> None:
        """The loop's exception handler got this error, and nothing else."""
        told, self.told = self.told, []
        self.same("told to the loop", [text], [str(context.get("exception")) for context in told])

    async def settle(self) -> None:
        """Check that no error went to the loop's exception handler."""
        await asyncio.sleep(0)
        self.true(not self.told, "nothing for the loop's exception handler", self.told)

    async def release(self) -> None:
        """Give the event loop its own exception handler back."""
        self._loop.set_exception_handler(self._handler)


def noise(nbytes: int, seed: int = 0) -> bytes:
    """Bytes in which nothing repeats: a piece that is missing, moved or sent twice shows."""
    return random.Random(seed).randbytes(nbytes)
