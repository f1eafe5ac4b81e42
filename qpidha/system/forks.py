"""What a forked child must not keep: one list of everything in this process that holds a descriptor.

A child inherits every descriptor: it keeps locks held, links open and ports bound after its parent has died. So
objects that hold some register here, and the child gives all of them up before it runs any other code.

A descriptor is not closed but replaced by one of ``/dev/null``: the object that owns it may close that number later,
when it could belong to something else, and an event loop must not be told, because parent and child share its
epoll set. The parent notices nothing.

Objects also ask whether they are still in the process that made them (`Origin`): their threads do not exist in the
child, and their files are the parent's.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar, Protocol

from qpidha.errors import ForkedError


class Forkable(Protocol):
    """Something that holds descriptors."""

    def forked(self) -> Iterable[int]:
        """Called in the child, first of all: the descriptors to give up. Must not block, or use the event loop."""


_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()


class _Process:
    """This process."""

    forks: ClassVar[int] = 0
    """How many forks lie between it and the one that loaded this module."""


def watch(holder: Forkable) -> None:
    """In a child of this process, have this object give up what it holds. The object is not kept alive."""
    _watched.add(holder)


def release(holder: Forkable) -> None:
    """It holds nothing any more. May be called twice."""
    _watched.discard(holder)


class Origin:
    """Remembers the process in which an object was made. Costs one comparison per question."""

    __slots__ = ("_forks",)

    def __init__(self) -> None:
        self._forks = _Process.forks

    @property
    def here(self) -> bool:
        """This is the process in which the object was made."""
        return self._forks == _Process.forks

    def require(self, what: str) -> None:
        """Raises `ForkedError` in a forked child."""
        if self._forks != _Process.forks:
            raise ForkedError(
                f"{what} was made before this process was forked and belongs to the parent; nothing was done. "
                "Start the child with the 'spawn' or 'forkserver' method, or make new objects in it"
            )


def _in_child() -> None:
    _Process.forks += 1
    holders = list(_watched)
    _watched.clear()
    numbers: list[int] = []
    for holder in holders:
        with suppress(Exception):  # Whatever one of them does, the others must let go too.
            numbers += [fd for fd in holder.forked() if fd >= 0]
    _give_up(numbers)


def _give_up(numbers: Iterable[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in numbers:
        with suppress(OSError):
            os.dup2(null, fd, inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_in_child)
