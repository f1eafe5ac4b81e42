"""Accepts links that use TLS: each with the current certificates, and every failed handshake is reported.

asyncio's own server reads the context once, and does not report a handshake that failed. So connections are accepted
here, and opened one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterable

from qpidha.addresses import address_text
from qpidha.errors import LinkClosed
from qpidha.system import forks
from qpidha.system.handshake import CURRENT, Handshake
from qpidha.transports.sockets import as_link_closed
from qpidha.transports.stream import TcpLink
from qpidha.types import Address, PeerInfo

BACKLOG = 128
RETRY_S = 1.0
"""Delay before accepting again after the system had no resources for another connection."""
ALERT_S = 0.05
"""Delay before closing a connection whose handshake failed, so that the alert with the reason is sent."""

MakeLink = Callable[[Callable[[PeerInfo], "str | None"]], TcpLink]


class TlsListener:
    """A `Listener`. Made by `TcpTransport.listen` only."""

    address: Address

    def __init__(
        self,
        make_link: MakeLink,
        unwelcome: Callable[[PeerInfo], str | None],
        context: Callable[[], ssl.SSLContext],
        failed: Callable[[str, LinkClosed], None],
        *,
        handshake_timeout_s: float,
    ) -> None:
        """Nothing is bound before `listen`.

        Args:
            make_link: Makes the link of a connection.
            unwelcome: Says why a peer whose certificate is valid is refused; None: it is not.
            context: Returns the TLS context; called for each connection.
            failed: Called with the host of a peer and the reason, if its connection became no link.
            handshake_timeout_s: A peer that has not finished the handshake by then is dropped (Z1).
        """
        self._loop = asyncio.get_running_loop()
        self._make_link = make_link
        self._unwelcome = unwelcome
        self._context = context
        self._failed = failed
        self._handshake_timeout_s = handshake_timeout_s
        self._sockets: list[socket.socket] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._shaking: set[socket.socket] = set()
        """Connections in their handshake."""
        self._closed = False
        self.accepted = 0
        """Connections so far, whatever became of them."""

    async def listen(self, address: Address) -> None:
        """Bind every address that this one stands for. Raises `OSError`."""
        host, port = address
        found = await self._loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, kind, protocol, _, where in dict.fromkeys(found):
                self._sockets.append(_bound(family, kind, protocol, where))
        except BaseException:
            self._close_sockets()
            raise
        for listening in self._sockets:
            self._resume(listening)
        name = self._sockets[0].getsockname()
        self.address = (str(name[0]), int(name[1]))
        forks.watch(self)

    def forked(self) -> Iterable[int]:
        """In a child process: close the copy of the socket, so that only the parent accepts."""
        return [each.fileno() for each in (*self._sockets, *self._shaking)]

    async def close(self) -> None:
        """Stop accepting. Open links are not affected; handshakes under way do not become links."""
        self._closed = True
        for listening in self._sockets:
            if listening.fileno() >= 0:
                self._loop.remove_reader(listening.fileno())
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()

    def _resume(self, listening: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                accepted, where = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # No file descriptors, no memory: others are not accepted either.
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(RETRY_S, self._resume, listening)
                self._failed("any peer", LinkClosed(f"cannot accept a connection: {error.strerror}"))
                return
            accepted.setblocking(False)
            self.accepted += 1
            task = self._loop.create_task(self._open(accepted, str(where[0])))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, host: str) -> None:
        link = self._make_link(self._refusal)
        handshake = Handshake(lambda: self._loop.call_later(ALERT_S, _hang_up, accepted))
        CURRENT.set(handshake)
        self._shaking.add(accepted)
        try:
            await self._loop.connect_accepted_socket(
                lambda: link,
                accepted,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except Exception as error:  # noqa: BLE001 - one connection: it is told, and the next one is accepted.
            with contextlib.suppress(OSError):
                accepted.close()  # The transport does it, too, but for Python 3.10.
            if handshake.steps > 1:  # Otherwise nothing was received: it was a port scan or a health check.
                self._failed(host, _why(handshake.error or error))
        finally:
            self._shaking.discard(accepted)  # A link that came of it is watched by itself.

    def _refusal(self, peer: PeerInfo) -> str | None:
        if self._closed:
            return "the listener was closed meanwhile"
        reason = self._unwelcome(peer)
        if reason is not None:
            self._failed(peer.address.rpartition(":")[0], LinkClosed(reason))
        return reason


def _why(error: BaseException) -> LinkClosed:
    if isinstance(error, ConnectionResetError):
        return LinkClosed(
            "TLS handshake: closed by the other end; it may refuse this node's certificate or name"
        )
    closed = as_link_closed(error, "TLS handshake")
    assert closed is not None
    return closed


def _hang_up(accepted: socket.socket) -> None:
    with contextlib.suppress(OSError):  # It is closed already.
        accepted.shutdown(socket.SHUT_RDWR)


def _bound(family: int, kind: int, protocol: int, where: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        reason = error.strerror or errno.errorcode.get(error.errno or 0, "")
        text = address_text((str(where[0]), int(str(where[1]))))
        raise OSError(error.errno, f"cannot listen on {text}: {reason}") from None
    return listening
