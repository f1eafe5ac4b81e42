"""When a read of a simulated disk may fail: while the node works, not while the simulator looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qpidha.core.ready import Completion, Notice, Ready, Request
from qpidha.errors import StoreError
from qpidha.wire.events import Frame

if TYPE_CHECKING:
    from qpidha.testing.sim.link import End
    from qpidha.testing.sim.node import SimNode


@contextmanager
def working(node: SimNode) -> Iterator[None]:
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


def receives(node: SimNode, end: End, frame: Frame) -> bool:
    """The core takes a frame. Whether effects follow."""
    with working(node):
        return node.replica.received(end.number, frame, node.now())
    return True  # It failed.


@contextmanager
def watching(node: SimNode) -> Iterator[None]:
    """Clients and checkers look at the node: what they read of it does not fail."""
    outer, node.disk.reading = node.disk.reading, False
    try:
        yield
    finally:
        node.disk.reading = outer


class Watched:
    """The effects of a node (`qpidha.driver.Effects`): clients and checkers see them."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self.store_failed = node.store_failed

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """See `SimNode.send`."""
        with watching(self._node):
            self._node.send(frames)

    def request(self, request: Request) -> None:
        """See `SimNode.request`."""
        with watching(self._node):
            self._node.request(request)

    def complete(self, completion: Completion) -> None:
        """See `SimNode.complete`."""
        with watching(self._node):
            self._node.complete(completion)

    def notify(self, notice: Notice) -> None:
        """See `SimNode.notify`."""
        with watching(self._node):
            self._node.notify(notice)
