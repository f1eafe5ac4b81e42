"""Closes in a forked child the descriptors of its parent's nodes, stores and links.

A child inherits every descriptor: it would keep locks held, links open and ports bound after its parent has died. So
objects with descriptors register here, and the child gives all of them up before it runs any other code.

A descriptor is not closed but replaced by one of ``/dev/null``: the object that owns it may close that number later,
when it could belong to something else, and an event loop must not be told, because parent and child share its
epoll set. The parent notices nothing.

Calls of these objects in the child raise `ForkedError`: their threads do not exist there, and their files are the
parent's. An object that was not in use before the fork may be used in the child.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from qpidha.errors import ForkedError


class Forkable(Protocol):
    """Something that holds descriptors."""

    def forked(self) -> Iterable[int]:
        """Called in the child, first of all: the descriptors to give up. Must not block, or use the event loop."""


_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(holder: Forkable) -> None:
    """Have this object give up its descriptors in a child of this process. The object is not kept alive."""
    _watched.add(holder)


def release(holder: Forkable) -> None:
    """It holds nothing any more. May be called twice."""
    _watched.discard(holder)


def forked_error(what: str) -> ForkedError:
    """The error of a call in the child, for an object that was in use before."""
    return ForkedError(
        f"{what} belongs to the parent of this process, which was forked while it was in use; nothing was done. "
        "Start the child with the 'spawn' or 'forkserver' method, or make new objects in it"
    )


def never_free(thing: object) -> None:
    """Keep an object for ever: freeing it would touch what belongs to the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    holders = list(_watched)
    _watched.clear()
    numbers: list[int] = []
    for holder in holders:
        with suppress(Exception):  # If one object fails, the others must give up theirs nevertheless.
            numbers += [fd for fd in holder.forked() if fd >= 0]
    _give_up(numbers)


def _give_up(numbers: Iterable[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in numbers:
        with suppress(OSError):
            os.dup2(null, fd, inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_in_child)
