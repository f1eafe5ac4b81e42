"""Connects to a node that has several addresses: the first that answers is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from qpidha.core.refusals import OTHER_ADDRESS
from qpidha.errors import CallerError, LinkClosed
from qpidha.interfaces import Link, LinkFactory, LinkHandler, Transport
from qpidha.system.racing import AllFailed, first_of
from qpidha.types import Address, NodeId
from qpidha.wire import codec
from qpidha.wire.events import Frame, Refused

LATE = "another address of the node answered first"


class Farewells:
    """Connections that are not used, and which are still being opened, so that they can end in order.

    A connection that is given up within its TLS handshake looks like a failure to the other end.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Link]] = set()
        self._closed = False

    def add(self, opening: asyncio.Task[Link]) -> None:
        """Let this go on to its end, which its handler brings about, or its time-out."""
        self._tasks.add(opening)
        opening.add_done_callback(self._ended)
        if self._closed:
            opening.cancel()

    def _ended(self, opening: asyncio.Task[Link]) -> None:
        self._tasks.discard(opening)
        if not opening.cancelled():
            opening.exception()  # It is of no interest, but asyncio wants it to be looked at.

    async def close(self) -> None:
        """Give up those that are left, and all that come."""
        self._closed = True
        for opening in list(self._tasks):
            opening.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Attempts:
    """The attempts to open one link. The handler is made for one link at most.

    The next address is tried when the one before it has failed, or has been silent for a quarter of a second: a
    network that drops everything does not cost a time-out. The others say goodbye when they answer, too.
    """

    def __init__(
        self,
        transport: Transport,
        on_link: LinkFactory,
        farewells: Farewells,
        *,
        timeout_s: float,
        expect: NodeId,
    ) -> None:
        """The arguments are those of `qpidha.interfaces.Transport.connect`; the time-out is for each address."""
        self._transport = transport
        self._on_link = on_link
        self._farewells = farewells
        self._timeout_s = timeout_s
        self._expect = expect
        self._used: object = None
        """The attempt that was answered first."""

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
        attempt = object()
        opening = asyncio.ensure_future(
            self._transport.connect(
                address, partial(self._once, attempt), timeout_s=self._timeout_s, expect=self._expect
            )
        )
        try:
            link = await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._used is not None:
                self._farewells.add(opening)
            else:  # All attempts are given up.
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            raise
        if self._used is not attempt:
            raise LinkClosed(LATE)
        return link

    def _once(self, attempt: object, link: Link) -> LinkHandler:
        if self._used is not None:
            return Leaving(link)
        self._used = attempt
        return self._on_link(link)


class Leaving:
    """The handler of a link that is not used: it says so to the other end, and closes it in order."""

    def __init__(self, link: Link) -> None:
        link.write(codec.encode(Frame(0, 0, Refused(code=OTHER_ADDRESS, reason=LATE))))
        link.close()

    def get_buffer(self, size_hint: int) -> memoryview:
        """See `qpidha.interfaces.LinkHandler`."""
        return memoryview(bytearray(1024))

    def received(self, nbytes: int) -> None:
        """Nothing is of interest."""

    def drained(self) -> None:
        """Nothing waits."""

    def closed(self, error: Exception | None) -> None:
        """That was the aim."""


def _undo(link: Link) -> None:
    """Never with a handler of ours: `Attempts` makes one only."""
    link.abort()
