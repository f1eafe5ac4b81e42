"""Accepts links in plain text, and what both listeners have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from qpidha.interfaces import Link, LinkFactory, LinkHandler
from qpidha.system import forks
from qpidha.transports.stream import TcpLink
from qpidha.types import Address, PeerInfo


class TcpListener:
    """A `Listener` for plain text. Made by `TcpTransport.listen` only."""

    address: Address

    def __init__(self, loop: asyncio.AbstractEventLoop, on_link: LinkFactory) -> None:
        self._loop = loop
        self._on_link = guard(loop, on_link)
        self._server: asyncio.Server
        self.accepted = 0
        """Connections so far, whatever became of them."""
        self._closed = False

    def bound(self, server: asyncio.Server) -> None:
        """Remember the server, and the port that was chosen."""
        name = server.sockets[0].getsockname()
        self.address = (str(name[0]), int(name[1]))
        self._server = server
        forks.watch(self)

    def forked(self) -> Iterable[int]:
        """In a child process: close the copy of the socket, so that only the parent accepts."""
        return [listening.fileno() for listening in self._server.sockets]

    def accept(self) -> TcpLink:
        """A connection came in."""
        self.accepted += 1
        return TcpLink(self._loop, self._on_link, self._refusal)

    async def close(self) -> None:
        """Stop accepting. Links already open are not touched.

        Hence no ``wait_closed``: since Python 3.12 that waits for the links too.
        """
        self._closed = True
        forks.release(self)
        await close_server(self._server)

    def _refusal(self, peer: PeerInfo) -> str | None:
        return "the listener was closed meanwhile" if self._closed else None


def guard(loop: asyncio.AbstractEventLoop, on_link: LinkFactory) -> LinkFactory:
    """The factory for accepted links: no caller awaits them, so failures are reported here."""

    def make_handler(link: Link) -> LinkHandler:
        try:
            return on_link(link)
        except Exception as error:
            message = f"no handler for the link from {link.peer.address}"
            loop.call_exception_handler({"message": message, "exception": error})
            raise

    return make_handler


async def close_server(server: asyncio.Server) -> None:
    """Stop accepting, and close the server once the accepted connections are open.

    asyncio opens an accepted connection in a separate task. When the server is closed before that ran, the
    task fails inside asyncio, in every version so far, and the socket stays open until it is garbage: the peer
    waits for an answer that never comes.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)  # The tasks of what was accepted run meanwhile.
    server.close()
    await asyncio.sleep(0)
