"""A value that changes, and those who follow it: level-triggered, may skip, never goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Level(Generic[T]):
    """The value as last known. Followers see the newest one, never every one.

    ``on_wait`` is called before a follower waits: whoever produces the value can start on demand.
    """

    def __init__(self, on_wait: Callable[[], None] | None = None) -> None:
        self.waiting: set[asyncio.Future[None]] = set()
        self.stamp = 0
        """Counts the changes; 0: nothing known yet."""
        self.known = False
        """False: the value may be stale, so new followers wait for the next `set`."""
        self.closed = False
        self.error: Exception | None = None
        self._value: T
        self._on_wait = on_wait

    @property
    def value(self) -> T:
        """The value as last known. Only after the first `set`."""
        return self._value

    def set(self, value: T) -> None:
        """The value is this now. Followers wake up only if it is another one than before."""
        changed = self.stamp == 0 or self.error is not None or value != self._value
        woken = changed or not self.known
        self._value = value
        self.error = None
        self.known = True
        self.stamp += changed
        if woken:
            self._wake()

    def fail(self, error: Exception) -> None:
        """It cannot be told. Every follower, now and until the next `set`, gets this error and ends."""
        self.error = error
        self.known = True
        self.stamp += 1
        self._wake()

    def forget(self) -> None:
        """The value is not kept up to date any more, until the next `set`."""
        self.known = False

    def close(self) -> None:
        """Every follower ends."""
        self.closed = True
        self._wake()

    def watch(self) -> AsyncIterator[T]:
        """The value, then each change."""
        return Watch(self)

    async def change(self) -> None:
        """Return after the next `set` that changes something, `fail` or `close`."""
        if self._on_wait is not None:
            self._on_wait()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(waiter)
        try:
            await waiter
        finally:
            self.waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)


class Watch(AsyncIterator[T]):
    """One follower. An object, not a generator: there is nothing to clean up if it is dropped half-way."""

    def __init__(self, level: Level[T]) -> None:
        self._level = level
        self._seen = 0

    async def __anext__(self) -> T:
        level = self._level
        while not level.closed:
            if level.known and level.error is not None:
                raise level.error
            if level.known and level.stamp > self._seen:
                self._seen = level.stamp
                return level.value
            await level.change()
        raise StopAsyncIteration
