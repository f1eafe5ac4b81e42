"""A value that changes, and those who follow it: level-triggered, may skip, never goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Level(Generic[T]):
    """The value as last known. Followers see the newest one, never every one.

    Somebody may produce it by looking from time to time: ``on_wait`` is called before a follower waits, so
    that looking can start on demand. A new follower then gets the result of a look that began after it did:
    else its first value could be older than what its owner knows already.
    """

    def __init__(self, on_wait: Callable[[], None] | None = None) -> None:
        self.waiting: set[asyncio.Future[None]] = set()
        self.stamp = 0
        """Counts the changes; 0: nothing known yet."""
        self.begun = 0
        """Counts the looks."""
        self.looked = -1
        """The look that the value is from."""
        self.closed = False
        self.error: Exception | None = None
        self._value: T
        self._on_wait = on_wait
        self._impatient = False

    @property
    def polled(self) -> bool:
        """Is the value only known from looking?"""
        return self._on_wait is not None

    @property
    def value(self) -> T:
        """The value as last known. Only after the first `set`."""
        return self._value

    def begin(self) -> None:
        """A look begins."""
        self.begun += 1

    def set(self, value: T) -> None:
        """The value is this now. Followers wake up only if it is another one than before."""
        changed = self.stamp == 0 or self.error is not None or value != self._value
        self._value = value
        self.error = None
        self._found(changed=changed)

    def confirm(self) -> None:
        """The value is still what it was."""
        self._found(changed=False)

    def fail(self, error: Exception) -> None:
        """It cannot be told. Every follower, now and until the next `set`, gets this error and ends."""
        self.error = error
        self._found(changed=True)

    def _found(self, *, changed: bool) -> None:
        self.stamp += changed
        self.looked = self.begun
        if changed or self._impatient:
            self._wake()

    def close(self) -> None:
        """Every follower ends."""
        self.closed = True
        self._wake()

    def watch(self) -> AsyncIterator[T]:
        """The value, then each change."""
        return Watch(self)

    async def change(self, *, fresh: bool = False) -> None:
        """Return after the next change or `close`; if ``fresh``, after the next look whatever it finds."""
        if self._on_wait is not None:
            self._on_wait()
        self._impatient = self._impatient or fresh
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(waiter)
        try:
            await waiter
        finally:
            self.waiting.discard(waiter)

    def _wake(self) -> None:
        self._impatient = False
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)


class Watch(AsyncIterator[T]):
    """One follower. An object, not a generator: there is nothing to clean up if it is dropped half-way."""

    def __init__(self, level: Level[T]) -> None:
        self._level = level
        self._seen = 0
        self._after = level.begun if level.polled else -1

    async def __anext__(self) -> T:
        level = self._level
        while not level.closed:
            fresh = level.looked > self._after
            if fresh and level.error is not None:
                raise level.error
            if fresh and level.stamp > self._seen:
                self._seen = level.stamp
                return level.value
            await level.change(fresh=not fresh)
        raise StopAsyncIteration
