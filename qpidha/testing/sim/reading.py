"""When a read of a simulated disk may fail: while the node works, not while the simulator looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from qpidha.core.ready import Completion, Notice, Ready, Request
from qpidha.core.replica import Replica
from qpidha.driver import Driver, Effects
from qpidha.errors import StoreError
from qpidha.testing.sim.disk import SimDisk
from qpidha.wire.events import Frame


class Process(Protocol):
    """What of a simulated node reads its disk."""

    disk: SimDisk
    replica: Replica
    driver: Driver

    def now(self) -> float:
        """The time of the node's clock."""


@contextmanager
def working(node: Process) -> Iterator[None]:
    """The node does something in which its disk may fail to be read: that ends it, as in life."""
    outer, node.disk.reading = node.disk.reading, True
    try:
        yield
    except StoreError as error:
        if node.replica.unreadable is None:
            raise
        node.driver.fail(error, Ready())
    finally:
        node.disk.reading = outer


def receives(node: Process, link: int, frame: Frame) -> bool:
    """The core takes a frame. Whether effects follow."""
    with working(node):
        return node.replica.received(link, frame, node.now())
    return True  # It failed.


@contextmanager
def watching(disk: SimDisk) -> Iterator[None]:
    """Clients and checkers look at the node: what they read of it does not fail."""
    outer, disk.reading = disk.reading, False
    try:
        yield
    finally:
        disk.reading = outer


class Watched:
    """The effects of a node (`qpidha.driver.Effects`): clients and checkers see them."""

    def __init__(self, effects: Effects, disk: SimDisk) -> None:
        self._effects = effects
        self._disk = disk
        self.store_failed = effects.store_failed

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """See `Effects.send`."""
        with watching(self._disk):
            self._effects.send(frames)

    def request(self, request: Request) -> None:
        """See `Effects.request`."""
        with watching(self._disk):
            self._effects.request(request)

    def complete(self, completion: Completion) -> None:
        """See `Effects.complete`."""
        with watching(self._disk):
            self._effects.complete(completion)

    def notify(self, notice: Notice) -> None:
        """See `Effects.notify`."""
        with watching(self._disk):
            self._effects.notify(notice)
