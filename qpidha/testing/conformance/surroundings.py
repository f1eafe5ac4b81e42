"""The interface of a loop under trial: the surroundings that it is given, and the events that reach it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from qpidha.core import Answer, Completion, Notice, Replica, Request
from qpidha.journal import Change
from qpidha.types import NodeId, Versioned
from qpidha.wire import Frame


class Surroundings(Protocol):
    """What the loop under trial uses instead of its own disk, sockets, record store and broker.

    All may be called from any thread.
    """

    @property
    def replica(self) -> Replica:
        """The core to drive."""

    def clock(self) -> float:
        """Return the time in seconds that the core is given."""

    def commit(self, changes: list[Change]) -> None:
        """Make changes durable before it returns, which takes 20 ms. Raises `StoreFailed`."""

    def send(self, link: int, frame: Frame) -> None:
        """Send a frame over this link."""

    def close(self, link: int) -> None:
        """Perform a `CloseLink`."""

    def request(self, request: Request) -> None:
        """Send a request to the cluster manager."""

    def complete(self, completion: Completion) -> None:
        """Tell clients the outcome of their operations."""

    def notify(self, notice: Notice) -> None:
        """Perform any other notice."""

    def failed(self, error: BaseException) -> None:
        """Call this when the loop has ended because its store failed."""


class CoreLoop(Protocol):
    """A loop under trial. The kit calls these methods from its own thread, one at a time."""

    def opened(self, link: int, to: NodeId | None) -> None:
        """A link is open: to this node if this side opened it, else None."""

    def received(self, link: int, frame: Frame) -> None:
        """A frame arrived on this link."""

    def closed(self, link: int) -> None:
        """A link is closed."""

    def record_seen(self, current: Versioned | None) -> None:
        """The cluster manager shows this record, or None if there is none."""

    def answered(self, request: Request, answer: Answer) -> None:
        """The cluster manager answered a request."""

    def call(self, work: Callable[[], object]) -> None:
        """Run ``work`` where the core may be used, as for a client's call, and perform the effects."""

    def stop(self) -> None:
        """End threads and tasks. They may have ended before, after a `StoreFailed`."""


MakeLoop: TypeAlias = Callable[[Surroundings], CoreLoop]
"""Starts a loop that drives ``surroundings.replica``, and returns it."""
