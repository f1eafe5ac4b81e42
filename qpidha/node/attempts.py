"""Connects to a node that has several addresses: the first that answers is used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qpidha.errors import CallerError, LinkClosed
from qpidha.interfaces import Link, LinkFactory, LinkHandler, Transport
from qpidha.system.racing import AllFailed, first_of
from qpidha.types import Address, NodeId


class Attempts:
    """The attempts to open one link. The handler is made for one link at most.

    The next address is tried when the one before it has failed, or has been silent for a quarter of a second: a
    network that drops everything does not cost a time-out.
    """

    def __init__(
        self, transport: Transport, on_link: LinkFactory, *, timeout_s: float, expect: NodeId
    ) -> None:
        """The arguments are those of `qpidha.interfaces.Transport.connect`; the time-out is for each address."""
        self._transport = transport
        self._on_link = on_link
        self._timeout_s = timeout_s
        self._expect = expect
        self._answered = False

    async def first_of(self, addresses: Sequence[Address]) -> Address:
        """Open a link to one of these addresses, preferably the first. Returns the one that was used.

        Raises:
            LinkClosed: None of them answered as the expected node. The text tells about each.
            CallerError: The only address is not allowed for this transport.
        """
        try:
            number, _ = await first_of(
                [partial(self._connect, address) for address in addresses], (LinkClosed, CallerError), _undo
            )
        except AllFailed as failed:
            if len(failed.errors) == 1:
                raise failed.errors[0] from None
            raise LinkClosed(str(failed)) from failed
        return addresses[number]

    async def _connect(self, address: Address) -> Link:
        return await self._transport.connect(
            address, self._once, timeout_s=self._timeout_s, expect=self._expect
        )

    def _once(self, link: Link) -> LinkHandler:
        if self._answered:
            raise LinkClosed("another address of the node answered first")
        self._answered = True
        return self._on_link(link)


def _undo(link: Link) -> None:
    """Never with a handler of ours: `Attempts` makes one only."""
    link.abort()
