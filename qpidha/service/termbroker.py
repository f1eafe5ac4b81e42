"""`TermBroker`: a broker that is a new object in each term, so that nothing of an earlier term is used by accident."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from qpidha.checks import AWAITED, CALLBACK, optional
from qpidha.node import Node
from qpidha.types import Discarded, Generation

DISCARDED = optional(AWAITED)


class Term(Protocol):
    """What a broker has while its node is primary: handles, connections, timers."""

    async def start(self) -> None:
        """Begin to serve, as in `qpidha.interfaces.Broker.on_promote`."""

    async def leave(self) -> None:
        """End: another node may be primary already. Also after a start that failed half-way."""


TermT = TypeVar("TermT", bound=Term)


class TermBroker(Generic[TermT]):
    """A `qpidha.interfaces.Broker` that makes an object in each ``on_promote``, and drops it in ``on_demote``.

    broker = TermBroker(lambda node: OneTerm(node, options))
    broker.node = Node("a", broker=broker, ...)
    """

    node: Node
    """To be set before the node is started."""

    def __init__(
        self,
        make: Callable[[Node], TermT],
        *,
        discarded: Callable[[Sequence[Discarded]], Awaitable[object]] | None = None,
    ) -> None:
        """Nothing happens before the node is promoted.

        Args:
            make: Makes the object of a term, which has ``start`` and ``leave``.
            discarded: Is given messages that a rewind took out, as ``on_discarded``. None: they are dropped, because
                publishers send again what was not answered.

        Raises:
            ArgumentError: It cannot be called.
        """
        CALLBACK("make", make)
        DISCARDED("discarded", discarded)
        self._make = make
        self._discarded = discarded
        self.term: TermT | None = None
        """None while this node is not primary."""

    async def on_promote(self, generation: Generation) -> None:
        """Make the object of this term, and start it."""
        self.term = self._make(self.node)
        await self.term.start()

    async def on_demote(self, generation: Generation) -> None:
        """Have it leave, and forget it."""
        term, self.term = self.term, None
        if term is not None:
            await term.leave()

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Hand them over."""
        if self._discarded is not None:
            await self._discarded(messages)
