"""A link handler that records its calls, and pairs of connected links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from qpidha.interfaces import Link, Transport
from qpidha.testing.conformance.check import RuleBroken
from qpidha.types import Address

HERE: Address = ("127.0.0.1", 0)
TIMEOUT_S = 10.0
"""Limit of each wait."""


class Recorder:
    """A `LinkHandler` that keeps every byte and every call."""

    def __init__(self, link: Link, *, buffer_bytes: int = 64 * 1024) -> None:
        self.link = link
        self.data = bytearray()
        self.deliveries: list[int] = []
        """Numbers of bytes, one for each call of `received`."""
        self.drains = 0
        self.ends: list[Exception | None] = []
        """Arguments of `closed`: one, if the link keeps its rules."""
        self.late: list[str] = []
        """Calls that came after `closed`."""
        self.fail_with: Exception | None = None
        """Raised by `received` if it is set."""
        self._buffer = bytearray(buffer_bytes)
        self._inside: str | None = None
        self.nested: list[str] = []
        """Calls that were made during another one."""

    def _called(self, name: str) -> None:
        if self.ends:
            self.late.append(name)
        if self._inside is not None:
            self.nested.append(f"{name} within {self._inside}")

    def get_buffer(self, size_hint: int) -> memoryview:
        """Return the one buffer that all data is read into."""
        self._called("get_buffer")
        return memoryview(self._buffer)

    def received(self, nbytes: int) -> None:
        """Keep the new bytes, then call `reacts`. Raises ``fail_with`` if it is set."""
        self._called("received")
        if self.fail_with is not None:
            raise self.fail_with
        self.deliveries.append(nbytes)
        self.data += self._buffer[:nbytes]
        self._inside = "received"
        self.reacts()
        self._inside = None

    def reacts(self) -> None:
        """Called by `received`; a test may replace it, to write, close or abort."""

    def drained(self) -> None:
        """Count the call."""
        self._called("drained")
        self.drains += 1

    def closed(self, error: Exception | None) -> None:
        """Keep the error with which the link ended."""
        self._called("closed")
        self.ends.append(error)

    async def has(self, nbytes: int) -> bytes:
        """Wait for so many bytes and return all that arrived. Raises `asyncio.TimeoutError`."""
        await until(lambda: len(self.data) >= nbytes)
        return bytes(self.data)

    async def ended(self) -> Exception | None:
        """Wait for the end and return its error. Raises `RuleBroken` unless `closed` came once, last and not nested."""
        await until(lambda: bool(self.ends))
        await asyncio.sleep(0.01)
        if len(self.ends) == 1 and not self.late and not self.nested:
            return self.ends[0]
        raise RuleBroken(
            subject="LinkHandler",
            check="closed-comes-once-and-last",
            rule="Calls never overlap; closed is the last one and comes exactly once",
            done="a link was closed",
            expected="closed, once, and nothing after it",
            seen=f"closed with {self.ends}, then {self.late[:5]}, overlapping {self.nested[:5]}",
        )


class Factory:
    """A `LinkFactory` that remembers the handlers it made."""

    def __init__(self, *, buffer_bytes: int = 64 * 1024) -> None:
        self.made: list[Recorder] = []
        self._buffer_bytes = buffer_bytes

    def __call__(self, link: Link) -> Recorder:
        """Make a handler for this link."""
        self.made.append(Recorder(link, buffer_bytes=self._buffer_bytes))
        return self.made[-1]

    async def first(self) -> Recorder:
        """Wait for the first handler. Raises `asyncio.TimeoutError` after `TIMEOUT_S`."""
        await until(lambda: bool(self.made))
        return self.made[0]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until this holds. Raises `asyncio.TimeoutError`."""

    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 - conditions are about many things, not one event
            await asyncio.sleep(0.002)

    await asyncio.wait_for(wait(), TIMEOUT_S)


@asynccontextmanager
async def pair(
    server: Transport,
    client: Transport,
    *,
    expect: str | None = None,
    address: Address = HERE,
    buffer_bytes: int = 64 * 1024,
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    """Connect two transports, and yield the recorders of the connecting and of the listening end.

    Both ends are aborted afterwards, and must have ended as the rules say.
    """
    near, far = Factory(buffer_bytes=buffer_bytes), Factory(buffer_bytes=buffer_bytes)
    listener = await server.listen(address, far)
    await client.connect(listener.address, near, timeout_s=TIMEOUT_S, expect=expect)
    ends = (await near.first(), await far.first())
    try:
        yield ends
    finally:
        await listener.close()
        for end in ends:
            end.link.abort()
    for end in ends:
        await end.ended()
