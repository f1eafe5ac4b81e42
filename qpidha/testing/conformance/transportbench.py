"""The bench of the checks of transports: two transports, links between them, and errors that reach the loop."""

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
"""Makes the transports of the listening and of the connecting end; they may be the same object."""


class TransportBench(Trial):
    """Two transports, and what they report to the exception handler of the event loop."""

    def __init__(self, make: MakeTransports, address: Address, **trial: Any) -> None:
        super().__init__(**trial)
        self.address = address
        self.reported: list[dict[str, Any]] = []
        """Contexts that the loop's exception handler got."""
        self._loop = asyncio.get_running_loop()
        self._handler = self._loop.get_exception_handler()
        self._loop.set_exception_handler(lambda loop, context: self.reported.append(context))
        self.server, self.client = make(self.directory)

    @asynccontextmanager
    async def pair(self, *, buffer_bytes: int = 64 * 1024) -> AsyncIterator[tuple[Recorder, Recorder]]:
        """Yield the connecting and the listening end of one link."""
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
        """Wait for these bytes at an end. Raises `RuleBroken` if others come, or none."""
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
        """Wait for the end of a link, and return the argument of its `closed`. Raises `RuleBroken`."""
        await self.until(lambda: bool(end.ends), "closed", lambda: "nothing")
        return await end.ended()

    def reported_only(self, text: str) -> None:
        """Check that the loop's exception handler got this error and nothing else."""
        reported, self.reported = self.reported, []
        self.same("reported to the loop", [text], [str(context.get("exception")) for context in reported])

    async def settle(self) -> None:
        """Check that no error went to the loop's exception handler."""
        await asyncio.sleep(0)
        self.true(not self.reported, "nothing for the loop's exception handler", self.reported)

    async def release(self) -> None:
        """Give the event loop its own exception handler back."""
        self._loop.set_exception_handler(self._handler)


def noise(nbytes: int, seed: int = 0) -> bytes:
    """Return random bytes from a seed: a piece that is missing, moved or repeated makes a difference."""
    return random.Random(seed).randbytes(nbytes)
