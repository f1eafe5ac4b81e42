"""A value that changes, and its watches: they are level-triggered, may skip values, and never go back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class WatchedValue(Generic[T]):
    """The value as last known. A watch gets the newest value, not every value.

    If the value comes from polling, ``on_wait`` is called before a watch waits, so that polling can start on demand.
    A new watch then gets the result of a poll that began after the watch did: otherwise its first value could be older
    than what its owner knows already.
    """

    def __init__(self, on_wait: Callable[[], None] | None = None) -> None:
        self.waiting: dict[asyncio.Future[None], None] = {}
        """In the order in which they began to wait."""
        self.stamp = 0
        """Counts the changes; 0: nothing known yet."""
        self.begun = 0
        """Counts the polls that have begun."""
        self.looked = -1
        """The number of the poll that the value is from."""
        self.closed = False
        self.error: Exception | None = None
        self._value: T
        self._on_wait = on_wait
        self._impatient = False

    @property
    def polled(self) -> bool:
        """Whether the value comes from polling."""
        return self._on_wait is not None

    @property
    def value(self) -> T:
        """The value as last known. Only after the first `set`."""
        return self._value

    def begin(self) -> None:
        """A poll begins."""
        self.begun += 1

    def set(self, value: T) -> None:
        """Set the value. Watches wake up only if it differs from the value before."""
        changed = self.stamp == 0 or self.error is not None or value != self._value
        self._value = value
        self.error = None
        self._found(changed=changed)

    def tell(self, value: T) -> bool:
        """A newer value that came between two polls. Returns whether it differs.

        A watch that waits for its first poll goes on waiting: what its owner knows may be newer than this.
        """
        changed = value != self._value
        self._value = value
        self.stamp += changed
        if changed:
            self._wake()
        return changed

    def confirm(self) -> None:
        """The last poll found the same value."""
        self._found(changed=False)

    def fail(self, error: Exception) -> None:
        """The value cannot be read. Every watch, now and until the next `set`, raises this error and ends."""
        self.error = error
        self._found(changed=True)

    def _found(self, *, changed: bool) -> None:
        self.stamp += changed
        self.looked = self.begun
        if changed or self._impatient:
            self._wake()

    def close(self) -> None:
        """End all watches."""
        self.closed = True
        self._wake()

    def watch(self) -> AsyncIterator[T]:
        """The value, then each change."""
        return Watch(self)

    async def change(self, *, fresh: bool = False) -> None:
        """Return after the next change or `close`; if ``fresh``, after the next poll whatever it finds."""
        if self._on_wait is not None:
            self._on_wait()
        self._impatient = self._impatient or fresh
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[waiter] = None
        try:
            await waiter
        finally:
            del self.waiting[waiter]

    def _wake(self) -> None:
        self._impatient = False
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)


class Watch(AsyncIterator[T]):
    """One watch. An object, not a generator, so that a watch which is dropped half-way needs no clean-up."""

    def __init__(self, level: WatchedValue[T]) -> None:
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
